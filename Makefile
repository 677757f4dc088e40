# The two commands a newcomer needs are `make train` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(SCRIPTS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call install,ENVIRONMENT,WHAT) installs with pip and says a line; pip's own words are in a file.
define install
@echo "installing into $(1), a few minutes the first time; see $(1)/install.log"
@$(1)/$(SCRIPTS)/python -m pip install $(2) >$(1)/install.log 2>&1 || \
  { tail -n 30 $(1)/install.log; echo "pip failed; all of it is in $(1)/install.log"; exit 1; }
endef

.PHONY: help python train test test-slow test-cpus test-floor test-wheel test-dist coverage bench check docs
.PHONY: clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

train: $(VENV)/.extra-example ## set up, train MDPR on synthetic people, evaluate it, write a report
	@$(BIN)/python examples/mdpr/train.py --preset synthetic $(ARGS)

test: $(VENV)/.extra-dev ## set up and run the whole test suite
	$(BIN)/python -m pytest -n auto $(ARGS)

test-slow: $(VENV)/.extra-dev ## the slow tests: inductor, long runs, a GPU if there is one
	$(BIN)/python -m pytest -m slow $(ARGS)

test-cpus: $(VENV)/.extra-dev ## the test suite with the kernels of other CPUs; ARGS="tests/blocks" for a part
	$(BIN)/python tests/cpus.py $(ARGS)

check: $(VENV)/.extra-dev ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.extra-docs ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

bench: $(VENV)/.extra-dev ## the short benchmarks, in under ten minutes; see benchmarks/README.md
	$(BIN)/python benchmarks/blocks.py --batch 8 --rounds 3
	$(BIN)/python benchmarks/losses.py --short --sizes 64 1024 --seconds 5
	$(BIN)/python benchmarks/mdpr.py inference --short --backbone resnet18 --size 256 128
	$(BIN)/python benchmarks/mdpr.py step --short --backbone resnet18 --size 128 64 --batch 8 --embed-dim 128

test-wheel: $(VENV)/.extra-dev ## build the wheel; run the short examples on it, without the extra and with it
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv .venv-wheel
	$(call install,.venv-wheel,dist/*.whl)
	.venv-wheel/$(SCRIPTS)/python tests/examples/from_wheel.py
	$(call install,.venv-wheel,"$$(echo dist/*.whl)[visualization]")
	.venv-wheel/$(SCRIPTS)/python tests/examples/from_wheel.py --pictures
	rm -rf .venv-wheel

test-dist: $(VENV)/.extra-dev ## build the source archive and the wheel from it; check both
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

coverage: $(VENV)/.extra-dev ## the test suite, with the lines of the library that it does not cover
	$(BIN)/python -m pytest -n auto --cov=reidblocks --cov-report=term-missing:skip-covered $(ARGS)

test-floor: | python ## the test suite on the oldest supported torch and torchvision, in its own environment
	$(PYTHON) -m venv .venv-floor
	$(call install,.venv-floor,-e '.[dev]' 'torch==2.7.*' 'torchvision==0.22.*')
	.venv-floor/$(SCRIPTS)/python -m pytest -n auto $(ARGS)

clean: ## remove environments, caches and builds; runs/ stays
	rm -rf .venv .venv-wheel .venv-floor dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.extra-%: pyproject.toml | python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call install,$(VENV),-e '.[$*]')
	@touch $@

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "reidblocks needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Install a newer one and name it: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "'$(PYTHON)' has no venv module; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
