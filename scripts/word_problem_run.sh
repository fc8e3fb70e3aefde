#!/bin/sh
# SmolLM2-135M-Instruct learns easy arithmetic word problems through vLLM on the CPU, and is measured before and after.
#
#     make .venv-vllm/installed && PATH="$PWD/.venv-vllm/bin:$PATH" sh scripts/word_problem_run.sh [STEPS]
#
# In float32: few CPUs multiply in bfloat16. Each part can be killed and the same call resumes it.
set -eu
cd "$(dirname "$0")/.."
steps=${1:-30}
run=runs/word-problems
export HF_HUB_OFFLINE=1

python scripts/smollm2.py runs/models/smollm2
python scripts/word_problems.py runs/data/words
rsgrpo train --run "$run" --engine vllm --model runs/models/smollm2 --dataset runs/data/words/train.jsonl \
    --lr 2e-5 --beta 2 --steps "$steps" --checkpoint-every 5 \
    --prompts-per-step 8 --group-size 16 --max-tokens 32 --micro-batch-tokens 8192
for policy in 0 "$steps"; do
    rsgrpo eval --run "$run" --policy "$policy" --benchmark runs/data/words/test.jsonl --k 1,4,32 -n 32
done
