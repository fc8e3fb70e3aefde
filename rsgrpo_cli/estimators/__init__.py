"""Estimators of the user's own; ours are in `core.estimators`."""
