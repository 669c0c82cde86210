# Two commands: `make run` and `make test` each do all the set-up they need; the second time they start at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help run test check soak forgetting pilot clean

help: ## Say what there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(READY) ## Set up, then run the default stream: a few minutes, ends with the one command that shows it in MLflow
	$(BIN)/holdtrue run default

test: $(READY) ## Set up, then run the tests
	$(BIN)/python -m pytest -n 2 -m "not soak"

check: $(READY) ## Lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(READY) ## The slow proofs
	$(BIN)/python -m pytest -n 2 -m soak

forgetting: $(READY) ## The control: memory on/off x gate on/off, 2 seeds: about 12 minutes
	$(BIN)/python -m benchmarks.forgetting

pilot: $(READY) ## Train the bundled pilot again from data it makes itself
	$(BIN)/python -m agent.pilot

clean: ## Remove the virtual environment and caches (runs stay)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info

# torch goes first and by its exact version: a range would fetch gigabytes of CUDA libraries on machines without a GPU.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
