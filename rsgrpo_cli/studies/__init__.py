"""Many runs: sweeps over settings and seeds, and what is drawn and computed from groups of runs."""
