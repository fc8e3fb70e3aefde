#!/bin/sh
# One training step and an evaluation, stage by stage: what `rsgrpo train --steps 1 --eval-every 1` does at once.
# Usage: six_stages.sh RUN [SETTING ...]     for example: six_stages.sh runs/mine --set update.learning_rate=3e-4
set -eu
run="$1"; shift
rsgrpo prepare   --run "$run" "$@"
rsgrpo rollout   --run "$run"
rsgrpo score     --run "$run"
rsgrpo advantage --run "$run"
rsgrpo update    --run "$run"
rsgrpo eval      --run "$run"
