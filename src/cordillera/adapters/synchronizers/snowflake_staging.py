"""Rows on their way to Snowflake: Parquet files in a stage of the session's own, and staging tables that COPY fills.

Both end with the session, so nothing has to be removed after a delivery, or after a worker that died.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import IO
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cordillera.adapters.synchronizers import snowflake_table_statements as statements
from cordillera.adapters.synchronizers.deliveries import OWN_PREFIX
from cordillera.adapters.synchronizers.snowflake_session import Session
from cordillera.adapters.synchronizers.snowflake_types import encode, file_schema
from cordillera.errors import CorruptDataError, DuplicateKeyError
from cordillera.ports.synchronizer import TargetColumn

PART_BYTES = 64 * 1024 * 1024
"""How much Arrow data goes into one file: several, so that the nodes of a warehouse share the work."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A staging table with rows, and how many they are."""

    table: str
    rows: int


def stage(
    session: Session,
    name: str,
    columns: Sequence[TargetColumn],
    key: Sequence[TargetColumn],
    batches: Iterator[pa.RecordBatch],
    *,
    unique: bool = False,
) -> Staged | None:
    """Bring rows into a staging table; None, and nothing made, if there are none.

    Args:
        session: Whose table it is.
        name: What the table is for.
        columns: What the batches have, in that order.
        key: The key columns.
        batches: The rows.
        unique: Whether a key may come but once.

    Raises:
        CorruptDataError: If other than the rows that were sent were loaded.
        DuplicateKeyError: If a key came twice.
    """
    first = next(batches, None)
    if first is None:
        return None
    files, table = f"{OWN_PREFIX}{uuid4().hex}", f"{OWN_PREFIX}{name}"
    session.run(statements.create_stage(files))
    rest = chain([first], batches)
    del first  # not held while its successors are sent
    sent = _send(session, files, columns, [column.name for column in key], rest)
    session.run(statements.create_staging(table, columns))
    loaded = sum(int(row["rows_loaded"]) for row in session.rows(statements.copy(table, columns, files)))
    if loaded != sent:
        raise CorruptDataError(
            f"Snowflake loaded {loaded:,} of the {sent:,} rows that were sent.", hint="Repeat the delivery."
        )
    if unique and key and session.rows(statements.repeated_key(table, key)):
        raise DuplicateKeyError(
            "A key came twice in a delivery to Snowflake.", hint="Every key may come once in a delivery."
        )
    return Staged(table, sent)


def _send(
    session: Session, files: str, columns: Sequence[TargetColumn], key: Sequence[str], batches: Iterator[pa.RecordBatch]
) -> int:
    """Send files of about ``PART_BYTES`` and return how many rows there were."""
    schema, batch, rows, number = file_schema(columns), next(batches, None), 0, 0
    while batch is not None:
        with tempfile.TemporaryFile(prefix="cordillera-stage-") as file:
            size = 0
            with pq.ParquetWriter(file, schema, compression="snappy") as writer:
                while batch is not None and size < PART_BYTES:
                    writer.write_batch(encode(batch, key, schema))
                    rows, size = rows + batch.num_rows, size + batch.nbytes
                    batch = next(batches, None)
            _put(session, files, f"part-{number:05d}.parquet", file)
        number += 1
    return rows


def _put(session: Session, files: str, name: str, file: IO[bytes]) -> None:
    file.seek(0)
    session.put(statements.put(files, name), file)
