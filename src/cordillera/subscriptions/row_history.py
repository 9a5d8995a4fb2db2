"""Subscriptions that keep a history: every state that a row has had, with the time for which it held (SCD 2).

A history is the log of changes, folded: its rows begin where an image of the log says so, and end with the next. The
target ends the rows that are current there, in the transaction that brings the new ones.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.catalog.tables import TableService
from cordillera.errors import SnapshotNotFoundError
from cordillera.ports.engine import QueryEngine
from cordillera.ports.synchronizer import (
    HISTORY_COLUMNS,
    Cursor,
    Delivery,
    HistoryTarget,
    RowReader,
    Synchronizer,
    TargetTable,
)
from cordillera.spec.row_changes import COMMIT_SEQUENCE
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO, Folding, Unsound, read_unsound, unsound
from cordillera.spec.subscription import SubscriptionMode
from cordillera.subscriptions.change_log import commit_times, log_rows, log_table, widened_table
from cordillera.subscriptions.following import Followed, typed


def kept_table(followed: Followed) -> TargetTable:
    """Return how the table looks that a subscription keeps, by its mode.

    Raises:
        AccessDeniedError, NotAllowedError: As ``Followed.table`` and ``widened_table`` do.
    """
    match followed.subscription.mode:
        case SubscriptionMode.MIRROR:
            return followed.table()
        case SubscriptionMode.LOG:
            return log_table(followed)
        case SubscriptionMode.HISTORY:
            return history_table(followed)


def history_table(followed: Followed) -> TargetTable:
    """Return how the table of a history looks: the columns of the mirror, and for which time a row held.

    Raises:
        AccessDeniedError, NotAllowedError: As ``widened_table`` does.
    """
    return widened_table(followed, HISTORY_COLUMNS, (COMMIT_SEQUENCE,))


def compared_table(followed: Followed) -> TargetTable:
    """Return what of a kept table is compared with the lake: of a history the rows that hold, else what a mirror has.

    Raises:
        AccessDeniedError, NotAllowedError: As ``history_table`` does.
    """
    if followed.subscription.mode is not SubscriptionMode.HISTORY:
        return followed.table()
    return replace(history_table(followed), current=True)


def history_delivery(
    tables: TableService, followed: Followed, cursor: Cursor | None, *, anew: bool = False
) -> Delivery:
    """Return what brings every state behind a cursor, and ends what was current; to an empty history, the rows there
    are, which hold from the snapshot's commit on.

    Where a column has come with a default for rows that are there, all of those are other rows from then on.

    Args:
        tables: Tells what changed.
        followed: What is followed, and where to.
        cursor: Where the target stands.
        anew: Whether the history begins now, in the place of whatever the target holds.

    Raises:
        SnapshotNotFoundError, NotAllowedError: If the changes cannot be told any more: while it is opened.
    """
    table, begins = history_table(followed), None if anew else cursor
    engine, log = tables.io.engine, log_rows(tables, followed, begins)
    restated = begins is not None and not followed.can_follow_from(begins)
    folding = Folding(followed.table().arrow_schema(), table.key[:-1], restated)

    def folded(statement: str, into: TargetTable) -> RowReader:
        def opened() -> pa.RecordBatchReader:
            relations = {"log": log()}
            if restated:
                relations["restated"] = log_rows(tables, followed, None)()
            return engine.query(statement, relations)

        return typed(opened, into)

    ended = _endings_of(table)
    nothing = ended.arrow_schema().empty_table().to_reader
    return Delivery(
        followed.subscription.id,
        table,
        cursor,
        followed.latest,
        replace=begins is None,
        upserts=folded(folding.states(), table),
        deletes=_no_keys(table),
        repair=anew and cursor == followed.latest,
        origin=followed.origin,
        endings=nothing if begins is None else folded(folding.endings(), ended),
    )


def history_repair(followed: Followed, cursor: Cursor, rows: RowReader, keys: pa.Table) -> Delivery:
    """Return what lets the right rows of some keys hold, from the commit of the snapshot on that a target holds.

    What the target said of the time before stays as it is: what it was before somebody changed it is not known.

    Args:
        followed: What is followed, under the schema that the target has.
        cursor: What the target holds.
        rows: Opens the rows of those keys that are to be current, as in a mirror.
        keys: Those keys, and those that are to have no current row.

    Raises:
        SnapshotNotFoundError: If that snapshot has expired.
    """
    table, times = history_table(followed), commit_times(followed.metadata)
    found = times.filter(pc.equal(times["sequence"], cursor.sequence_number))
    if not found.num_rows:
        raise SnapshotNotFoundError(
            f"Snapshot {cursor.sequence_number} of {followed.subscription.dataset}, which the target holds, has "
            "expired: since when its rows hold cannot be told.",
            hint="Resume the subscription; after the next delivery it can be repaired.",
        )
    sequence, at = (found[name][0] for name in ("sequence", "at"))
    held = (sequence, at, pa.scalar(None, pa.timestamp("us", "UTC")), pa.scalar(True))

    def opened() -> pa.RecordBatchReader:
        wider = ([*batch.columns, *(pa.repeat(value, batch.num_rows) for value in held)] for batch in rows())
        schema = table.arrow_schema()
        return pa.RecordBatchReader.from_batches(
            schema, (pa.RecordBatch.from_arrays(columns, schema=schema) for columns in wider)
        )

    ended = keys.append_column(VALID_TO, pa.repeat(at, keys.num_rows)).cast(_endings_of(table).arrow_schema())
    return Delivery(
        followed.subscription.id,
        table,
        cursor,
        cursor,
        replace=False,
        upserts=opened,
        deletes=_no_keys(table),
        repair=True,
        origin=followed.origin,
        endings=ended.to_reader,
    )


def find_unsound(engine: QueryEngine, synchronizer: Synchronizer, table: TargetTable) -> Unsound:
    """Look for keys of a history whose times cannot be; in its rows, unless the target says that there are none.

    Raises:
        TargetDriftError: If the table or a column is not there.
    """
    if isinstance(synchronizer, HistoryTarget) and not synchronizer.count_unsound(table):
        return Unsound(0, ())
    key = table.key[:-1]
    rows = synchronizer.read_rows(table, [*table.key, VALID_FROM, VALID_TO, IS_CURRENT])
    return read_unsound(engine.table(unsound(rows.schema, key), {"history": rows}))


def _endings_of(table: TargetTable) -> TargetTable:
    return TargetTable(table.name, table.ending_columns(), table.key[:-1])


def _no_keys(table: TargetTable) -> RowReader:
    reader: RowReader = table.arrow_schema().empty_table().select(list(table.key)).to_reader
    return reader
