"""Bad input, embedded, through a server and on the command line: a clear error, and nothing has changed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.client.remote import RemoteBackend
from cordillera.errors import (
    AlreadyExistsError,
    ContractViolationError,
    CordilleraError,
    DatasetNotFoundError,
    DatasetVersionNotFoundError,
    DuplicateKeyError,
    IdempotencyKeyReusedError,
    IncompatibleSchemaError,
    InvalidConfigurationError,
    InvalidContractError,
    InvalidExpressionError,
    InvalidNameError,
    InvalidPartitionError,
    InvalidSchemaError,
    InvalidSqlError,
    JobNotFoundError,
    MissingKeyError,
    NamespaceNotFoundError,
    NotEmptyError,
    NullKeyError,
    SnapshotNotFoundError,
    TargetNotFoundError,
    TargetUnreachableError,
    TypeMismatchError,
    UnknownColumnError,
    UnknownOperationError,
)
from cordillera.server import create_server
from cordillera.spec.schema_evolution import WidenColumn
from cordillera.testing.running_server import running_server
from tests.cli.conftest import cli, quiet_surroundings
from tests.cli.harness import Cli

__all__ = ["cli", "quiet_surroundings"]

KEYED, KEYLESS, GUARDED = "sales.orders", "sales.log", "sales.guarded"
SCHEMA = pa.schema([("id", pa.int64()), ("amount", pa.int32()), ("note", pa.string())])
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: guarded
version: 1.0.0
status: active
schema:
  - name: guarded
    properties:
      - {name: id, logicalType: integer, physicalType: long, primaryKey: true, required: true}
      - name: amount
        logicalType: integer
        physicalType: int
        quality: [{type: sql, query: "SELECT count(*) FROM ${object} WHERE amount < 0", mustBe: 0}]
"""
NESTED = "(" * 300 + "1" + ")" * 300
NOWHERE = "host=127.0.0.1 port=1 dbname=nowhere connect_timeout=2"


def rows(**columns: Any) -> pa.Table:
    return pa.table({"id": [7, 8], "amount": [1, 2], "note": ["a", "b"], **columns})


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@dataclass(frozen=True)
class Case:
    """Something that cannot be done.

    Attributes:
        call: It, in Python.
        error: What is raised.
        named: What the message names.
        words: It, on the command line, if it can be said there.
        stdin: What the command reads.
    """

    call: Callable[[Lake], object]
    error: type[CordilleraError]
    named: tuple[str, ...]
    words: tuple[str, ...] = ()
    stdin: bytes = b""


def writing(table: pa.Table, error: type[CordilleraError], *named: str, to: str = KEYED, by: str = "upsert") -> Case:
    words = ("dataset", "write", to, "-", "--format", "parquet", "--operation", by)
    return Case(lambda lake: lake.dataset(to).write(table, by), error, named, words, parquet(table))


CASES = {
    # what does not exist
    "unknown namespace": Case(
        lambda lake: lake.create_dataset("nope.x", SCHEMA), NamespaceNotFoundError, ("nope",),
        ("dataset", "create", "nope.x", "--schema", "id:long"),
    ),
    "unknown dataset, read": Case(
        lambda lake: lake.dataset("sales.nope").head(), DatasetNotFoundError, ("sales.nope",),
        ("dataset", "read", "sales.nope"),
    ),
    "unknown dataset, written": writing(rows(), DatasetNotFoundError, "sales.nope", to="sales.nope"),
    "unknown dataset, completed": Case(
        lambda lake: lake.dataset("sales.nope").complete("2026-01-01"), DatasetNotFoundError, ("sales.nope",),
        ("completion", "declare", "sales.nope", "2026-01-01"),
    ),
    "unknown dataset version": Case(
        lambda lake: lake.dataset(f"{KEYED}_v9").head(), DatasetVersionNotFoundError, (KEYED, "9"),
        ("dataset", "read", f"{KEYED}_v9"),
    ),
    "unknown snapshot": Case(
        lambda lake: lake.dataset(KEYED).scan(as_of=99).to_arrow(), SnapshotNotFoundError, (KEYED, "99"),
        ("dataset", "read", KEYED, "--as-of", "99"),
    ),
    "unknown target": Case(
        lambda lake: lake.dataset(KEYED).subscribe("nope"), TargetNotFoundError, ("nope",),
        ("subscription", "create", KEYED, "nope"),
    ),
    "unknown job": Case(
        lambda lake: lake.backend.run_job("sales.nope", "2026-01-01"), JobNotFoundError, ("sales.nope",),
        ("job", "run", "sales.nope", "2026-01-01"),
    ),
    "unknown dataset in a query": Case(
        lambda lake: lake.sql("SELECT * FROM sales.nope"), DatasetNotFoundError, ("sales.nope",),
        ("sql", "SELECT * FROM sales.nope"),
    ),
    "unknown column, read": Case(
        lambda lake: lake.dataset(KEYED).scan(["id", "colour"]).to_arrow(), UnknownColumnError, ("colour", KEYED),
        ("dataset", "read", KEYED, "--columns", "id,colour"),
    ),
    "unknown column, written": writing(rows(colour=["r", "g"]), UnknownColumnError, "colour", KEYED),
    "unknown column, filtered by": Case(
        lambda lake: lake.dataset(KEYED).scan(where="colour = 'red'").to_arrow(), UnknownColumnError, ("colour",),
        ("dataset", "read", KEYED, "--where", "colour = 'red'"),
    ),
    "unknown column, deleted by": Case(
        lambda lake: lake.dataset(KEYED).delete_where("colour = 'red'"), UnknownColumnError, ("colour",),
        ("dataset", "delete-rows", KEYED, "--where", "colour = 'red'", "--yes"),
    ),
    "unknown column, evolved": Case(
        lambda lake: lake.dataset(KEYED).evolve(WidenColumn("colour", pa.int64())), UnknownColumnError, ("colour",),
        ("dataset", "evolve", KEYED, "--widen", "colour:long"),
    ),
    "unknown operation": writing(rows(), UnknownOperationError, "merge", by="merge"),
    "unknown kind of target": Case(
        lambda lake: lake.create_target("x", "abacus"), InvalidConfigurationError, ("abacus",),
        ("target", "create", "x", "abacus"),
    ),
    # rows that do not fit
    "NULL key": writing(rows(id=pa.array([7, None], pa.int64())), NullKeyError, "id", KEYED),
    "no key": writing(rows().drop(["id"]), MissingKeyError, "id", KEYED),
    "no key to upsert by": writing(rows(), MissingKeyError, KEYLESS, to=KEYLESS),
    "duplicate key": writing(rows(id=[7, 7]), DuplicateKeyError, "7", KEYED),
    "duplicate key, appended": writing(rows(id=[7, 7]), DuplicateKeyError, "7", KEYED, by="append"),
    "stored key, appended": writing(rows(id=[1, 7]), DuplicateKeyError, "1", KEYED, by="append"),
    "wrong type": writing(rows(amount=["one", "two"]), TypeMismatchError, "amount", "string"),
    "number out of range": writing(rows(amount=[1, 2**40]), TypeMismatchError, "amount", "int32"),
    "broken contract": writing(rows(amount=[1, -2]).drop(["note"]), ContractViolationError, GUARDED, to=GUARDED),
    "column in a narrower type": Case(
        lambda lake: lake.dataset(KEYED).evolve(WidenColumn("id", pa.int32())), IncompatibleSchemaError, ("id",),
        ("dataset", "evolve", KEYED, "--widen", "id:int"),
    ),
    "idempotency key of another write": Case(
        lambda lake: lake.dataset(KEYED).write(rows(), "upsert", idempotency_key="first"),
        IdempotencyKeyReusedError, ("first",),
        ("dataset", "write", KEYED, "-", "--format", "parquet", "--operation", "upsert", "--idempotency-key", "first"),
        parquet(rows()),
    ),
    # what cannot be understood
    "malformed name": Case(
        lambda lake: lake.create_namespace("No Name"), InvalidNameError, ("No Name",),
        ("namespace", "create", "No Name"),
    ),
    "malformed condition": Case(
        lambda lake: lake.dataset(KEYED).scan(where="id >").to_arrow(), InvalidExpressionError, ("id >",),
        ("dataset", "read", KEYED, "--where", "id >"),
    ),
    "condition nested too deeply": Case(
        lambda lake: lake.dataset(KEYED).scan(where=NESTED).to_arrow(), InvalidExpressionError, ("nested too deeply",),
        ("dataset", "read", KEYED, "--where", NESTED),
    ),
    "query nested too deeply": Case(
        lambda lake: lake.sql(f"SELECT {NESTED}"), InvalidSqlError, ("nested too deeply",), ("sql", f"SELECT {NESTED}"),
    ),
    "partitions without number": Case(
        lambda lake: lake.create_dataset("sales.x", SCHEMA, partitioning=["bucket(2147483648, id)"]),
        InvalidSchemaError, ("bucket(2147483648, id)",),
        ("dataset", "create", "sales.x", "--schema", "id:long", "--partition", "bucket(2147483648, id)"),
    ),
    "malformed query": Case(
        lambda lake: lake.sql("SELEC 1"), InvalidSqlError, (), ("sql", "SELEC 1"),
    ),
    "query that is no SELECT": Case(
        lambda lake: lake.sql(f"DELETE FROM {KEYED}"), InvalidSqlError, (), ("sql", f"DELETE FROM {KEYED}"),
    ),
    "malformed partition": Case(
        lambda lake: lake.dataset(KEYED).complete("yesterday"), InvalidPartitionError, ("yesterday",),
        ("completion", "declare", KEYED, "yesterday"),
    ),
    "key that is no column": Case(
        lambda lake: lake.create_dataset("sales.x", SCHEMA, key=["colour"]), InvalidSchemaError, ("colour",),
        ("dataset", "create", "sales.x", "--schema", "id:long", "--key", "colour"),
    ),
    "column twice": Case(
        lambda lake: lake.create_dataset("sales.x", pa.schema([("a", pa.int32()), ("a", pa.int32())])),
        InvalidSchemaError, ("a",), ("dataset", "create", "sales.x", "--schema", "a:int,a:int"),
    ),
    "contract that is no YAML": Case(
        lambda lake: lake.dataset(KEYED).put_contract("a: [b"), InvalidContractError, (),
        ("contract", "put", KEYED, "-"), b"a: [b",
    ),
    "contract that is none": Case(
        lambda lake: lake.dataset(KEYED).put_contract("kind: Recipe"), InvalidContractError, ("kind",),
        ("contract", "put", KEYED, "-"), b"kind: Recipe",
    ),
    "contract of another dataset": Case(
        lambda lake: lake.dataset(KEYED).put_contract(CONTRACT.replace("amount", "colour")), InvalidContractError,
        ("colour",), ("contract", "put", KEYED, "-"), CONTRACT.replace("amount", "colour").encode(),
    ),
    # what is in the way
    "unreachable target": Case(
        lambda lake: lake.create_target("x", "postgres", dsn=NOWHERE), TargetUnreachableError, ("127.0.0.1",),
        ("target", "create", "x", "postgres", f"dsn={NOWHERE}"),
    ),
    "name that is taken": Case(
        lambda lake: lake.create_dataset(KEYED, SCHEMA), AlreadyExistsError, (KEYED,),
        ("dataset", "create", KEYED, "--schema", "id:long"),
    ),
    "namespace that is not empty": Case(
        lambda lake: lake.backend.delete_namespace("sales"), NotEmptyError, ("sales",),
        ("namespace", "delete", "sales", "--yes"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with create_lake(tmp_path_factory.mktemp("bad") / "lake") as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales")
        orders = lake.create_dataset(KEYED, SCHEMA, key=["id"], completion_unit="day")
        orders.write(pa.table({"id": [1, 2], "amount": [1, 2]}), "append", idempotency_key="first")
        orders.complete(date(2026, 1, 1))
        lake.create_dataset(KEYLESS, SCHEMA)
        lake.create_dataset(GUARDED, contract=CONTRACT)
        yield app


@pytest.fixture(scope="module")
def url(app: Application) -> Iterator[str]:
    with running_server(create_server(app, insecure_local=True)) as url:
        yield url


def state(app: Application) -> dict[str, object]:
    """Everything of the lake that a command could have changed, and the files nobody refers to."""
    backend = LocalBackend(app)
    names = [dataset.full_name for dataset in backend.datasets()]
    return {
        "namespaces": backend.namespaces(),
        "details": [backend.dataset(name) for name in names],
        "rows": [backend.scan(name).read_all().to_pylist() for name in names],
        "completions": [backend.completions(name) for name in names],
        "events": backend.events(),
        "audit": backend.audit(),
        "tasks": backend.tasks(),
        "targets": backend.targets(),
        "subscriptions": backend.subscriptions(),
        "contract": backend.contract(GUARDED),
        "orphans": backend.orphans(older_than_hours=0),
        "files": sorted(found.uri for found in app.storage.list(app.storage.root)),
    }


class Recording(httpx2.HTTPTransport):
    """Remembers the status of the last answer."""

    status = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        self.status = response.status_code
        return response


def check(error: CordilleraError, case: Case) -> None:
    assert type(error) is case.error, repr(error)
    for name in case.named:
        assert name in error.message
    assert error.hint, error.message
    assert error.hint.endswith("."), error.hint


@pytest.mark.parametrize("name", CASES)
def test_embedded(app: Application, name: str) -> None:
    before = state(app)
    with pytest.raises(CordilleraError) as caught:
        CASES[name].call(Lake(LocalBackend(app)))
    check(caught.value, CASES[name])
    assert state(app) == before


@pytest.mark.parametrize("name", CASES)
def test_served(app: Application, url: str, name: str) -> None:
    before, transport = state(app), Recording()
    with Lake(RemoteBackend(url, transport=transport)) as lake, pytest.raises(CordilleraError) as caught:
        CASES[name].call(lake)
    check(caught.value, CASES[name])
    assert transport.status == CASES[name].error.status
    assert state(app) == before


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.words])
def test_on_the_command_line(app: Application, cli: Cli, name: str) -> None:
    before, case = state(app), CASES[name]
    path = Path(app.storage.root.removeprefix("file://")).parent
    result = cli(*case.words, "--lake", path, "--output", "json", stdin=case.stdin)
    assert (result.code, result.out) == (case.error.exit_code, "")
    found = json.loads(result.err.splitlines()[-1])["error"]
    error = case.error(found["message"], hint=found["hint"])
    assert found["code"] == error.code
    check(error, case)
    assert state(app) == before
