"""Rows over HTTP, for clients that are not ours: forms, limits, and bodies that are not what they should be."""

from __future__ import annotations

import csv
import io
import socket
import struct
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from cordillera.app import Application, create_lake
from cordillera.arrow_stream import ARROW_STREAM
from cordillera.catalog.new_table import TableOptions
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.testing.backend_suite import ORDERS, notes, orders
from tests.api.test_errors import shape_of
from tests.tokens import administrators_token

ARROW = {"Content-Type": ARROW_STREAM}
JSON = {"Content-Type": "application/json"}


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


# --- taking rows in -------------------------------------------------------------------------------------------------


def test_an_arrow_stream_of_any_writer_is_taken(http: httpx2.Client, backend: LocalBackend, dataset: str) -> None:
    table = pa.table({"id": [1, 2], "note": pa.array(["a", "b"]).dictionary_encode()})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    answer = http.post(
        f"/datasets/{dataset}/rows?operation=append", content=sink.getvalue().to_pybytes(), headers=ARROW
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows_inserted"] == 2
    assert notes(backend, dataset) == {1: "a", 2: "b"}


def test_rows_can_be_json(http: httpx2.Client, backend: LocalBackend, dataset: str) -> None:
    rows = [{"id": 1, "day": "2013-01-31", "amount": "9.90"}, {"id": 2, "note": "☃", "amount": None}]
    answer = http.post(f"/datasets/{dataset}/rows?operation=append", json=rows)
    assert answer.json()["rows_inserted"] == 2
    assert sorted(backend.scan(dataset).read_all().to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "day": date(2013, 1, 31), "amount": Decimal("9.90"), "note": None},
        {"id": 2, "day": None, "amount": None, "note": "☃"},
    ]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ('[{"id": 1.5}]', "type_mismatch"),
        ('[{"id": "1"}]', "type_mismatch"),
        ('[{"id": true}]', "type_mismatch"),
        ('[{"id": 9223372036854775808}]', "type_mismatch"),
        ('[{"id": 1, "note": 5}]', "type_mismatch"),
        ('[{"id": 1, "day": "31.1.2013"}]', "type_mismatch"),
        ('[{"id": 1, "amount": "1.234"}]', "type_mismatch"),
        ('[{"id": 1, "colour": "red"}]', "unknown_column"),
        ('[{"note": "x"}]', "missing_key"),
        ('[{"id": null}]', "null_key"),
        ('{"id": 1}', "invalid_input"),
        ("[1]", "invalid_input"),
        ("[{]", "invalid_input"),
        ("", "invalid_input"),
    ],
)
def test_json_that_does_not_fit_is_refused(
    http: httpx2.Client, backend: LocalBackend, dataset: str, rows: str, code: str
) -> None:
    answer = http.post(f"/datasets/{dataset}/rows?operation=append", content=rows.encode(), headers=JSON)
    shape_of(answer, 400, code)
    assert backend.snapshots(dataset) == []


GOOD = stream(orders(1, 2, 3).read_all())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"\xff" * 64,
        b"\x00" * 64,
        GOOD[:100],
        GOOD[: len(GOOD) // 2],
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    ],
    ids=["empty", "text", "ones", "zeros", "no schema", "half", "huge length"],
)
def test_a_stream_that_is_none_is_refused(
    http: httpx2.Client, backend: LocalBackend, dataset: str, body: bytes
) -> None:
    answer = http.post(f"/datasets/{dataset}/rows?operation=append", content=body, headers=ARROW)
    shape_of(answer, 400, "invalid_input")
    assert backend.snapshots(dataset) == []


def test_a_stream_whose_offsets_lead_nowhere_is_refused(
    http: httpx2.Client, backend: LocalBackend, dataset: str
) -> None:
    body = bytearray(stream(pa.table({"id": [1], "note": ["x" * 12_345]})))
    place = body.rfind(struct.pack("<ii", 0, 12_345))
    body[place : place + 8] = struct.pack("<ii", 0, 2**30)
    answer = http.post(f"/datasets/{dataset}/rows?operation=append", content=bytes(body), headers=ARROW)
    shape_of(answer, 400, "invalid_input")
    assert backend.snapshots(dataset) == []


def test_rows_of_an_unknown_form_are_refused(http: httpx2.Client, dataset: str) -> None:
    for kind in ("text/csv", "application/octet-stream", ""):
        answer = http.post(f"/datasets/{dataset}/rows?operation=append", content=b"x", headers={"Content-Type": kind})
        shape_of(answer, 400, "invalid_input")
    shape_of(http.post(f"/datasets/{dataset}/rows", content=GOOD, headers=ARROW), 400, "invalid_input")


def test_a_body_that_breaks_off_is_not_written(url: str, token: str, backend: LocalBackend, dataset: str) -> None:
    parts = urlsplit(url)
    head = (
        f"POST /api/v1/datasets/{dataset}/rows?operation=append HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: {ARROW_STREAM}\r\n"
    )
    for framing, body in (
        (f"Content-Length: {len(GOOD) + 1}\r\n\r\n", GOOD),
        ("Transfer-Encoding: chunked\r\n\r\n", f"{len(GOOD):x}\r\n".encode() + GOOD + b"\r\n"),
    ):
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(head.encode() + framing.encode() + body)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert backend.snapshots(dataset) == []


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[TestClient]:
    """A server that takes at most a megabyte."""
    with create_lake(tmp_path / "lake", max_request_mb="1") as app:
        LocalBackend(app).create_namespace("sales")
        LocalBackend(app).create_dataset("sales.orders", ORDERS, TableOptions())
        token = administrators_token(app)
        headers = {"Authorization": f"Bearer {token}"}
        with TestClient(create_server(app), base_url="http://localhost", headers=headers) as client:
            yield client


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(narrow: TestClient, chunked: bool) -> None:
    body = stream(orders(*range(100_000)).read_all())
    assert len(body) > 1_000_000
    content = iter([body[i : i + 100_000] for i in range(0, len(body), 100_000)]) if chunked else body
    answer = narrow.post("/api/v1/datasets/sales.orders/rows?operation=append", content=content, headers=ARROW)
    error = shape_of(answer, 413, "request_too_large")
    assert error["details"] == {"most_bytes": 1_000_000}
    assert narrow.get("/api/v1/datasets/sales.orders/snapshots").json() == {"items": [], "next": None}


@pytest.mark.parametrize("path", ["/namespaces", "/query", "/datasets/a.b/contract", "/nowhere"])
@pytest.mark.parametrize("kind", ["application/json", ARROW_STREAM])
def test_only_rows_may_be_large(http: httpx2.Client, path: str, kind: str) -> None:
    method = "PUT" if path.endswith("contract") else "POST"
    answer = http.request(method, path, content=b" " * 10_000_001, headers={"Content-Type": kind})
    shape_of(answer, 413, "request_too_large")


# --- giving rows out ------------------------------------------------------------------------------------------------


def test_rows_come_as_json(http: httpx2.Client, backend: LocalBackend, dataset: str) -> None:
    backend.write(dataset, orders(1, 2, 3, note="é"), "append")
    answer = http.get(f"/datasets/{dataset}/rows", params={"limit": 2, "columns": ["note", "amount", "day"]})
    assert answer.headers["content-type"] == "application/json"
    row = {"note": "é", "amount": "9.99", "day": "2013-01-31"}
    assert answer.json() == {"rows": [row, row], "truncated": True}
    assert http.get(f"/datasets/{dataset}/rows", params={"limit": 3}).json()["truncated"] is False
    assert len(http.get(f"/datasets/{dataset}/rows", params={"where": "id > 1"}).json()["rows"]) == 2
    shape_of(http.get(f"/datasets/{dataset}/rows", params={"limit": 10_001}), 400, "invalid_input")
    twice = {"sql": f"SELECT id AS a, note AS a FROM {dataset}"}
    shape_of(http.post("/query", json=twice), 400, "invalid_input")


def test_rows_come_as_csv(http: httpx2.Client, backend: LocalBackend, dataset: str) -> None:
    backend.write(dataset, orders(1, note='say "hi",\nthen go'), "append")
    backend.write(dataset, pa.table({"id": [2]}).to_reader(), "append")
    answer = http.get(f"/datasets/{dataset}/rows", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = sorted(csv.reader(io.StringIO(answer.text)))
    assert rows == [
        ["1", "2013-01-31", "9.99", 'say "hi",\nthen go'],
        ["2", "", "", ""],
        ["id", "day", "amount", "note"],
    ]
    nested = http.post("/query", json={"sql": "SELECT [1] AS x"}, headers={"Accept": "text/csv"})
    assert "x (" in shape_of(nested, 400, "invalid_input")["message"]
    empty = http.get(f"/datasets/{dataset}/rows?where=id>9", headers={"Accept": "text/csv"})
    assert empty.text.strip() == '"id","day","amount","note"'


def test_rows_come_as_arrow(http: httpx2.Client, backend: LocalBackend, dataset: str) -> None:
    backend.write(dataset, orders(1, 2, 3), "append")
    answer = http.get(f"/datasets/{dataset}/rows", headers={"Accept": f"{ARROW_STREAM};q=1, application/json;q=0.5"})
    assert answer.headers["content-type"] == ARROW_STREAM
    assert pa.ipc.open_stream(answer.content).read_all().num_rows == 3
    asked = http.post("/query", json={"sql": "SELECT 1 AS one"}, headers={"Accept": ARROW_STREAM})
    assert pa.ipc.open_stream(asked.content).read_all().to_pylist() == [{"one": 1}]
    shape_of(http.get(f"/datasets/{dataset}/rows", headers={"Accept": "image/png"}), 400, "invalid_input")


def test_a_schema_can_be_read_by_people(http: httpx2.Client, dataset: str) -> None:
    columns = http.get(f"/datasets/{dataset}/schema").json()
    assert columns[:2] == [
        {"name": "id", "type": "long", "required": True, "doc": None},
        {"name": "day", "type": "date", "required": False, "doc": None},
    ]


@pytest.mark.parametrize("accept", [ARROW_STREAM, "text/csv"])
def test_rows_that_break_off_do_not_look_whole(
    app: Application, http: httpx2.Client, backend: LocalBackend, dataset: str, accept: str
) -> None:
    for first in range(0, 400_000, 100_000):
        backend.write(dataset, orders(*range(first, first + 100_000), note="x" * 20), "append")
    entry = backend.manifest(dataset, 1).entries[0]  # the newest files are read first
    Path(urlsplit(entry.path).path).write_bytes(b"gone")
    received: list[bytes] = []
    with http.stream("GET", f"/datasets/{dataset}/rows", headers={"Accept": accept}) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            received.extend(answer.iter_raw())
    assert received
    assert http.get("/lake").status_code == 200


def test_a_read_that_fails_at_once_is_a_proper_error(
    app: Application, http: httpx2.Client, backend: LocalBackend, dataset: str
) -> None:
    backend.write(dataset, orders(1), "append")
    entry = backend.manifest(dataset, 1).entries[0]
    Path(urlsplit(entry.path).path).unlink()
    for accept in (ARROW_STREAM, "text/csv", "application/json"):
        answer = http.get(f"/datasets/{dataset}/rows", headers={"Accept": accept})
        shape_of(answer, 500, "corrupt_data")
