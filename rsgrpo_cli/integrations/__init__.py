"""Our estimators inside other people's trainers; imports `core`, and `rewards` for a reward function of verl."""
