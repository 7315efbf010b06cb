# Two commands need nothing but this file and a Debian machine: make demo, make test.

.DEFAULT_GOAL := help
.PHONY: help demo test check audit bench bench-quick bench-limits faults faults-amavis fuzz fuzz-dialog soak clean
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
SECONDS ?= 60
MINUTES ?= 10
# A process for each core. The tests of a file stay in one, with what they share; the long files come first as it is.
AT_ONCE ?= --numprocesses auto --dist loadfile --no-loadscope-reorder

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:  ## Mail through a private Postfix, clamd, spamd and the filter; shows what became of it
	@scripts/setup
	@$(BIN)/python -m demo

test: check  ## Everything that CI runs: lint, format, types, advisories where a service tells of them, tests
	@scripts/audit; audited=$$?; $(BIN)/pytest $(AT_ONCE) && exit $$audited

check:  ## Lint, format and types, without the tests
	@scripts/setup --dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict contentfilter quarantine demo

audit:  ## Is anything that requirements.lock names known to be vulnerable; says what it could not look up
	@scripts/audit

# Bytecode is there as in an installed package, also where Python may write none. Without it each start compiles, and
# what that scatters in memory stays there.
bench:  ## Throughput, latency, processor time and memory, beside amavisd-new where it is installed; BENCH=options
	@scripts/setup
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || $(BIN)/pip install --quiet --editable '.[bench]'
	@$(BIN)/python -m compileall -q contentfilter quarantine
	@$(BIN)/python -m tests.bench $(BENCH)

bench-quick:  ## The same in about two minutes, roughly; nothing in docs is changed
	@$(MAKE) bench BENCH='--quick $(BENCH)'

bench-limits:  ## Large messages beside small ones, growth, memory, start, and what holds up the event loop
	@$(MAKE) bench BENCH='--no-comparison --limit all $(BENCH)'

faults:  ## Every cell of the fault suite, of which `make test` runs a sample; FAULTS_REPORT=FILE for the figures
	@scripts/setup --dev
	@FAULTS=all $(BIN)/pytest $(AT_ONCE) --dist load tests/faults

faults-amavis:  ## The cells that fit any filter, for amavisd-new and for us; FAULTS_SAMPLE=1 for all of them
	@scripts/setup --dev
	@$(BIN)/python -m tests.faults.against_amavis

fuzz:  ## Fuzz the MIME parser for SECONDS=60, guided by coverage; needs a wheel of atheris for this Python
	@scripts/setup
	@$(BIN)/pip install --quiet --editable '.[fuzz]'
	@$(BIN)/python -m tests.fuzz.fuzz_mime -max_total_time=$(SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=1000 -verbosity=0 -print_final_stats=1

fuzz-dialog:  ## Talk to a real daemon at random for SECONDS=60 and hold each reply and message against a model
	@scripts/setup --dev
	@$(BIN)/python -m tests.fuzz.fuzz_dialog $(SECONDS)

soak:  ## Mixed mail and random faults for MINUTES=10, every message accounted for; SEED= repeats the choices of a run
	@scripts/setup --dev
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

clean:  ## Remove what was built here; packages of the system stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
