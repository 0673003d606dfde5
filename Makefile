# Two commands do everything on a fresh machine: `make mnist` trains the example, `make test` checks the project.
# Tools can be named on the command line: make test PYTHON=python3.11 PYTEST_ARGS="-k metrics -x"
PYTHON ?= python3
VENV ?= .venv
OVERLAY_DIR ?= .venv-overlays
PYTEST_ARGS ?=
# Processes that share the tests.
JOBS ?= 2
BENCH_ARGS ?=
MNIST_ARGS ?= --max-epochs 5
# The overlays that parity-old runs in, and the tests that it runs there.
OLD ?= pl195 pl209
OLD_TESTS ?= tests/parity tests/versions

# Quoted where it is used: the folder that holds the project may have a space in its name.
BIN := $(abspath $(VENV))/bin
PY := "$(BIN)/python"
PIP := $(PY) -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
HOROVOD := $(VENV)/.horovod
OVERLAYS := $(patsubst overlays/%.txt,%,$(wildcard overlays/*.txt))
OVERLAYS_INSTALLED := $(OVERLAYS:%=$(OVERLAY_DIR)/%/.installed)

.DELETE_ON_ERROR:
.PHONY: help venv mnist example test soak cluster-test lint format docs bench horovod overlays parity-old clean
.DEFAULT_GOAL := help

help:
	@echo "make mnist       train examples/mnist for five epochs"
	@echo "make example     train it for one epoch, then test, predict, evaluate, export: examples/mnist/after_training.sh"
	@echo "make test        lint, then run the tests"
	@echo "make soak        kill a training process a hundred times, and resume it"
	@echo "make cluster-test  the acceptance on the cluster that DET_MASTER names (fifteen minutes; tests/cluster/__init__.py)"
	@echo "make lint        ruff and mypy           make format      let ruff format the code"
	@echo "make venv        the environment alone   make docs        write docs/support.md from the support table"
	@echo "make bench       measure, and write docs/performance.md (about twenty minutes)"
	@echo "make horovod     build Horovod into the environment (two minutes, needs a C++ compiler and cmake)"
	@echo "make overlays    older Lightnings beside the environment"
	@echo "make parity-old  the parity tests under them"
	@echo "make clean       remove environments, caches and build products"

# torch goes first and alone, in the exact version: what is installed after it finds it there and asks for no other.
# Only what is missing or has another version is installed, so an environment that is there already is kept.
$(INSTALLED): setup.py constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $$(grep -E '^(torch|setuptools)==' constraints.txt)
	$(PIP) install --quiet --no-build-isolation -c constraints.txt -e '.[pytorch-lightning,lightning,parquet,export,cli,hydra,search,dev]'
	touch $@

venv: $(INSTALLED)

mnist: $(INSTALLED)
	cd examples/mnist && "$(BIN)/lightning-adapter" fit model_def:MNISTTrial --config const.yaml $(MNIST_ARGS)

example: $(INSTALLED)
	PATH="$(BIN):$$PATH" sh examples/mnist/after_training.sh

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(INSTALLED)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The tests of Horovod want it built wherever there is a compiler to build it with.
COMPILER := $(shell command -v c++ || command -v g++)
test: lint $(if $(COMPILER),$(HOROVOD))
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest -n $(JOBS) $(PYTEST_ARGS)

# Kills a training process again and again, at random moments, and resumes it: SOAK_KILLS=1000 for a longer one.
soak: $(INSTALLED)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} SOAK_KILLS=$${SOAK_KILLS:-100} $(PY) -m pytest tests/resume -m soak -s $(PYTEST_ARGS)

# On a real cluster, one experiment after the other; what it can be told about the cluster is in tests/cluster/__init__.py.
cluster-test: $(INSTALLED)
	@test -n "$$DET_MASTER" || echo "cluster-test: skipped, since DET_MASTER names no cluster"
	test -z "$$DET_MASTER" || $(PY) -m pytest tests/cluster -m cluster -v --durations=15 $(PYTEST_ARGS)

docs: $(INSTALLED)
	$(PY) -m lightning_adapter.support > docs/support.md.new
	mv docs/support.md.new docs/support.md

# Fails where a promise is not met or a measurement fails; the page is written all the same. BENCH_ARGS="--only calls,start"
# measures these alone.
bench: $(INSTALLED)
	$(PY) -m benchmarks $(BENCH_ARGS)

$(HOROVOD): scripts/build_horovod.py $(INSTALLED)
	command -v cmake > /dev/null || $(PIP) install --quiet cmake
	PATH="$(BIN):$$PATH" $(PY) scripts/build_horovod.py --constraints constraints.txt
	touch $@

horovod: $(HOROVOD)

# An overlay is a folder that PYTHONPATH puts before the environment: another Lightning on the same torch.
$(OVERLAYS_INSTALLED): $(OVERLAY_DIR)/%/.installed: overlays/%.txt | $(INSTALLED)
	rm -rf $(OVERLAY_DIR)/$*.new
	$(PIP) install --quiet --no-deps --target $(OVERLAY_DIR)/$*.new -r $<
	touch $(OVERLAY_DIR)/$*.new/.installed
	rm -rf $(OVERLAY_DIR)/$*
	mv $(OVERLAY_DIR)/$*.new $(OVERLAY_DIR)/$*

overlays: $(OVERLAYS_INSTALLED)

.PHONY: $(OLD:%=parity-%)
$(OLD:%=parity-%): parity-%: $(OVERLAY_DIR)/%/.installed
	PYTHONPATH="$(CURDIR)/$(OVERLAY_DIR)/$*" OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} \
		$(PY) -m pytest -n $(JOBS) $(OLD_TESTS) $(PYTEST_ARGS)

parity-old: $(OLD:%=parity-%)

clean:
	rm -rf $(VENV) $(OVERLAY_DIR) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
