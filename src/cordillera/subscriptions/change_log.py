"""Subscriptions that keep a log: a row in the target for every image of every change, which is never changed again.

The log is an ordinary table to its synchronizer. Its key is that of the dataset with the commit and the kind of
change, of which a commit has at most one for each row: a delivery that is repeated brings the rows that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.catalog.tables import TableService
from cordillera.errors import NotAllowedError
from cordillera.ports.synchronizer import CHANGE_COLUMNS, Cursor, Delivery, RowReader, TargetColumn, TargetTable
from cordillera.spec.row_changes import CHANGE_TYPE, COMMIT_SEQUENCE, ChangeType
from cordillera.spec.table_metadata import TableMetadata
from cordillera.subscriptions.following import Followed, typed
from cordillera.table.data_writer import ROW_ID


def log_table(followed: Followed) -> TargetTable:
    """Return how the table of a log looks: the columns of the mirror, and what tells of the change.

    Raises:
        AccessDeniedError, NotAllowedError: As ``widened_table`` does.
    """
    return widened_table(followed, CHANGE_COLUMNS, (COMMIT_SEQUENCE, CHANGE_TYPE))


def widened_table(followed: Followed, added: tuple[TargetColumn, ...], key: tuple[str, ...]) -> TargetTable:
    """Return a table with the columns of the mirror and more, whose key is that of the mirror and more.

    Its rows are not only those that there are now: columns of the mirror are optional.

    Raises:
        AccessDeniedError, NotAllowedError: As ``Followed.table`` does; or if the dataset has a column of such a name.
    """
    mirror = followed.table()
    names = {column.name for column in mirror.columns}
    taken = next((column.name for column in added if column.name in names), None)
    if taken is not None:
        raise NotAllowedError(
            f"A {followed.subscription.mode} of {followed.subscription.dataset} cannot be kept: it has a column "
            f"{taken} of its own.",
            hint="Choose other columns, or rename it.",
        )
    kept = (replace(column, nullable=column.name not in mirror.key) for column in mirror.columns)
    return TargetTable(mirror.name, (*kept, *added), (*mirror.key, *key))


def log_delivery(tables: TableService, followed: Followed, cursor: Cursor | None, *, anew: bool = False) -> Delivery:
    """Return what appends the changes of every commit behind a cursor; to an empty log, the rows there are, as inserts.

    Args:
        tables: Tells what changed.
        followed: What is followed, and where to.
        cursor: Where the target stands.
        anew: Whether the log begins now, in the place of whatever the target holds.

    Raises:
        SnapshotNotFoundError, NotAllowedError: If the changes cannot be told any more: while it is opened.
    """
    table = log_table(followed)
    return Delivery(
        followed.subscription.id,
        table,
        cursor,
        followed.latest,
        replace=anew,
        upserts=log_rows(tables, followed, None if anew else cursor),
        deletes=table.arrow_schema().empty_table().select(list(table.key)).to_reader,
        repair=anew and cursor == followed.latest,
        origin=followed.origin,
    )


def log_rows(tables: TableService, followed: Followed, cursor: Cursor | None) -> RowReader:
    """Return what opens the rows of a log behind a cursor; without one, the rows there are, as inserts.

    Their times do not go back: no commit is said to be earlier than the one before it, whatever clocks said.
    """
    table = log_table(followed)

    def opened() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(table.arrow_schema(), _rows(tables, followed, cursor, table))

    return typed(opened, table)


def commit_times(metadata: TableMetadata) -> pa.Table:
    """Return when the snapshots there are were committed, as ``log_rows`` tells it: columns ``sequence`` and ``at``."""
    snapshots = sorted(metadata.snapshots, key=lambda one: one.sequence_number)
    at = pc.cumulative_max(pa.array([one.timestamp_ms * 1000 for one in snapshots], pa.int64()))
    sequence = pa.array([one.sequence_number for one in snapshots], pa.int64())
    return pa.table({"sequence": sequence, "at": at.cast(pa.timestamp("us", "UTC"))})


def _rows(
    tables: TableService, followed: Followed, cursor: Cursor | None, table: TargetTable
) -> Iterator[pa.RecordBatch]:
    latest, known = followed.latest.sequence_number, len(CHANGE_COLUMNS)
    if not latest:
        return
    names = [column.name for column in table.columns[:-known]]
    feed = tables.change_feed(
        followed.subscription.dataset,
        followed.version,
        after=cursor.sequence_number if cursor else 0,
        upto=latest,
        schema=followed.metadata.schema,  # which may be newer than the snapshot
        columns=[name for name in names if name != ROW_ID],
        where=followed.wished().row_filter or None,
        net=cursor is None,
        rows=followed.rows,
    )
    times = commit_times(followed.metadata)
    for batch in feed:
        kinds, commits = batch.column(CHANGE_TYPE), batch.column(COMMIT_SEQUENCE)
        if cursor is None:  # the log begins here, with what is there
            kinds = pa.repeat(pa.scalar(ChangeType.INSERT.value), batch.num_rows)
            commits = pa.repeat(pa.scalar(latest, pa.int64()), batch.num_rows)
        at = times["at"].combine_chunks().take(pc.index_in(commits, value_set=times["sequence"].combine_chunks()))
        columns = [*(batch.column(name) for name in names), kinds, commits, at]
        yield pa.RecordBatch.from_arrays(columns, names=[*names, *(column.name for column in CHANGE_COLUMNS)]).cast(
            table.arrow_schema()
        )
