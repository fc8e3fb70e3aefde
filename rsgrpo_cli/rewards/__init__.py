"""Rewards: what a completion earned and why. Untrusted text in, a verdict a completion out."""
