"""What a topic says of rows in the end: its messages folded by key, in a DuckDB file that goes with it.

The topic is read once, from its beginning; memory is bounded, and the file takes room for the messages that are there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa

from cordillera.adapters.synchronizers.text import JsonReader
from cordillera.errors import DuplicateKeyError, TargetDriftError, TypeMismatchError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.spec.arrow_evolution import evolved

_ROWS_AT_ONCE = 2_000
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "preserve_insertion_order": "false",
    "memory_limit": "1GB",  # what does not fit spills beside it
    "threads": "1",
}
# Values can be wide: they are read once in a row, and only what is narrow is joined and kept.
_NEWEST = """
DELETE FROM messages WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, position < max(position) OVER (PARTITION BY partition, key) AS outdated
        FROM messages WHERE key IS NOT NULL
    ) WHERE outdated
);
DELETE FROM messages WHERE value IS NULL;
CREATE VIEW opened AS
WITH read AS (SELECT partition, position, key, TRY(decode(value)) AS text FROM messages),
parsed AS (
    SELECT partition, position, key, CASE WHEN json_valid(text) THEN text::JSON END AS message FROM read
)
SELECT partition, position, key, coalesce((message->>'$.op') = 'd', false) AS gone,
    coalesce((message->>'$.op') IN ('r', 'c', 'u') AND json_type(message, '$.after') = 'OBJECT', false) AS good,
    (message->'$.after')::VARCHAR AS after, TRY_CAST(message->>'$.source.layout' AS INTEGER) AS layout
FROM parsed;
CREATE TABLE latest AS
SELECT partition, position, key, good, layout, md5(after) AS digest FROM opened WHERE NOT gone
"""


class Fold:
    """The rows that the messages of a topic leave, in a ``with`` block.

    Args:
        messages: The messages, each partition in order.
    """

    def __init__(self, messages: Iterator[pa.RecordBatch]) -> None:
        self._messages = messages
        self._folder = tempfile.TemporaryDirectory(prefix="cordillera-fold-")

    def __enter__(self) -> Fold:
        self._database = duckdb.connect(str(Path(self._folder.name) / "fold.duckdb"), config=_SETTINGS)
        self._database.execute(
            "CREATE TABLE messages (partition INTEGER, position BIGINT, key BLOB, value BLOB);"
            "CREATE TABLE wanted (key BLOB)"
        )
        for batch in self._messages:
            self._insert("messages", batch)
        self._database.execute(_NEWEST)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._folder.cleanup()

    # --- as rows ----------------------------------------------------------------------------------------------------

    def check(self, topic: str, layouts: Mapping[int, Sequence[TargetColumn]]) -> None:
        """Make sure that all that is there was written by the lake.

        Raises:
            TargetDriftError: Naming a message that was not.
        """
        numbers = list(layouts)
        foreign = self._database.execute(
            "SELECT partition, position, TRY(decode(key)) FROM latest "
            "WHERE NOT good OR layout IS NULL OR NOT list_contains(?, layout) ORDER BY ALL LIMIT 1",
            [numbers],
        ).fetchone()
        if foreign is not None:
            raise TargetDriftError(
                f"The topic {topic!r} holds a message that the lake did not write: offset {foreign[1]} of partition "
                f"{foreign[0]}, of the key {foreign[2]}.",
                hint="Have it put right with: cordillera subscription repair.",
            )

    def rows(self, table: TargetTable, layouts: Mapping[int, Sequence[TargetColumn]]) -> Iterator[pa.RecordBatch]:
        """Stream the rows under the columns of ``table``.

        Args:
            table: The columns wanted.
            layouts: The columns that messages were written under, by number.

        Raises:
            TargetDriftError: If a message is not what the lake would write.
        """
        with JsonReader() as reader:
            for layout, columns in layouts.items():
                kind = pa.struct([pa.field(column.name, column.type) for column in columns])
                found = self._database.cursor().execute("SELECT after FROM opened WHERE good AND layout = ?", [layout])
                for batch in found.to_arrow_reader(_ROWS_AT_ONCE):
                    try:
                        stored = reader.from_json(batch.column("after").cast(pa.string()), kind, table.name)
                    except TypeMismatchError as error:
                        raise TargetDriftError(
                            f"The topic {table.name!r} holds rows that the lake did not write: {error.message}"
                        ) from None
                    yield _under(stored, columns, table)

    # --- against rows that are wanted -------------------------------------------------------------------------------

    def differing(self, keys: pa.Array, texts: pa.Array, layout: int) -> pa.Array:
        """Note keys as wanted, and return which of their rows, by place, the topic does not have as they are wanted."""
        rows = pa.record_batch(
            [pa.array(range(len(keys)), pa.int64()), keys.cast(pa.binary()), texts], names=["place", "key", "text"]
        )
        self._insert("wanted", rows.select(["key"]))
        self._database.register("given", pa.table(rows.to_struct_array().flatten(), names=rows.schema.names))
        try:
            found = self._database.execute(
                "SELECT place FROM given ANTI JOIN (FROM latest WHERE layout = ? AND good) AS l "
                "ON given.key = l.key AND md5(given.text) = l.digest ORDER BY place",
                [layout],
            ).to_arrow_table()
        finally:
            self._database.unregister("given")
        return found["place"].combine_chunks()

    def unwanted(self) -> Iterator[pa.RecordBatch]:
        """Stream ``key`` and row (``after``, NULL if it is none) of what is there and not wanted."""
        self._database.execute(
            "CREATE OR REPLACE TABLE foreign_ones AS "
            "SELECT partition, position FROM latest ANTI JOIN wanted USING (key) WHERE key IS NOT NULL"
        )
        found = self._database.execute(
            "SELECT key, CASE WHEN good THEN after END AS after FROM opened "
            "SEMI JOIN foreign_ones USING (partition, position)"
        )
        return iter(found.to_arrow_reader(_ROWS_AT_ONCE))

    def count(self) -> int:
        """Return how many rows there are."""
        (rows,) = self._database.execute("SELECT count(*) FROM latest").fetchone() or (0,)
        return int(rows)

    def refuse_duplicates(self, table: TargetTable) -> None:
        """Make sure that no key was wanted twice.

        Raises:
            DuplicateKeyError: Naming one.
        """
        twice = self._database.execute(
            "SELECT decode(key) FROM wanted WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if twice is not None:
            raise DuplicateKeyError(f"Rows for the topic {table.name!r} come with the same key twice: {twice[0]}.")

    def _insert(self, table: str, rows: pa.RecordBatch) -> None:
        self._database.register("given", pa.table(rows.columns, names=rows.schema.names))
        self._database.execute(f"INSERT INTO {table} FROM given")
        self._database.unregister("given")


def _under(rows: pa.StructArray, columns: Sequence[TargetColumn], table: TargetTable) -> pa.RecordBatch:
    """Return rows that were written under some columns under those of a table, matched by field id."""
    found = {column.field_id: (column, values) for column, values in zip(columns, rows.flatten(), strict=True)}
    arrays = []
    for wanted in table.columns:
        if wanted.field_id in found:
            column, values = found[wanted.field_id]
            arrays.append(evolved(values, column.type, wanted.type, wanted.name))
        else:
            arrays.append(pa.nulls(len(rows), wanted.type))
    return pa.record_batch(arrays, schema=pa.schema([(column.name, column.type) for column in table.columns]))
