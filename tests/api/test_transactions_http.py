"""Transactions over HTTP, for clients that are not ours: forms of the body, and bodies that do not fit the writes."""

from __future__ import annotations

import json

import httpx2
import pyarrow as pa
import pytest

from cordillera.client.local import LocalBackend
from cordillera.testing.backend_suite import make_orders, notes
from tests.api.test_rows_http import ARROW, JSON, stream

ROWS = stream(pa.table({"id": [1], "note": ["a"]}))


@pytest.fixture
def pair(backend: LocalBackend, dataset: str) -> tuple[str, str]:
    return dataset, make_orders(backend, dataset.partition(".")[0], name="others")


def post(
    http: httpx2.Client, pair: tuple[str, str], content: bytes, headers: dict[str, str], *, writes: object = None
) -> httpx2.Response:
    asked = [{"dataset": name, "operation": "append"} for name in pair] if writes is None else writes
    parameters = {"writes": asked if isinstance(asked, str) else json.dumps(asked)}
    return http.post("/transactions", params=parameters, content=content, headers=headers)


def test_rows_are_streams_one_behind_the_other(
    http: httpx2.Client, backend: LocalBackend, pair: tuple[str, str]
) -> None:
    answer = post(http, pair, ROWS + stream(pa.table({"id": [2, 3]})), ARROW)
    assert answer.status_code == 200, answer.text
    assert [item["rows_inserted"] for item in answer.json()["items"]] == [1, 2]
    assert notes(backend, pair[0]) == {1: "a"}
    assert notes(backend, pair[1]) == {2: None, 3: None}


def test_rows_are_lists_of_objects(http: httpx2.Client, backend: LocalBackend, pair: tuple[str, str]) -> None:
    answer = post(http, pair, b'[[{"id": 1, "note": "a"}], [{"id": 2, "note": "b"}]]', JSON)
    assert answer.status_code == 200, answer.text
    assert (notes(backend, pair[0]), notes(backend, pair[1])) == ({1: "a"}, {2: "b"})


def test_deletes_by_condition_need_no_body(http: httpx2.Client, backend: LocalBackend, pair: tuple[str, str]) -> None:
    post(http, pair, ROWS + ROWS, ARROW)
    writes = [{"dataset": name, "operation": "delete", "where": "id = 1"} for name in pair]
    answer = post(http, pair, b"", JSON, writes=writes)
    assert [item["rows_deleted"] for item in answer.json()["items"]] == [1, 1]
    assert (notes(backend, pair[0]), notes(backend, pair[1])) == ({}, {})


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", ARROW),
        (ROWS, ARROW),
        (ROWS * 3, ARROW),
        (ROWS + b"garbage", ARROW),
        (ROWS + ROWS[:-40], ARROW),
        (b'[[{"id": 1}]]', JSON),
        (b'[{"id": 1}, {"id": 2}]', JSON),
        (b'{"id": 1}', JSON),
        (b"[[", JSON),
    ],
)
def test_a_body_that_does_not_fit_is_refused(
    http: httpx2.Client, backend: LocalBackend, pair: tuple[str, str], content: bytes, headers: dict[str, str]
) -> None:
    answer = post(http, pair, content, headers)
    assert answer.status_code == 400, answer.text
    assert [backend.snapshots(name) for name in pair] == [[], []]


@pytest.mark.parametrize("writes", ["[", "{}", [], [1], [{"operation": "append"}], [{"dataset": "a.b", "rows": 1}]])
def test_writes_that_are_none_are_refused(http: httpx2.Client, pair: tuple[str, str], writes: object) -> None:
    assert post(http, pair, b"", JSON, writes=writes).status_code == 400


def test_a_body_of_another_type_is_refused(http: httpx2.Client, pair: tuple[str, str]) -> None:
    assert post(http, pair, ROWS + ROWS, {"Content-Type": "text/csv"}).status_code == 400


def test_nobody_writes_without_a_token(anonymous: httpx2.Client, pair: tuple[str, str]) -> None:
    answer = anonymous.post("/api/v1/transactions", params={"writes": "[]"}, content=ROWS, headers=ARROW)
    assert answer.status_code == 401
