#!/bin/sh
# The exploration dilemma, and what RS-GRPO does about it, in a few minutes on a CPU: the bundled model is trained on
# arithmetic puzzles with GRPO and with RS-GRPO, and pass@k on held-out puzzles is compared with the base model's.
# Run again, it resumes; `rm -r runs/demo-*` starts afresh.
set -eu
steps="${DEMO_STEPS:-120}"
samples="${DEMO_SAMPLES:-256}"
export HF_HUB_OFFLINE=1

rsgrpo train --run runs/demo-grpo    --estimator grpo             --steps "$steps"
rsgrpo train --run runs/demo-rs_grpo --estimator rs_grpo --beta 4 --steps "$steps"

rsgrpo eval --run runs/demo-grpo --policy 0 --num-samples "$samples" > /dev/null
rsgrpo eval --run runs/demo-grpo            --num-samples "$samples" > /dev/null
rsgrpo eval --run runs/demo-rs_grpo         --num-samples "$samples" > /dev/null

rsgrpo compare runs/demo-grpo runs/demo-rs_grpo --k 1,16,64,256
rsgrpo report "base=runs/demo-grpo@0" "GRPO=runs/demo-grpo" "RS-GRPO, beta 4=runs/demo-rs_grpo" \
    --figure runs/demo-passk.svg
rsgrpo report "base=runs/demo-grpo@0" "GRPO=runs/demo-grpo" "RS-GRPO, beta 4=runs/demo-rs_grpo" --html runs/demo.html
