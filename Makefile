# Each target does its own set-up: a virtual environment in .venv from the locks, hashes checked, and this tree installed
# into it in place. On a machine without Python's venv module or npm it says which command installs them.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
SOAK ?= 10
PYTEST_FLAGS ?=
DEMO_FLAGS ?=
UV_FLAGS ?=

UV = uv==0.13.9
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
NODE = tests/conformance/node

.DEFAULT_GOAL := help
.PHONY: help demo test soak mutants bench lint docs wheel lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.runtime ## Everything at work on simulated vendors, in a minute (DEMO_FLAGS="--people 300")
	$(BIN)/syncd demo $(DEMO_FLAGS)

test: $(VENV)/.dev $(NODE)/node_modules ## All tests but the soak (JOBS=2, PYTEST_FLAGS="-k consent")
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

soak: $(VENV)/.dev ## The long tests, some hours; says what it covered (SOAK=1 for a look, SOAK=100 for days)
	SYNCD_SOAK=$(SOAK) $(BIN)/python -m pytest -m soak -s $(PYTEST_FLAGS)

mutants: $(VENV)/.dev ## Known-bad versions of the product, each of which the state machine must notice
	$(BIN)/python -m tests.machine mutants

bench: $(VENV)/.dev ## Figures against tests/bench/budgets.toml, at the pace of its reference machine
	$(BIN)/python -m tests.bench

lint: $(VENV)/.dev ## ruff, mypy --strict, who may import whom
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev ## Write the generated pages of docs/ again
	$(BIN)/python -m tests.system.one_person
	$(BIN)/python -m tests.system.reference

wheel: $(VENV)/.runtime ## dist/*.tar.gz and dist/*.whl
	$(BIN)/python -m hatchling build

lock: $(VENV)/.created ## Write the locks again after a change of dependencies (UV_FLAGS=--upgrade for newer releases)
	$(PYTHON) -m venv --clear $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --disable-pip-version-check --quiet install $(UV)
	$(call compile,requirements.lock,)
	$(call compile,requirements-dev.lock,--group dev -c requirements.lock)
	$(call compile,requirements-build.lock,--group build -c requirements-dev.lock)

# For every supported Python and platform; without the addresses of package indexes: where packages come from is pip's business.
compile = $(VENV)/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UV_FLAGS) \
	$(if $(filter requirements-build.lock,$(1)),,pyproject.toml) $(2) -o $(1)

clean: ## Remove what the other targets made
	rm -rf $(VENV) dist build $(NODE)/node_modules .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find syncd connectors mappings state tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo >&2 "Python is missing. Install it: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo >&2 "$(PYTHON) is $$($(PYTHON) -V), and 3.11 or newer is needed. Name one: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { v=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo >&2 "Python's venv module is missing. Install it: sudo apt-get install python$$v-venv"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.created requirements.lock requirements-build.lock pyproject.toml
	$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# An independent client of the Marketing Cloud simulator. Its one test is skipped without it, or fails where
# SYNCD_REQUIRE_NODE=1 says that it must run.
$(NODE)/node_modules: $(NODE)/package.json
	@if command -v npm >/dev/null; then \
	  echo "npm install sfmc-sdk"; (cd $(NODE) && npm install --no-package-lock --no-audit --no-fund --silent) && touch $@ \
	    || echo >&2 "npm could not install it: the test that needs it is skipped."; \
	else echo >&2 "npm is missing: one test is skipped. Install it: sudo apt-get install nodejs npm"; fi
