# make demo    a first result, written under out/
# make lab     JupyterLab on the notebooks
# make test    the checks, the tests, then the notebooks   (make test ARGS="-m slow" for others)
# make check   what tools see without running anything: ruff, mypy, the house's rules
# make test-oldest the core's tests with the oldest versions that are promised, in .venv-oldest
# make gpu     what a CUDA device computes, how fast, and in how much memory
# make notebooks   build and execute the notebooks, store what they print
# make address URL=https://github.com/OWNER/NAME   for the Colab badges of your copy
# make site        the executed notebooks as web pages, under out/site/; nothing is run
# make browser     Chromium for the browser test, on Debian and Ubuntu
#
# All of them first make .venv, once. Another Python: make PYTHON=python3.11 demo

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo lab check test test-oldest gpu notebooks address site browser clean

PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 && echo "$$p" && break; done),python3)
VENV_PYTHON := .venv/bin/python

help:
	@sed -n 's/^# make/make/p' Makefile

setup:
	@set -e; python="$(PYTHON)"; command -v "$$python" >/dev/null || \
		{ echo "No Python found as '$$python': install Python 3.10 or newer, or name one: make PYTHON=python3.11 setup" >&2; exit 1; }; \
	"$$python" tools/setup_venv.py

demo: setup
	@$(VENV_PYTHON) -m adb_core demo $(ARGS)

lab: setup
	@$(VENV_PYTHON) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ARGS)

check: setup
	@$(VENV_PYTHON) tools/check.py $(ARGS)

test: setup
ifeq ($(ARGS),)
	@$(VENV_PYTHON) tools/check.py
endif
	@$(VENV_PYTHON) -m pytest $(or $(ARGS),-n auto --dist loadfile)
ifeq ($(ARGS),)
	@$(VENV_PYTHON) -m pytest --nbval --nbval-current-env --nbval-sanitize-with=notebooks/sanitize.cfg --nbval-cell-timeout=300 notebooks
endif

test-oldest: setup
	@$(VENV_PYTHON) tools/oldest.py $(ARGS)

gpu: setup
	@$(VENV_PYTHON) benchmarks/gpu.py $(ARGS)

notebooks: setup
	@$(VENV_PYTHON) tools/notebooks.py run $(ARGS)

address: setup
	@$(VENV_PYTHON) tools/notebooks.py address $(URL)

site: setup
	@$(VENV_PYTHON) tools/website.py $(ARGS)

browser:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } || \
		echo "Chromium could not be installed (it needs apt and its rights); the browser test will be skipped."

# The rest of out/ stays: a pretraining run lies there for hours before its result is in data/.
clean:
	rm -rf out/demo build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache
