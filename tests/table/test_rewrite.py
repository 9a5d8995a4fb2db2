"""Files written anew: what changed has changed, what did not was not even decoded, and every reader can read it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.errors import CorruptDataError
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.schema_evolution import AddColumn, RenameColumn
from cordillera.table import data_writer
from tests.examples import examples
from tests.table.harness import LooseTable

ROWS, GROUP = 60, 7
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("price", pa.decimal128(9, 2)),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("place", pa.struct([("x", pa.float64()), ("y", pa.float64())])),
    ]
)


@pytest.fixture(autouse=True)
def _small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_writer, "ROW_GROUP_ROWS", GROUP)


def row(number: int, text: str = "first") -> dict[str, object]:
    return {
        "id": number,
        "text": f"{text} {number}",
        "kind": "even" if number % 2 else None,
        "price": None,
        "tags": [text, str(number)] if number % 3 else None,
        "place": {"x": number / 2, "y": None},
    }


def filled(folder: Path, format_version: int = 3) -> LooseTable:
    table = LooseTable(folder, SCHEMA, key=("id",), mode=WriteMode.COPY_ON_WRITE, format_version=format_version)
    table.write(Operation.APPEND, [row(number) for number in range(0, 2 * ROWS, 2)])
    return table


def data_files(table: LooseTable) -> list[Path]:
    live = table.io.files.live(table.metadata.current_snapshot)
    return [Path(one.path.removeprefix("file://")) for one in live]


def by_id(table: LooseTable, **options: bool) -> dict[object, dict[str, object]]:
    return {found["id"]: found for found in table.rows(**options).to_pylist()}


keys = st.sets(st.integers(0, 2 * ROWS), max_size=25)


@settings(max_examples=examples(40), deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["upsert", "partial", "delete"]), keys), min_size=1, max_size=4))
@pytest.mark.parametrize("format_version", [2, 3])
def test_any_changes_over_many_row_groups(
    tmp_path_factory: pytest.TempPathFactory, format_version: int, steps: list[tuple[str, set[int]]]
) -> None:
    table = filled(tmp_path_factory.mktemp("table"), format_version)
    model = {number: row(number) for number in range(0, 2 * ROWS, 2)}
    ids = {number: found["_row_id"] for number, found in by_id(table, lineage=True).items()}
    for step, (kind, changed) in enumerate(steps):
        if kind == "delete":
            table.write(Operation.DELETE, pa.table({"id": pa.array(sorted(changed), pa.int64())}))
            model = {number: found for number, found in model.items() if number not in changed}
        elif kind == "upsert":
            table.write(Operation.UPSERT, [row(number, f"step {step}") for number in changed])
            model |= {number: row(number, f"step {step}") for number in changed}
        else:
            rows = {"id": sorted(changed), "text": [f"part {step}" for _ in changed]}
            table.write(Operation.PARTIAL_UPDATE, pa.table(rows, pa.schema([SCHEMA.field(0), SCHEMA.field(1)])))
            nothing = dict.fromkeys(SCHEMA.names)
            for number in changed:
                model[number] = {**nothing, **model.get(number, {"id": number}), "text": f"part {step}"}
        stored = by_id(table, lineage=format_version == 3)
        lineage = {number: found.pop("_row_id", None) for number, found in stored.items()}
        for found in stored.values():
            found.pop("_last_updated_sequence_number", None)
        assert stored == model
        if format_version == 3:
            kept = lineage.keys() & ids.keys()
            assert {n: lineage[n] for n in kept} == {n: ids[n] for n in kept}, "a row keeps its id while it lives"
            ids = lineage
    if files := data_files(table):
        read = duckdb.sql(f"SELECT count(*), sum(id) FROM read_parquet({[str(file) for file in files]})").fetchone()
        assert read == (len(model), sum(model) if model else None)


def test_untouched_row_groups_are_passed_through(tmp_path: Path) -> None:
    table = filled(tmp_path)
    (before,) = data_files(table)
    table.write(Operation.UPSERT, [row(4, "changed")])
    (after,) = data_files(table)
    for group in range(1, pq.ParquetFile(before).metadata.num_row_groups):
        for column in range(pq.ParquetFile(before).metadata.num_columns):
            assert pages(before, group, column) == pages(after, group, column)
    assert pages(before, 0, 0) == pages(after, 0, 0), "the key of a replaced row is what it was"
    assert pages(before, 0, 1) != pages(after, 0, 1)


def test_a_partial_update_writes_its_columns_alone(tmp_path: Path) -> None:
    table = filled(tmp_path)
    (before,) = data_files(table)
    given = pa.table({"id": [4, 80], "kind": ["new", "new"]}, schema=pa.schema([SCHEMA.field(0), SCHEMA.field(2)]))
    table.write(Operation.PARTIAL_UPDATE, given)
    (after,) = data_files(table)
    kind = SCHEMA.names.index("kind")
    for group in range(pq.ParquetFile(before).metadata.num_row_groups):
        for column in range(pq.ParquetFile(before).metadata.num_columns):
            changed = column == kind and group in (0, 80 // 2 // GROUP)
            assert (pages(before, group, column) != pages(after, group, column)) == changed


def test_page_indexes_stand_for_the_pages_where_they_are_now(tmp_path: Path) -> None:
    table = filled(tmp_path)
    table.write(Operation.UPSERT, [row(50, "changed")])
    (file,) = data_files(table)
    metadata = pq.ParquetFile(file).metadata
    chunks = [metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(9)]
    assert all(chunk.has_offset_index and chunk.has_column_index for chunk in chunks)
    found = duckdb.sql(f"SELECT id, text FROM read_parquet('{file}') WHERE id BETWEEN 48 AND 52").fetchall()
    assert sorted(found) == [(48, "first 48"), (50, "changed 50"), (52, "first 52")]


def test_files_of_another_schema_are_brought_to_the_present_one(tmp_path: Path) -> None:
    table = filled(tmp_path)
    table.evolve(RenameColumn("text", "words"), AddColumn("extra", pa.int32()))
    table.write(
        Operation.PARTIAL_UPDATE, pa.table({"id": pa.array([4], pa.int64()), "extra": pa.array([7], pa.int32())})
    )
    (file,) = data_files(table)
    assert pq.read_schema(file).names[:7] == ["id", "words", "kind", "price", "tags", "place", "extra"]
    stored = by_id(table)
    assert (stored[4]["words"], stored[4]["extra"]) == ("first 4", 7)
    assert (stored[90]["words"], stored[90]["extra"]) == ("first 90", None)


def pages(file: Path, group: int, column: int) -> bytes:
    """The bytes of a column chunk."""
    chunk = pq.ParquetFile(file).metadata.row_group(group).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return file.read_bytes()[start : start + chunk.total_compressed_size]


@pytest.mark.parametrize("damage", ["truncated", "no magic", "bad footer"])
def test_a_damaged_file_is_named_and_nothing_is_written(tmp_path: Path, damage: str) -> None:
    table = filled(tmp_path)
    (file,) = data_files(table)
    data = file.read_bytes()
    damaged = {
        "truncated": data[:-100],
        "no magic": data[:-4] + b"NONE",
        "bad footer": data[:-2000] + bytes(1992) + data[-8:],
    }
    file.write_bytes(damaged[damage])
    before = set(tmp_path.rglob("*.parquet"))
    with pytest.raises(CorruptDataError, match=file.name):
        table.write(Operation.UPSERT, [row(4, "changed")])
    assert set(tmp_path.rglob("*.parquet")) == before


KINDS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "c", "d"]), st.text(max_size=3))


@settings(max_examples=examples(20), deadline=None)
@given(
    stored=st.lists(KINDS, min_size=1, max_size=6),
    changes=st.dictionaries(st.integers(0, 1_999), KINDS, max_size=6),
    gone=st.sets(st.integers(0, 2_100), max_size=6),
)
def test_texts_in_dictionaries_change_and_go(
    tmp_path_factory: pytest.TempPathFactory, stored: list[str | None], changes: dict[int, str | None], gone: set[int]
) -> None:
    key = pa.field("id", pa.int64(), nullable=False)
    schema = pa.schema([key, ("kind", pa.string()), ("bytes", pa.binary())])

    def rows(kinds: dict[int, str | None]) -> pa.Table:
        raw = [None if kind is None else kind.encode() for kind in kinds.values()]
        return pa.table({"id": list(kinds), "kind": list(kinds.values()), "bytes": raw}, schema=schema)

    table = LooseTable(tmp_path_factory.mktemp("table"), schema, key=("id",), mode=WriteMode.COPY_ON_WRITE)
    model = {number: stored[number % len(stored)] for number in range(2_000)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_writer, "ROW_GROUP_ROWS", 700)
        table.write(Operation.APPEND, rows(model))
    table.write(Operation.UPSERT, rows(changes))
    table.write(Operation.DELETE, pa.table({"id": list(gone)}, schema=pa.schema([key])))
    model = {number: kind for number, kind in {**model, **changes}.items() if number not in gone}
    assert table.rows().sort_by("id").equals(rows(dict(sorted(model.items()))))
    for path in data_files(table):
        file = pq.ParquetFile(path, read_dictionary=["kind", "bytes"])
        for group in range(file.metadata.num_row_groups):
            for column in file.read_row_group(group, columns=["kind", "bytes"]).columns:
                assert set(column.unique().drop_null().to_pylist()) == set(column.chunk(0).dictionary.to_pylist())


def test_texts_that_a_dictionary_had_no_room_for_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_writer, "ROW_GROUP_ROWS", 200_000)
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    table = LooseTable(tmp_path, schema, key=("id",), mode=WriteMode.COPY_ON_WRITE)
    texts = ["same" if number < 20_000 else f"{number:040}" for number in range(100_000)]
    table.write(Operation.APPEND, pa.table({"id": range(100_000), "text": texts}))
    (path,) = data_files(table)
    assert pq.read_metadata(path).row_group(0).column(1).has_dictionary_page
    table.write(Operation.UPSERT, pa.table({"id": [5, 99_000], "text": ["new", None]}))
    texts[5], texts[99_000] = "new", None
    assert table.rows().sort_by("id").column("text").to_pylist() == texts
