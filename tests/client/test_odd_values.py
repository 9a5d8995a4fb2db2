"""Values at the ends of their types, and longer than anybody reads."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest

from cordillera.app import Application
from cordillera.client import Dataset, Lake
from cordillera.client.local import LocalBackend
from cordillera.client.remote import RemoteBackend
from cordillera.errors import DuplicateKeyError, InvalidInputError, NotAllowedError
from cordillera.spec.schema_evolution import AddColumn


@pytest.fixture(scope="module")
def lake(app: Application) -> Lake:
    lake = Lake(LocalBackend(app))
    lake.create_namespace("odd")
    return lake


def created(lake: Lake, schema: dict[str, pa.DataType], **declared: Any) -> Dataset:
    return lake.create_dataset(f"odd.d_{uuid4().hex}", schema, key=["id"], **declared)


@pytest.mark.parametrize("aggregates", [{}, {"total": "sum"}])
def test_a_new_key_takes_the_default_of_a_uuid(lake: Lake, aggregates: dict[str, str]) -> None:
    dataset = created(lake, {"id": pa.int64(), "total": pa.int64()}, aggregates=aggregates)
    dataset.write([{"id": 1, "total": 1}], "upsert")
    dataset.evolve(AddColumn("mark", pa.uuid(), default=UUID(int=7)))
    dataset.write(pa.table({"id": [1, 2], "total": [5, 6], "mark": pa.array([bytes(16)] * 2, pa.uuid())}), "upsert")
    dataset.write([{"id": 2, "total": 1}, {"id": 3, "total": 1}], "partial_update")
    marks = {row["id"]: row["mark"] for row in dataset.scan(["id", "mark"]).to_arrow().to_pylist()}
    assert marks == {1: UUID(int=0), 2: UUID(int=0), 3: UUID(int=7)}


@pytest.mark.parametrize("rule", ["latest-row-wins", "first-row-wins", "scd2"])
def test_the_sign_of_zero_stays(lake: Lake, rule: str) -> None:
    schema = {"id": pa.int64(), "turn": pa.int64(), "small": pa.float32(), "large": pa.float64(), "note": pa.string()}
    dataset = created(lake, schema, sequence="turn", merge=rule)
    dataset.write(
        [{"id": 1, "turn": turn, "small": -0.0, "large": -0.0, "note": str(turn)} for turn in (1, 2)], "upsert"
    )
    if rule == "latest-row-wins":
        dataset.write([{"id": 1, "turn": 3, "note": "c"}], "partial_update")
    rows = dataset.scan(["small", "large"]).to_arrow().to_pylist()
    assert {str(value) for row in rows for value in row.values()} == {"-0.0"}


def test_a_delete_that_comes_before_its_row_survives_branches(lake: Lake) -> None:
    dataset = created(lake, {"id": pa.int64(), "turn": pa.int64()}, sequence="turn")
    dataset.write([{"id": 9, "turn": 1}])
    dataset.write([{"id": 1, "turn": 6}], "delete")
    dataset.create_branch("audit")
    dataset.write([{"id": 2, "turn": 1}], "upsert", branch="audit")
    dataset.publish("audit")
    assert dataset.write([{"id": 1, "turn": 5}], "upsert").rows_late == 1

    dataset.create_branch("late")
    picked = dataset.write([{"id": 3, "turn": 6}], "delete", branch="late")
    dataset.write([{"id": 4, "turn": 6}], "upsert")
    dataset.cherry_pick(picked.sequence_number)
    dataset.create_branch("behind")
    dataset.write([{"id": 5, "turn": 6}], "delete")
    dataset.write([{"id": 6, "turn": 1}], "upsert", branch="behind")
    with pytest.raises(NotAllowedError, match="moved on"):
        dataset.publish("behind")
    assert dataset.write([{"id": 3, "turn": 5}, {"id": 5, "turn": 5}], "upsert").rows_late == 2


@pytest.mark.parametrize("term", ["year(day)", "month(day)", "day(day)"])
def test_conditions_reach_the_last_and_the_first_day_of_a_partitioned_dataset(lake: Lake, term: str) -> None:
    dataset = created(lake, {"id": pa.int64(), "day": pa.date32()}, partitioning=[term])
    dataset.write([{"id": 1, "day": date.min}, {"id": 2, "day": date.max}])
    found = {
        condition: sorted(dataset.scan(where=condition).to_arrow().column("id").to_pylist())
        for condition in ("day > '9999-12-31'", "day >= '9999-12-31'", "day < '0001-01-01'", "day <= '0001-01-01'")
    }
    assert list(found.values()) == [[], [2], [], [1]]


def test_a_long_key_is_named_in_short(lake: Lake) -> None:
    dataset = created(lake, {"id": pa.string()})
    long = {"id": "a" * 1_000_000 + "z"}
    dataset.write([long])
    for rows, operation in (([long], "append"), ([long, long], "upsert")):
        with pytest.raises(DuplicateKeyError, match=r"id='aaa.*\.\.\..*az'") as caught:
            dataset.write(rows, operation)
        assert len(str(caught.value)) + len(str(caught.value.details)) < 1000


def test_a_limit_may_be_any_number(lake: Lake) -> None:
    dataset = created(lake, {"id": pa.int64()})
    dataset.write([{"id": 1}])
    assert dataset.scan().limit(10**30).to_arrow().num_rows == 1


def test_a_server_is_asked_with_any_idempotency_key(app: Application, url: str, token: str, lake: Lake) -> None:
    dataset = created(lake, {"id": pa.int64()})
    with Lake(RemoteBackend(url, token)) as remote:
        for number, key in enumerate(["a", "a ", " a", " ", "a\nb", "é"]):
            remote.dataset(dataset.name).write([{"id": number}], idempotency_key=key)
        assert dataset.write([{"id": 1}], idempotency_key="a ").replayed
    assert dataset.scan().to_arrow().num_rows == 6


def test_text_with_half_a_character_is_not_sent(url: str, token: str, lake: Lake) -> None:
    name = created(lake, {"id": pa.int64()}).name
    with Lake(RemoteBackend(url, token)) as remote:
        calls = (
            lambda: remote.create_namespace("halves", description="\ud800"),
            lambda: remote.sql("SELECT '\ud800'"),
            lambda: remote.dataset("odd.\ud800").details(),
            lambda: remote.dataset(name).write([{"id": 1}], idempotency_key="\ud800"),
            lambda: remote.dataset(name).write([{"id": 1}], where="x = '\ud800'"),
            lambda: remote.dataset(name).diff_contract("\ud800"),
        )
        for call in calls:
            with pytest.raises(InvalidInputError):
                call()
