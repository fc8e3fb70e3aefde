"""Figures of groups of runs: a module per kind, each a function from groups to numbers and one that draws these."""
