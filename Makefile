# Everything a developer or a first-time user runs. Needs Python 3.11+ and make; the rest is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
DEMO_LAKE ?= demo-lake
PORT ?= 8470
PROVIDER := tests/identity_provider
AIRFLOW := integrations/airflow

.DEFAULT_GOAL := help
.PHONY: help demo demo-clean serve test test-long test-fast test-pyiceberg test-spark test-airflow check format lock setup setup-dev setup-spark setup-airflow setup-snowflake browser bench-engine bench-merge bench-commits bench-catalog bench-verify bench-completion bench-delivery clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## Run the main job: a year of New York's flights, end to end, into ./demo-lake
	@$(BIN)/cordillera demo run --lake $(DEMO_LAKE)

demo-clean: setup ## Remove the demo's lake and its PostgreSQL server
	@$(BIN)/cordillera demo clean --lake $(DEMO_LAKE)

serve: setup ## Serve the demo's lake: API, web pages and workers on loopback
	@$(BIN)/cordillera serve --lake $(DEMO_LAKE) --port $(PORT)

test: setup-dev setup-snowflake browser $(PROVIDER)/node_modules/.installed ## Run every test (servers are started from packages, nothing is left running)
	@$(BIN)/python -m pytest -n 3 --dist worksteal

test-long: setup-dev setup-snowflake ## Run the tests that take a minute or more each
	@$(BIN)/python -m pytest -n 0 -m long --timeout 3600

test-fast: setup-dev ## Run the tests that need no server and no browser
	@$(BIN)/python -m pytest -n 3 --dist worksteal tests/spec tests/table tests/contracts tests/catalog tests/completion tests/lineage tests/access

test-pyiceberg: setup-dev ## Run PyIceberg's own REST catalog tests, downloaded, against a lake (a minute)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/pyiceberg-tests.txt
	@$(BIN)/python -m tests.pyiceberg_rest

test-spark: setup-dev setup-spark ## Run the tests with Spark, which comes with its own Java (about ten minutes)
	@$(BIN)/python -m pytest -n 0 -m spark

test-airflow: setup-dev setup-airflow ## Check and test the Airflow provider with a whole Airflow (a few minutes)
	@cd $(AIRFLOW) && MYPYPATH=src $(CURDIR)/$(BIN)/mypy --python-executable $(CURDIR)/$(VENV)/airflow/bin/python
	@cd $(AIRFLOW) && $(CURDIR)/$(VENV)/airflow/bin/python -m pytest

check: setup-dev ## Format, lint, types, layers and docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml
	@$(BIN)/python scripts/check_docs.py

format: setup-dev ## Format the code and apply safe lint fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup-dev ## Resolve the dependencies anew and write the lock files
	@scripts/lock.sh

bench-engine: setup-dev setup-spark ## Compare the table engine with its peers (about an hour; leave the machine alone)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/bench.txt
	@$(BIN)/python -m benchmarks.engine

bench-merge: setup-dev setup-spark ## Compare 37 merges and deletes with peers at 10 million rows (hours; leave the machine alone)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/bench.txt
	@$(BIN)/python -m benchmarks.merge_suite

bench-verify: setup-dev ## Measure proofs of equality, pinpointing and repair with PostgreSQL and DuckDB (two minutes)
	@$(BIN)/python -m benchmarks.verification --target postgres
	@$(BIN)/python -m benchmarks.verification --target duckdb

bench-completion: setup-dev ## Measure completions with up to 100,000 waiting jobs, on SQLite and PostgreSQL (about half an hour)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/bench.txt
	@$(BIN)/python -m benchmarks.completion

bench-delivery: setup-dev ## Measure first deliveries, changes and 3,000 subscriptions (hours, and 30 GB; leave the machine alone)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/bench.txt
	@$(BIN)/python -m benchmarks.delivery

bench-commits: setup-dev ## Measure commits to tables with 1 to 10,000 snapshots (a minute)
	@$(BIN)/python -m benchmarks.commits

bench-catalog: setup-dev ## Compare the Iceberg REST catalog with SeaweedFS's (about an hour; leave the machine alone)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/bench.txt
	@$(BIN)/python -m benchmarks.catalog

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev
setup-spark: $(VENV)/spark/.installed
setup-airflow: $(VENV)/airflow/.installed
setup-snowflake: $(VENV)/snowflake/.installed

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cordillera needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: lock/demo.txt pyproject.toml | $(UV)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/demo.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.installed-dev: lock/dev.txt $(VENV)/.installed
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement lock/dev.txt
	@touch $@

# PySpark and the client of Spark that the other tests use are one module, so it has an environment of its own.
$(VENV)/spark/.installed: lock/spark.txt | $(UV)
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(VENV)/spark
	@$(UV) pip install --quiet --python $(VENV)/spark/bin/python --require-hashes --requirement lock/spark.txt
	@touch $@

# Airflow and the lake's server ask for releases of FastAPI that exclude each other.
$(VENV)/airflow/.installed: lock/airflow.txt $(AIRFLOW)/pyproject.toml | $(UV)
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(VENV)/airflow
	@$(UV) pip install --quiet --python $(VENV)/airflow/bin/python --require-hashes --requirement lock/airflow.txt
	@$(UV) pip install --quiet --python $(VENV)/airflow/bin/python --no-deps --editable $(AIRFLOW)
	@touch $@

# fakesnow, which emulates Snowflake, pins releases of DuckDB and sqlglot that are not ours.
$(VENV)/snowflake/.installed: lock/snowflake.txt | $(UV)
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(VENV)/snowflake
	@$(UV) pip install --quiet --python $(VENV)/snowflake/bin/python --require-hashes --requirement lock/snowflake.txt
	@touch $@

$(PROVIDER)/node_modules/.installed: $(PROVIDER)/package-lock.json $(VENV)/.installed-dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix $(PROVIDER) --prefer-offline --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

browser: setup-dev
	@$(BIN)/python scripts/install_browser.py

clean: ## Remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
