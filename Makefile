# Two commands need nothing but this file and a Debian machine: make demo, make test.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench faults faults-amavis fuzz clean
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
SECONDS ?= 60

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:  ## Mail through a private Postfix, clamd, spamd and the filter; shows what became of it
	@scripts/setup
	@$(BIN)/python -m demo

test: check  ## Everything that CI runs: lint, format, types, tests
	@$(BIN)/pytest

check:  ## Lint, format and types, without the tests
	@scripts/setup --dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict contentfilter quarantine demo

bench:  ## Throughput and memory, beside amavisd-new where it is installed
	@scripts/setup
	@$(BIN)/python -m tests.bench.bench_throughput

faults:  ## Every cell of the fault suite, of which `make test` runs a sample; FAULTS_REPORT=FILE for the figures
	@scripts/setup --dev
	@FAULTS=all $(BIN)/pytest tests/faults

faults-amavis:  ## The cells that fit any filter, for amavisd-new and for us; FAULTS_SAMPLE=1 for all of them
	@scripts/setup --dev
	@$(BIN)/python -m tests.faults.against_amavis

fuzz:  ## Fuzz the MIME parser for SECONDS=60, guided by coverage; needs a wheel of atheris for this Python
	@scripts/setup
	@$(BIN)/pip install --quiet --editable '.[fuzz]'
	@$(BIN)/python -m tests.fuzz.fuzz_mime -max_total_time=$(SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=1000 -verbosity=0 -print_final_stats=1

clean:  ## Remove what was built here; packages of the system stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
