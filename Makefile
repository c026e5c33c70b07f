PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
TORCH = torch==2.13.0
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 2
ARGS ?=

NATIVE_SOURCES = CMakeLists.txt setup.py $(shell find csrc kernels/cuda -type f)
CPP_SOURCES = $(shell find csrc kernels tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
# A CUDA build of torch brings the one triton that it works with: the locked one is for builds that bring none.
BRINGS_TRITON = from importlib.metadata import requires; print(any(r.startswith("triton") for r in requires("torch") or []))

.PHONY: help venv demo test test-kernels test-gpu bench-gpu sanitize sanitize-gpu lint format build lock clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16
	@echo; echo "variables: PYTHON (3.11 or newer), VENV, JOBS (test processes), ARGS (for pytest or the demo)"

venv: $(VENV)/.installed ## virtual environment, locked requirements, editable install (done once)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found; install one or say make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("error: $(PYTHON) is Python %d.%d; expected 3.11 or newer" % v[:2] if v < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV) || { rm -f $@; echo "error: $(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.locked: requirements.lock | $(BIN)/python
	$(PIP) install $(TORCH)
	if [ "$$($(BIN)/python -c '$(BRINGS_TRITON)')" = True ]; then grep -v '^triton==' requirements.lock; else cat requirements.lock; fi \
		> $(VENV)/requirements.txt
	$(PIP) install --no-deps -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml $(NATIVE_SOURCES)
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: venv ## train PCSR on the clip art set at 40 % wrong pairs, beside the plain baseline and the oracle
	$(BIN)/pcsr-fast compare --config demo --jobs $(JOBS) $(ARGS)

test: venv ## all tests but the longest of GPU kernels (ARGS="tests/ops -k hardest" for some)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -q -m "not kernels" $(ARGS)

test-kernels: venv ## all tests of GPU kernels, without a GPU: interpreted, compiled, simulated
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -q tests/kernels tests/tools $(ARGS)

test-gpu: venv ## tests of GPU kernels on a GPU
	$(BIN)/python -m pytest -q -m gpu $(ARGS)
	@test -n "$(ARGS)" || $(BIN)/python -m benchmarks gpu-ran tests

bench-gpu: venv ## every op against its baselines on a GPU, kept in benchmarks/results/gpu
	for op in triplet contrastive pair_losses mixture ranks hardest heads step; do \
		$(BIN)/python -m benchmarks run --op $$op --size gpu --device cuda || exit 1; done
	@$(BIN)/python -m benchmarks gpu-ran benchmarks

sanitize: venv ## native tests under the address, undefined and thread sanitizers (Linux, gcc), for minutes
	$(BIN)/python tests/csrc/sanitize.py $(ARGS)

# Without torch's pool of memory, in which an access beyond one tensor lands in another.
sanitize-gpu: venv ## tests that need a GPU under each tool of compute-sanitizer, for an hour
	@command -v compute-sanitizer >/dev/null || { echo "error: compute-sanitizer was not found; it comes with the CUDA toolkit" >&2; exit 1; }
	for tool in memcheck racecheck initcheck synccheck; do \
		PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $$tool --target-processes all --error-exitcode 1 \
		$(BIN)/python -m pytest -n 0 -q --timeout=0 -p no:cacheprovider -m gpu $(ARGS) || exit 1; done
	@test -n "$(ARGS)" || $(BIN)/python -m benchmarks gpu-ran sanitizers

lint: venv ## ruff, mypy and clang-format, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP_SOURCES)
	$(BIN)/mypy

format: venv ## mend what ruff and clang-format can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_SOURCES)

build: venv ## source distribution and wheel, in dist/
	rm -rf build/lib* build/bdist* dist
	$(BIN)/python -m build --no-isolation

# Resolved afresh from pyproject.toml beside the pinned torch; local version labels such as +cpu are dropped.
lock: ## write requirements.lock anew
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install -q $(TORCH)
	PCSR_NATIVE=0 build/lock/bin/pip install -q '.[dev,extract]'
	{ echo "$(TORCH)"; echo "# Written by 'make lock', for 'pip install --no-deps' (see the Makefile)."; \
		build/lock/bin/pip freeze --all | grep -vE '^(torch|pcsr-fast|pip)( @|==)' \
		| sed -E "s/\+[a-z0-9.]+$$//; s/^triton==.*/&; platform_system == 'Linux'/"; } > requirements.lock.part
	mv requirements.lock.part requirements.lock
	rm -rf build/lock

clean: ## remove what was built, not the virtual environment
	rm -rf build dist *.egg-info pcsr_fast/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		$(VENV)/.installed
