# The environment is made in .venv, or VENV=path names an existing one; PYTHON names the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-slow gpu-check lint size install install-dev

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

run: install  ## search with configs/quick.json, then measure and explain what it found
	$(BIN)/python optimizer.py --config configs/quick.json --seed 1
	$(BIN)/python main.py -c runs/opt_cfg.json runs/baseline.json -t True --output runs/quick
	$(BIN)/python -m reports last --results runs/quick/opt_cfg_result_test.json runs/quick/baseline_result_test.json --output runs/quick

test: install-dev  ## the test suite, without the slow tests, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: install-dev  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

gpu-check: install  ## prove the CUDA path on this machine's GPU, and measure it: minutes
	$(BIN)/python -m benchmarks.gpu_check

lint: install-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

size:  ## lines of code and tests, words of the README, lines that are too wide
	@git ls-files '*.py' ':!tests' | xargs cat | wc -l | xargs echo 'lines of code:        '
	@git ls-files 'tests/*.py' | xargs cat | wc -l | xargs echo 'lines of tests:       '
	@wc -l < README.md | xargs echo 'lines of README:      '
	@wc -w < README.md | xargs echo 'words of README:      '
	@git ls-files '*.md' | xargs cat | wc -w | xargs echo 'words of all documents:'
	@git ls-files '*.md' | xargs grep -hvE '^(\||!\[)' | awk 'length > 120' | wc -l \
	  | xargs echo 'text lines over 120:  '

install: $(VENV)/bin/python
	@cmp -s requirements.txt $(VENV)/installed.txt || { \
	  $(BIN)/python -m pip install -r requirements.txt && cp requirements.txt $(VENV)/installed.txt; }

install-dev: install
	@cat requirements*.txt | cmp -s - $(VENV)/installed-dev.txt || { \
	  $(BIN)/python -m pip install -r requirements-dev.txt && \
	  cat requirements*.txt > $(VENV)/installed-dev.txt; }

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
