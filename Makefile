# orbitnode: `make run` sets everything up and flies one orbit. Needs python3 >= 3.11 with venv and headers, a C
# compiler, make. PYTHON=python3.12 chooses another interpreter, ARGS="..." is passed on to the program.

PYTHON ?= python3
CC ?= cc
ARGS ?=
JOBS ?= 2
BUSY ?= 4

VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/setup.log
PIP_RETRIES ?= 3
export PIP_RETRIES
PIP := $(BIN)/python -m pip --disable-pip-version-check
TABLES := flight/kernels/tables.h
KERNELS := $(filter-out flight/kernels/_kernels.c $(TABLES),$(wildcard flight/kernels/*.c flight/kernels/*.h)) \
	flight/kernels/build.py flight/kernels/tables.py
KERNEL_SOURCES := $(filter %.c,$(KERNELS))
SANITIZED := build/sanitize/kernels_test
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/*.c))
RUNS ?= 200000
SPHINX := $(BIN)/python -m sphinx -q -W --keep-going -j auto -c docs -d build/doctrees

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test campaigns test-busy coverage mutants damage power-cut loop soak link-soak file-soak check lint types sanitize fuzz check-aarch64 yamcs curves layout figures bench docs docs-links wheel clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.assets ## create .venv, install the project, build the kernels, fetch model and scene

run: setup ## one orbit of the whole system in virtual time; ARGS="--seed 12 --orbits 2"
	@$(BIN)/orbitnode run --orbits 1 $(ARGS)

test: setup $(VENV)/.dev ## the tests, on JOBS=2 processes; ARGS="-k kernels -x"
	@$(BIN)/python -m pytest -n $(JOBS) -m "not campaign and not source" $(ARGS)

campaigns: setup $(VENV)/.dev ## the tests that take long: every command of the guides, kills, disturbed processes; ARGS="-k guides"
	@$(BIN)/python -m pytest -n $(JOBS) -m campaign $(ARGS)

test-busy: setup $(VENV)/.dev ## all tests, campaigns too, three times in a row, beside BUSY=4 busy processes; ARGS="-k flight"
	@$(BIN)/python -m tests.busy --processes $(BUSY) -- -n $(JOBS) $(ARGS)

coverage: setup $(VENV)/.dev ## all tests, campaigns too, counting which lines and branches they run; fails below the floor
	@$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term:skip-covered $(ARGS)

mutants: setup $(VENV)/.dev ## put in small faults one by one: does a test notice each? ARGS="flight/link --sample 0"
	@$(BIN)/python -m tests.mutants --jobs $(JOBS) $(ARGS)

damage: setup $(VENV)/.dev ## recordings with one damaged octet, 1,000 cases per form: what is lost? ARGS="--seed 2 frames"
	@$(BIN)/python -m tests.recording_damage $(ARGS)

power-cut: setup $(VENV)/.dev ## ten minutes of commanding, with the power cut at every storage operation; ARGS="--at 700"
	@$(BIN)/python -m tests.sim.power_cut --jobs $(JOBS) $(ARGS)
	@$(BIN)/python -m tests.sim.security_cuts
	@$(BIN)/python -m tests.sim.file_cuts

loop: $(VENV)/.dev ## the scheduler on this machine's own clock for a minute; ARGS="--seconds 600 --seed 2"
	@$(BIN)/python -m tests.soak.loop $(ARGS)

soak: setup $(VENV)/.dev ## a node in real time for an hour on a busy machine: is every tick accounted for? ARGS="--seconds 600"
	@$(BIN)/python -m tests.soak.node $(ARGS)

link-soak: setup ## both ends of a link over a bad channel for 24 h of virtual time; ARGS="--seed 2 --reboots 50 --forge 1"
	@$(BIN)/orbitnode sim link --hours 24 --ber 1e-4 --drop 0.05 $(ARGS)

file-soak: $(VENV)/.dev ## 200 files both ways over 24 h of short contacts, losses and reboots; ARGS="--seed 2 --lost 0.2"
	@$(BIN)/python -m tests.soak.files $(ARGS)

check: lint types sanitize layout ## ruff, mypy, kernels under ASan and UBSan, and what is read off the source

lint: $(VENV)/.dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict, tests included
	@$(BIN)/mypy

sanitize: $(SANITIZED) ## the C kernels over edge and random input under ASan and UBSan
	@ASAN_OPTIONS=detect_leaks=0 ./$(SANITIZED)

fuzz: $(FUZZERS) ## the decoder kernels under libFuzzer (clang); RUNS=10000000 per kernel, seeds in tests/fuzz/corpus
	@for fuzzer in $(FUZZERS); do name=$$(basename $$fuzzer); mkdir -p $$fuzzer.corpus; \
		echo "fuzz: $$name, $(RUNS) runs"; \
		$$fuzzer -runs=$(RUNS) -max_len=1024 -timeout=10 -rss_limit_mb=512 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=build/fuzz/$$name- $$fuzzer.corpus $$(find tests/fuzz/corpus/$$name -maxdepth 0 2>/dev/null) 2>$$fuzzer.log || \
			{ tail -n 40 $$fuzzer.log >&2; exit 1; }; \
		grep -E 'number_of_executed_units|average_exec_per_sec' $$fuzzer.log; done

check-aarch64: $(VENV)/.dev $(TABLES) ## the kernels cross-compiled, vectors and properties under qemu-aarch64 (Debian)
	@tests/aarch64/check $(ARGS)

yamcs: $(VENV)/.dev ## a real Yamcs as the ground of a node in real time, 1 min; skipped with the reason without Java; ARGS="-k files"
	@$(BIN)/python -m tests.yamcs $(ARGS)

curves: $(VENV)/.dev ## measure the error rates of the codes again and draw docs/curves, 10 min; needs libfec
	@$(PIP) install -c constraints.txt 'orbitnode[curves]' >$(LOG) 2>&1 || { $(call pip_failed); }
	@for step in reed_solomon viterbi plot; do $(BIN)/python -m tests.curves.$$step || exit 1; done

layout: $(VENV)/.dev ## what is read off the source: who may import whom, lengths, words, that only edge files reach the clock
	@$(BIN)/python -m pytest -q -n $(JOBS) -m source tests/unit

figures: $(VENV)/.dev ## how full the rooms are, imports that go up or round, lengths, what an addition costs
	@$(BIN)/python -m tests.figures

bench: setup $(VENV)/.dev ## our figures beside those of others, 15 min; ARGS="--brief", ARGS="--json crc16"
	@$(BIN)/orbitnode bench $(ARGS)

docs: $(VENV)/.docs ## write the generated pages of docs/, then the site in out/docs; a warning is an error
	@$(BIN)/python -m docs.tools
	@$(SPHINX) -b html . out/docs
	@echo "docs: out/docs/index.html"

docs-links: $(VENV)/.docs ## ask the network whether links to other sites still lead somewhere
	@$(SPHINX) -b linkcheck . build/links

wheel: $(VENV)/.installed ## build dist/orbitnode-*-abi3-*.whl
	@$(PIP) wheel --quiet --no-deps --wheel-dir dist . >>$(LOG) 2>&1 || { $(call pip_failed); }
	@ls dist/*.whl

clean: ## remove everything that make makes in this folder
	rm -rf $(VENV) .venv-yamcs .cache build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .coverage .coverage.*
	rm -f flight/kernels/*.so flight/kernels/_kernels.c $(TABLES) flight/kernels/*.o
	find flight hal payloads ground sim_hw tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "kept for the next set-up: model and scene in $${ORBITNODE_CACHE:-$${XDG_CACHE_HOME:-~/.cache}/orbitnode}"

# --- set-up, stamp by stamp: a step that has its stamp is not done again, so a second run needs no network ---

# Print one line that says what is wrong and what to do; pip's own words are in the log.
define pip_failed
if grep -qE 'Retrying \(|[Cc]onnection (broken|error)|Max retries exceeded|Temporary failure in name|ProxyError|timed out' $(LOG); \
then echo "set-up: the package registry cannot be reached; run the same command again once the network is back (everything fetched so far is kept), or name a mirror with PIP_INDEX_URL or a proxy with HTTPS_PROXY; details: $(LOG)" >&2; \
else echo "set-up: pip failed: $$(grep -E '^ *(ERROR|error|fatal)' $(LOG) | tail -n 1); details: $(LOG)" >&2; fi; exit 1
endef

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "set-up: no $(PYTHON) on this machine; install Python 3.11 or newer, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "set-up: $(PYTHON) is $$($(PYTHON) -V 2>&1), 3.11 or newer is needed; run make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "set-up: this Python has no venv module; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "set-up: this Python has no headers (Python.h); install them (Debian: apt-get install python3-dev)" >&2; exit 1; }
	@command -v $(firstword $(CC)) >/dev/null || { echo "set-up: no C compiler ($(CC)); install one (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	@echo "set-up: creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "set-up: $(PYTHON) -m venv $(VENV) failed; run make clean and try again" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py constraints.txt $(KERNELS)
	@echo "set-up: installing the project and its dependencies, building the kernels"
	@$(PIP) install -c constraints.txt -e '.[ground,sim,payload]' --config-settings editable_mode=compat >$(LOG) 2>&1 || { $(call pip_failed); }
	@touch $@

$(VENV)/.assets: $(VENV)/.installed $(wildcard payloads/assets/*.py)
	@echo "set-up: fetching model and scene (146 MB, once)"
	@$(BIN)/python -m payloads.assets fetch
	@touch $@

# Peers of the tests in a folder of their own: ccsds-cop brings a package `tests`, which would hide ours.
PEERS := $(VENV)/peers

$(VENV)/.dev: $(VENV)/.installed
	@echo "set-up: installing what tests, checks and benchmarks need"
	@$(PIP) install -c constraints.txt 'orbitnode[dev]' >$(LOG) 2>&1 || { $(call pip_failed); }
	@$(PIP) install -c constraints.txt --no-deps --target $(PEERS) --upgrade ccsds-cop >$(LOG) 2>&1 || { $(call pip_failed); }
	@touch $@

# Sphinx keeps what it has read. After a change of its configuration, everything must be read again.
$(VENV)/.docs: $(VENV)/.installed docs/conf.py docs/tools/docstrings.py docs/tools/site.py
	@echo "set-up: installing what builds the documentation"
	@$(PIP) install -c constraints.txt 'orbitnode[docs]' >$(LOG) 2>&1 || { $(call pip_failed); }
	@rm -rf build/doctrees
	@touch $@

$(TABLES): flight/kernels/tables.py
	@$(PYTHON) $< >$@

# Built without the checks of pointer arithmetic: they make the Viterbi decoder twenty times slower, and `make sanitize`
# has them.
build/fuzz/%: tests/fuzz/%.c $(KERNELS) $(TABLES)
	@command -v clang >/dev/null || { echo "fuzz: no clang on this machine; install it (Debian: apt-get install clang)" >&2; exit 1; }
	@mkdir -p $(@D)
	@clang -std=c11 -O3 -g -Wall -Wextra -Werror -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-fno-sanitize=pointer-overflow \
		-Iflight/kernels $< $(KERNEL_SOURCES) -o $@

$(SANITIZED): $(wildcard tests/sanitize/*) $(KERNELS) $(TABLES)
	@mkdir -p $(@D)
	@$(CC) -std=c11 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all \
		-Iflight/kernels tests/sanitize/*.c $(KERNEL_SOURCES) -o $@
