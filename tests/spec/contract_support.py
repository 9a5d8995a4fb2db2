"""Shared by the contract tests: small documents, and real DuckDB over Arrow."""

from __future__ import annotations

from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from cordillera.spec.contract import (
    AggregateRule,
    Contract,
    RowRule,
    count_sql,
    examples_sql,
    parse_contract,
    values_sql,
)


def document(*properties: dict[str, Any], quality: list[dict[str, Any]] | None = None, **top: Any) -> str:
    """Return a document with one object, ``orders``."""
    body = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "orders-contract",
        "version": "1.0.0",
        "status": "active",
        **top,
        "schema": [
            {
                "name": "orders",
                "properties": list(properties),
                **({"quality": quality} if quality is not None else {}),
            }
        ],
    }
    return yaml.safe_dump(body, sort_keys=False)


def contract(*properties: dict[str, Any], quality: list[dict[str, Any]] | None = None, **top: Any) -> Contract:
    return parse_contract(document(*properties, quality=quality, **top))


def integer(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "logicalType": "integer", **({"logicalTypeOptions": options} if options else {})}


def text(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "logicalType": "string", **({"logicalTypeOptions": options} if options else {})}


def query(sql: str, rows: pa.Table) -> list[dict[str, Any]]:
    """Run a query over Arrow rows known as ``rows``, and return what it gives."""
    connection = _connection()
    connection.register("rows", rows)
    try:
        return connection.execute(sql).to_arrow_table().to_pylist()
    finally:
        connection.unregister("rows")


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    """One database in memory for the whole test run; opening one takes longer than a query."""
    return duckdb.connect()


def broken(rules: tuple[RowRule, ...], rows: pa.Table) -> dict[str, int]:
    """Return how many rows break each rule, by rule name, for rules that are broken."""
    counts = query(count_sql(rules, "rows"), rows)[0]
    assert counts["rows"] == rows.num_rows
    by_name = {rule.name: counts[f"rule_{index}"] for index, rule in enumerate(rules)}
    return {name: count for name, count in by_name.items() if count}


def bad_rows(rule: RowRule, rows: pa.Table, *columns: str) -> list[dict[str, Any]]:
    return query(examples_sql(rule, "rows", columns, rows.num_rows or 1), rows)


def values(rules: tuple[AggregateRule, ...], rows: pa.Table) -> dict[str, Any]:
    """Return the value of each aggregate rule, by rule name."""
    found = query(values_sql(rules, "rows"), rows)[0]
    assert found["rows"] == rows.num_rows
    return {rule.name: found[f"rule_{index}"] for index, rule in enumerate(rules)}
