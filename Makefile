# make demo    a first result, written under out/
# make lab     JupyterLab on the notebooks
# make test    the tests          (make test ARGS="-m slow" for the long ones)
#
# All of them first make .venv, once. Another Python: make PYTHON=python3.11 demo

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo lab test clean

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
	@$(VENV_PYTHON) -m adb_core.demo $(ARGS)

lab: setup
	@cd notebooks && ../$(VENV_PYTHON) -m jupyterlab $(ARGS)

test: setup
	@$(VENV_PYTHON) -m pytest $(ARGS)

# The rest of out/ stays: a pretraining run lies there for hours before its result is in data/.
clean:
	rm -rf out/demo build dist .pytest_cache .hypothesis
