#!/usr/bin/env bash
# Resolves the dependencies into universal, hashed lock files: what the demo needs, what developers need on top,
# what benchmarks compare with, what PyIceberg's own tests import, and Spark, Airflow and an emulator of Snowflake, which have
# environments of their own.
# They are uv's requirement locks rather than uv.lock, which would write a registry's host into the repository
# (docs/adr/0003-lock-files.md).
set -euo pipefail
cd "$(dirname "$0")/.."
options=(--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header)
.venv/bin/uv pip compile "${options[@]}" pyproject.toml --extra demo --extra s3 -o lock/demo.txt
.venv/bin/uv pip compile "${options[@]}" pyproject.toml --extra demo --extra s3 --group dev -c lock/demo.txt -o lock/dev.txt
.venv/bin/uv pip compile "${options[@]}" pyproject.toml --group bench -c lock/dev.txt -o lock/bench.txt
.venv/bin/uv pip compile "${options[@]}" pyproject.toml --group pyiceberg-tests -c lock/dev.txt -o lock/pyiceberg-tests.txt
.venv/bin/uv pip compile "${options[@]}" --group spark -o lock/spark.txt
.venv/bin/uv pip compile "${options[@]}" --group snowflake-emulator -o lock/snowflake.txt
.venv/bin/uv pip compile "${options[@]}" --group integrations/airflow/pyproject.toml:test -o lock/airflow.txt
