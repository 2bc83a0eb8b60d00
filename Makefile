# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZ_RUNS ?= 10000

.PHONY: asan demo fuzz test serve check bench tools clean conformance conformance-official newer-ostree

$(STAMP): pyproject.toml hatch_build.py requirements.lock $(wildcard deltas/smidgen_deltas/kernels/*.pyx)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c requirements.lock -e '.[server,postgres,s3,ui,cluster,bench]' --group dev
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m smidgen_benchmarks.demo

serve: $(STAMP)
	$(BIN)/smidgen serve --data .smidgen/server --listen 127.0.0.1:8650

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tools: $(STAMP)
	$(BIN)/python tests/tools.py

test: check tools
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Our own checks of the registry against the distribution specification; REGISTRY=http://HOST:PORT tests another one.
conformance: $(STAMP)
	$(BIN)/python -m pytest tests/conformance $(if $(REGISTRY),--registry $(REGISTRY))

# The official suite, fetched through the Go module proxy; needs Go.
conformance-official: $(STAMP)
	$(BIN)/python tests/conformance/official.py

# Kernels built with the address and undefined behaviour sanitizers, under the tests and fuzz corpora that reach them.
asan: $(STAMP)
	$(BIN)/python tests/sanitized.py $(PYTEST_ARGS)

# Tests that drive stock ostree, with that of a newer Debian release (SUITE=trixie) unpacked beside; needs mmdebstrap.
newer-ostree: $(STAMP)
	$(BIN)/python tests/newer_ostree.py $(PYTEST_ARGS)

# Every parser, unpacker and kernel on mutated input, so many times each; what breaks one is kept in build/fuzz.
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet -c requirements.lock --group fuzz
	cd tests && $(abspath $(BIN))/python -m fuzz.run --runs $(FUZZ_RUNS) $(FUZZ_TARGETS)

# Slow: fetches corpora by package name, runs every method; reports in bench-data/report.
bench: $(STAMP)
	$(BIN)/smidgen bench deltas
	$(BIN)/smidgen bench apply
	$(BIN)/smidgen bench scaling --effort fast --effort default
	$(BIN)/smidgen bench update
	$(BIN)/smidgen bench fleet
	$(BIN)/smidgen bench link --rate 10

clean:
	rm -rf $(VENV) build dist
	find . -name '*.so' -path '*kernels*' -delete
