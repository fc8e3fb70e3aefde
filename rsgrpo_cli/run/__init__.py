"""A run on disk: where its files are, which of them count, and what they are worth after a change.

run_dir, run_names      the paths of a run, and the names by which it is found
layout                  which files are rsgrpo's own, and what each is
config_file, identity   its settings, and the ids of the weights and data that it was made with
step_dir                a step as it is on disk: its parts, how it was sampled, what its rows came from
staleness               what is missing, current, made with other settings, or stale
policies, manifests     checkpoints by number and tag; a folder counts when its manifest is there
locks, events           one process at a time; what it says while it works
run_commands            the commands that a message names as the next step
departures, checked_steps, checkpoint_checks    where files do not say what they should
"""
