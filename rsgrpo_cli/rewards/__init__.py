"""Rewards: what a completion earned and why. Untrusted text in, a verdict per completion out."""
