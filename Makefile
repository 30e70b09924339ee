# make demo: install orch beside the checkout and sweep the embedded digits
# make test: every check and the whole suite; make test-fast: what to run every few minutes
# make torture KILLS=500: kill drivers, workers, Ray and databases, and see that nothing is lost

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast torture check docs bench clean

demo: .venv/installed
	$(BIN)/orch sweep digits --trials 12
	@echo
	$(BIN)/orch leaderboard digits

# Units first; then what starts whole programs, one file of it beside another.
UNITS := $(filter-out tests/__pycache__/, $(wildcard tests/*/))
test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile $(UNITS)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/test_*.py

test-fast: .venv/developer
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not real_data"

# Kill what runs a sweep, so many times at random, and check that nothing was lost.
KILLS ?= 500
torture: .venv/developer
	$(BIN)/python tests/killing.py --kills $(KILLS) --database sqlite
	$(BIN)/python tests/killing.py --kills $$(($(KILLS) / 5)) --database postgresql

check: .venv/developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/write_docs.py --check

docs: .venv/developer
	$(BIN)/python scripts/write_docs.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "orch needs Python 3.11 or newer: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing orch into .venv; TensorFlow and Ray take a minute or two"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/developer: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	@touch $@

# DATA: a folder with cats_vs_dogs.tar and vgg16_notop.weights.h5
DATA ?= ../shared/data

bench: .venv/developer
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/durability.py
	$(BIN)/python benchmarks/service.py
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/fill.py --data $(DATA)
	$(BIN)/python benchmarks/vs_peers.py --data $(DATA) --workload blocks
	$(BIN)/python benchmarks/vs_peers.py --data $(DATA) --workload head

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis dist
