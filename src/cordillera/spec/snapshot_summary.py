"""What the summary of a snapshot proves of the commit that made it.

Those of Cordillera's own snapshots are believed: another engine's cannot pass itself off as one, and one that says of
itself that it only moves rows is let in only if that is true.
"""

from __future__ import annotations

from uuid import UUID

from cordillera.spec.manifest import KEEPS_KEYS, TableOperation
from cordillera.spec.refs import ancestors
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata

ENGINE_NAME = "cordillera"
OPERATION_SUMMARY = "cordillera.operation"
"""Entry of a snapshot's summary that says which of Cordillera's operations made it."""

CONTRACT_SUMMARY = "cordillera.contract"
"""Entry of a snapshot's summary that says which contract its rows were held to on their way into files."""

_OPERATION, _MOVE = "operation", "replace"


def is_own(snapshot: IcebergSnapshot) -> bool:
    """Tell whether Cordillera wrote a snapshot; what other engines commit cannot call itself that."""
    return snapshot.summary.get("engine-name") == ENGINE_NAME


def moves_rows(snapshot: IcebergSnapshot) -> bool:
    """Tell whether a snapshot has its parent's rows, in other files or the same."""
    return snapshot.summary.get(_OPERATION) == _MOVE


def keeps_keys(snapshot: IcebergSnapshot) -> bool:
    """Tell whether every key that its parent had is surely among a snapshot's."""
    own = is_own(snapshot) and snapshot.summary.get(OPERATION_SUMMARY) in KEEPS_KEYS
    return own or moves_rows(snapshot)


def contract_mark(version_id: UUID, revision: int) -> str:
    """Return what a snapshot's summary says of a contract; empty without one (revision 0).

    With the dataset version, since another lake may have registered the table, and has contracts of its own.
    """
    return f"{version_id}/{revision}" if revision else ""


def has_met(snapshot: IcebergSnapshot, mark: str) -> bool:
    """Tell whether the rows that a snapshot brings were held to a contract on their way into files, or it has none."""
    return moves_rows(snapshot) or (is_own(snapshot) and snapshot.summary.get(CONTRACT_SUMMARY) == mark)


def rolls_back(snapshot: IcebergSnapshot) -> bool:
    """Tell whether a snapshot of ours has the rows of an earlier one."""
    return is_own(snapshot) and snapshot.summary.get(OPERATION_SUMMARY) == TableOperation.ROLLBACK


def keys_stay(metadata: TableMetadata, before: IcebergSnapshot | None, after: IcebergSnapshot | None) -> bool:
    """Tell whether every key that was there at a snapshot is surely there at another, without reading any.

    Args:
        metadata: The table.
        before, after: The snapshots; None for an empty table.
    """
    if before is None:
        return True
    for snapshot in ancestors(metadata, after.snapshot_id if after else None):
        if snapshot.snapshot_id == before.snapshot_id:
            return True
        if not keeps_keys(snapshot):
            return False
    return False  # it does not lead there, or what does has expired
