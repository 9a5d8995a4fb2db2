"""Texts that stay the dictionaries they are stored as: rows are the same, and what was deleted is gone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.spec.merge import Operation
from cordillera.spec.schema_evolution import RenameColumn
from cordillera.table.dictionaries import dictionary_columns, plain, table_of
from tests.examples import examples
from tests.table.harness import LooseTable

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("city", pa.string())])
TEXTS = st.lists(st.none() | st.sampled_from(["", "a", "b", "ü"]), max_size=8)


def batch(texts: list[str | None], is_dictionary: bool, unused: bool) -> pa.RecordBatch:
    column = pa.array(["unused", *texts] if unused else texts, pa.string())
    column = column.dictionary_encode() if is_dictionary else column
    return pa.record_batch([column.slice(1) if unused else column], ["text"])


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.tuples(TEXTS, st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_batches_that_differ_in_which_are_dictionaries_become_one_table(
    given_batches: list[tuple[list[str | None], bool, bool]],
) -> None:
    found = table_of([batch(*one) for one in given_batches]).column("text").combine_chunks()
    assert plain(found).to_pylist() == [text for texts, _, _ in given_batches for text in texts]
    assert pa.types.is_dictionary(found.type) == all(is_dictionary for _, is_dictionary, _ in given_batches)
    if pa.types.is_dictionary(found.type):
        assert set(found.dictionary.to_pylist()) == set(found.to_pylist()) - {None}


def written(numbers: range, city: str) -> pa.Table:
    return pa.table({"id": pa.array(numbers), "city": [f"{city} {number % 3}" for number in numbers]}, SCHEMA)


def test_compaction_keeps_dictionaries_of_several_files_and_drops_what_was_deleted(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, written(range(100), "Oslo"))
    table.evolve(RenameColumn("city", "town"))
    table.write(Operation.APPEND, written(range(100, 200), "Bern").rename_columns(["id", "town"]))
    table.delete_where("town = 'Oslo 1'")
    before = table.rows(lineage=True)
    assert table.compact()
    [live] = table.io.files.live(table.metadata.current_snapshot)
    stored = pq.ParquetFile(live.path.removeprefix("file://"), read_dictionary=["town"]).read().column("town")
    assert sorted(stored.combine_chunks().dictionary.to_pylist()) == ["Bern 0", "Bern 1", "Bern 2", "Oslo 0", "Oslo 2"]
    assert table.rows(lineage=True).sort_by("id") == before.sort_by("id")


def test_compaction_by_partitions_of_texts(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), partitioning=("city",))
    for first in (0, 100):
        table.write(Operation.APPEND, written(range(first, first + 100), "Bern"))
    assert table.compact()
    assert table.rows().sort_by("id") == written(range(200), "Bern")


def test_where_a_writer_may_have_gone_over_to_plain_values_a_dictionary_is_not_small(tmp_path: Path) -> None:
    many = [f"{number * 7919} of very many different texts" for number in range(60_000)]
    rows = pa.table({"few": ["a", "b"] * 30_000, "many": many, "number": range(60_000)})
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=30_000)
    footer = pq.read_metadata(tmp_path / "rows.parquet")
    assert dictionary_columns(footer, range(2)) == ["few", "many"]
    assert dictionary_columns(footer, range(2), small=True) == ["few"]


def test_texts_are_as_they_were_where_rows_among_them_are_left_out(tmp_path: Path) -> None:
    """Over several row groups, which are decoded while rows of others are left out."""
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, written(range(250_000), "Bern"))
    table.delete_where("id % 3 = 1 AND id < 240000")
    kept = [number for number in range(250_000) if number % 3 != 1 or number >= 240_000]
    assert table.rows().sort_by("id").equals(pa.table({"id": kept, "city": [f"Bern {n % 3}" for n in kept]}, SCHEMA))
