# Two commands on a fresh machine (Python 3.11 or newer and make): `make demo`, `make test`.
# Paths are relative, so that the folder may have any name; programs are run as modules, because a console script's
# first line cannot hold a path with spaces.

PYTHON ?= python3
UV ?= uv
PY := .venv/bin/python
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(PY) -m pip install --quiet
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
# Tests that follow each other share what they start, so each worker begins with one half and takes from the other's.
PYTEST := $(PY) -m pytest -n 3 --dist worksteal -rs

# Hundreds of processes import the same modules: compiled once, also where the environment says otherwise.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-finance serve buy test run-tests test-long soak bench check-format check-lint check-types check-architecture format lock clean

help: ## print this list
	@echo "make demo       walk agents through every rail, on a service that is removed afterwards"
	@echo "make demo-finance  let a month of business pass, reconcile, close, export and audit it; under two minutes"
	@echo "make serve      run the service in ./.purser until Ctrl-C; options: make serve ARGS='--port 9000'"
	@echo "make buy        buy from 'make serve ARGS=--local-chain' with the stock x402 client, and spend; CLIENT=javascript"
	@echo "make test       format, lint, types, architecture and tests; at most 10 minutes"
	@echo "make test-long  what takes longer"
	@echo "make soak       hundreds of attempts while everything goes wrong, then every number compared; ARGS='--seed 7'"
	@echo "make bench      measure every row of bench/, half an hour; options: make bench PGLEDGER=path ARGS='--rounds 3'"
	@echo "make format     put the code into its form"
	@echo "make lock       compile pyproject.toml into the two lock files (needs uv)"
	@echo "make clean      remove the environment and all caches; ./.purser stays"

demo: .venv/.runtime
	@$(PY) -m api.cli demo

# bean-check, which audits the export, comes with what the tests need.
demo-finance: .venv/.test
	@$(PY) -m api.cli demo-finance

serve: .venv/.runtime
	@exec $(PY) -m api.cli serve $(ARGS)

# A stock client of x402 pays the service that runs here with --local-chain, from a new wallet: docs/x402-clients.md.
CLIENT ?= python
BUY_python = $(PY) docs/examples/buy.py
BUY_javascript = $(PY) -m tests.x402.javascript docs/examples/buy.mjs

buy: .venv/.test
	@key=`$(PY) -m sandbox.chain --folder .purser/chain --new-wallet` && echo "$$key" | $(BUY_$(CLIENT)) $(ARGS)

# The types are checked beside the tests, which leave a core idle now and then; whichever fails, `make` fails.
test: .venv/.test check-format check-lint check-architecture
	@$(MAKE) --no-print-directory -j2 check-types run-tests

run-tests: .venv/.test
	$(PYTEST) -m "not long"

# The books once more on the other PostgreSQL that the wheel ships.
test-long: .venv/.test
	$(PYTEST) -m long
	$(PYTEST) --postgres-version=16 -m "not long" tests/books tests/model tests/house tests/billing

# A few minutes, a page at the end, exit status 1 when anything differs: docs/soak.md.
soak: .venv/.test
	@$(PY) -m tests.soak $(ARGS)

# Each row alone: python -m bench.<row>. With a checkout of pgledger its own SQL is measured, else our re-implementation.
bench: .venv/.test
	@$(PY) -m bench $(if $(PGLEDGER),--pgledger "$(PGLEDGER)") $(ARGS)

check-format: .venv/.test
	$(PY) -m ruff format --check .

check-lint: .venv/.test
	$(PY) -m ruff check .

check-types: .venv/.test
	$(PY) -m mypy .

check-architecture: .venv/.test
	$(PY) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

format: .venv/.test
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

# No host stands in a lock file: pip asks whatever index this machine is set up for and compares hashes.
lock:
	$(COMPILE) --extra build pyproject.toml -o requirements.lock
	$(COMPILE) --extra build --extra test -c requirements.lock pyproject.toml -o requirements-test.lock

clean:
	rm -rf .venv .purser-demo build purser.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path "./.purser/*" -prune -exec rm -rf {} +

# An environment that was moved or half made is made anew.
.venv/.python:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not installed; Purser needs Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is `$(PYTHON) -V 2>&1`, and Purser needs 3.11 or newer; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { \
	    echo "$(PYTHON) has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Making the environment in .venv; this happens once and takes a minute."
	@$(PY) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.runtime: .venv/.python requirements.lock pyproject.toml
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# Of what only tests need most modules are never imported: those that are, are compiled then.
.venv/.test: .venv/.runtime requirements-test.lock
	@$(PIP) --require-hashes --no-compile -r requirements-test.lock
	@touch $@
