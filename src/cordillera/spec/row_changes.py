"""How changes of rows are told: the columns that say what happened to a row, and in which commit."""

from __future__ import annotations

from enum import StrEnum

CHANGE_TYPE, COMMIT_SEQUENCE, COMMITTED_AT = "_change_type", "_commit_sequence_number", "_committed_at"


class ChangeType(StrEnum):
    """What a row of a change feed says."""

    INSERT = "insert"
    """A new row."""
    UPDATE_BEFORE = "update_before"
    """A row that changed, as it was; its image after follows at once."""
    UPDATE_AFTER = "update_after"
    """A row that changed, as it is now."""
    DELETE = "delete"
    """A row that is gone, as it was."""
