"""Tables whose files are laid out by several partitionings: every write does what it says, wherever rows lie."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from datetime import date, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import LongType

from cordillera.errors import DuplicateKeyError, InvalidInputError, NotAllowedError
from cordillera.spec.merge import Operation, WriteMode
from tests.examples import examples
from tests.table.harness import LooseTable

SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.date32()), ("place", pa.string()), ("ratio", pa.float64())])
FIRST = date(2013, 1, 1)
BUCKET = BucketTransform(3).transform(LongType())
EXAMPLES = examples(20)
PARTITIONINGS = [
    (),
    ("day",),
    ("month(day)",),
    ("year(day)", "place"),
    ("place",),
    ("ratio",),
    ("truncate(1, place)", "ratio"),
    ("bucket(3, id)",),
    ("truncate(10, id)",),
]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.none() | st.integers(0, 90).map(lambda days: FIRST + timedelta(days)),
        st.sampled_from([None, "", "north", "nether", "south"]),
        st.sampled_from([None, 0.5, 1.0, float("nan")]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[0],
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("partition"), st.sampled_from(PARTITIONINGS)),
        st.tuples(st.sampled_from(["upsert", "delete", "replace_partitions", "replace_where"]), ROWS),
        st.tuples(st.just("compact"), st.booleans()),
    ),
    min_size=4,
    max_size=10,
)


def table_of(rows: Any) -> pa.Table:
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)


def part_of(row: Any, terms: tuple[str, ...]) -> tuple[Any, ...]:
    """The partition of a row, in plain Python as far as there is one."""
    number, day, place, ratio = row
    values: dict[str, Any] = {
        "day": day,
        "month(day)": day and (day.year, day.month),
        "year(day)": day and day.year,
        "place": place,
        "truncate(1, place)": place and place[:1],
        "ratio": "NaN" if ratio is not None and ratio != ratio else ratio,
        "bucket(3, id)": BUCKET(number),
        "truncate(10, id)": number // 10,
    }
    return tuple(values[term] for term in terms)


def comparable(rows: Any) -> list[str]:
    return sorted(map(repr, rows))


class Twin:
    """A table, and a dict that says what should be in it."""

    def __init__(self, table: LooseTable) -> None:
        self.table, self.terms = table, ()
        self.stored: dict[int, Any] = {}
        self.moments: list[tuple[Any, list[str]]] = []

    def do(self, step: str, what: Any) -> None:
        getattr(self, step)(what)
        self.same(None, comparable(self.stored.values()))
        if self.table.metadata.current_snapshot is not None:
            self.moments.append((self.table.metadata.current_snapshot, comparable(self.stored.values())))

    def same(self, snapshot: Any, expected: list[str]) -> None:
        assert comparable(zip(*self.table.rows(snapshot).to_pydict().values(), strict=True)) == expected

    def partition(self, terms: Any) -> None:
        self.terms = terms
        self.table.partition_by(*terms)

    def compact(self, everything: bool) -> None:
        self.table.compact(rewrite_all=everything)

    def delete(self, rows: Any) -> None:
        self.table.write(Operation.DELETE, table_of(rows).select(["id"]))
        self.stored = {key: row for key, row in self.stored.items() if key not in {one[0] for one in rows}}

    def upsert(self, rows: Any) -> None:
        self.table.write(Operation.UPSERT, table_of(rows))
        self.stored |= {row[0]: row for row in rows}

    def replace_where(self, rows: Any) -> None:
        rows = [(row[0] % 20, *row[1:]) for row in rows[:1]]
        self.table.write(Operation.REPLACE, table_of(rows), where="id < 20")
        self.stored = {k: v for k, v in self.stored.items() if k >= 20} | {row[0]: row for row in rows}

    def replace_partitions(self, rows: Any) -> None:
        replaced = {part_of(row, self.terms) for row in rows}
        stays = {key: row for key, row in self.stored.items() if part_of(row, self.terms) not in replaced}
        refused = NotAllowedError if not self.terms else DuplicateKeyError
        with nullcontext() if self.terms and not any(row[0] in stays for row in rows) else pytest.raises(refused):
            self.table.write(Operation.REPLACE_PARTITIONS, table_of(rows))
            self.stored = stays | {row[0]: row for row in rows}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS, st.sampled_from([*((3, mode) for mode in WriteMode), (2, WriteMode.COPY_ON_WRITE)]))
def test_writes_do_what_they_say_whatever_the_partitionings(steps: list[Any], kind: tuple[int, WriteMode]) -> None:
    with tempfile.TemporaryDirectory(prefix="cordillera-test-") as folder:
        twin = Twin(LooseTable(Path(folder), SCHEMA, key=("id",), format_version=kind[0], mode=kind[1]))
        for step, what in steps:
            twin.do(step, what)
        for snapshot, then in twin.moments:
            twin.same(snapshot, then)


@pytest.mark.parametrize("mode", WriteMode)
def test_a_partition_is_replaced_where_rows_lie_in_files_of_an_earlier_partitioning(
    tmp_path: Path, mode: WriteMode
) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode, partitioning=("day",))
    days = [FIRST + timedelta(20 * number) for number in range(4)]
    table.write(Operation.APPEND, table_of([(n, days[n % 4], "north", None) for n in range(40)]))
    table.partition_by("month(day)")
    prepared = table.write(Operation.REPLACE_PARTITIONS, table_of([(100, FIRST, "south", 0.5)]))
    assert (prepared.manifest.rows_inserted, prepared.manifest.rows_deleted) == (1, 20)
    assert prepared.snapshot is not None
    assert "added-dvs" not in prepared.snapshot.summary  # each file was of one month: nothing was read or marked
    assert sorted(table.rows().column("id").to_pylist()) == [n for n in range(40) if n % 4 > 1] + [100]
    table.partition_by("place")
    table.write(Operation.REPLACE_PARTITIONS, table_of([(2, FIRST, "north", None)]))
    assert sorted(table.rows().column("id").to_pylist()) == [2, 100]
    table.partition_by()
    with pytest.raises(NotAllowedError, match="no partitions"):
        table.write(Operation.REPLACE_PARTITIONS, table_of([(2, FIRST, "north", None)]))


def test_a_row_moves_from_an_earlier_partitioning_to_its_new_place(tmp_path: Path) -> None:
    for mode in WriteMode:
        table = LooseTable(tmp_path / mode, SCHEMA, key=("id",), mode=mode)
        table.write(Operation.UPSERT, table_of([(n, FIRST, "north", None) for n in range(6)]))
        table.partition_by("place", "month(day)")
        table.write(Operation.UPSERT, table_of([(n, FIRST, "south", None) for n in range(4, 9)]))
        table.write(Operation.PARTIAL_UPDATE, pa.table({"id": [1, 5, 8], "place": ["south", "north", None]}))
        found = dict(zip(*table.rows(columns=["id", "place"]).to_pydict().values(), strict=True))
        assert found == {0: "north", 1: "south", 2: "north", 3: "north", 4: "south", 5: "north", 6: "south",
                         7: "south", 8: None}  # fmt: skip
        table.compact(rewrite_all=True)
        live = table.io.files.live(table.metadata.current_snapshot)
        assert {one.file.spec_id for one in live} == {1}
        assert {one.file.partition[0] for one in live} == {"north", "south", None}


@pytest.mark.parametrize(("digits", "places", "width"), [(4, 2, 10), (2, 0, 1_000), (18, 0, 10)])
def test_a_decimal_whose_truncation_has_too_many_digits_is_refused(
    tmp_path: Path, digits: int, places: int, width: int
) -> None:
    kind = pa.decimal128(digits, places)
    schema = pa.schema([("id", pa.int64()), ("price", kind)])
    table = LooseTable(tmp_path, schema, key=("id",), partitioning=(f"truncate({width}, price)",))
    most = Decimal(10**digits - 1).scaleb(-places, Context(prec=digits))
    with pytest.raises(InvalidInputError, match="'price_truncate' has more digits"):
        table.write(Operation.APPEND, pa.table({"id": [1], "price": [-most]}, schema=schema))
    rows = pa.table({"id": [1, 2, 3], "price": [most, Decimal(0), None]}, schema=schema)
    table.write(Operation.APPEND, rows)
    table.forget()
    assert table.rows().sort_by("id").to_pylist() == rows.to_pylist()
    assert table.rows(where="price > 0").num_rows == 1
