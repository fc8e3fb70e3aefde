#!/bin/sh
# The exploration dilemma, and what RS-GRPO does about it, in a few minutes on a CPU; see `rsgrpo demo --help`.
# Run again, it resumes; `rm -r runs/demo-*` starts afresh.
exec rsgrpo demo --steps "${DEMO_STEPS:-120}" --samples "${DEMO_SAMPLES:-256}"
