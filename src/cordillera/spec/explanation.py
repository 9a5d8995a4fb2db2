"""What a write would do to a table's files, and why: worked out without writing any."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.write_cost import TouchedFile


class FileAction(StrEnum):
    """What happens to a data file that rows are taken out of."""

    DROP = "drop"
    """It leaves the table as a whole; it is neither read nor written for that."""
    MARK = "mark"
    """A deletion vector marks the rows."""
    REWRITE = "rewrite"
    """It is written anew without them."""


@dataclass(frozen=True, slots=True)
class FileExplanation:
    """What happens to one data file.

    Attributes:
        path: Where it is.
        action: What happens.
        reason: Why that.
        size: Its bytes.
        rows: How many rows it has, deleted ones too.
        deleted: How many of them are deleted afterwards.
    """

    path: str
    action: FileAction
    reason: str
    size: int
    rows: int
    deleted: int


@dataclass(frozen=True, slots=True)
class WriteExplanation:
    """What a write would do.

    Attributes:
        operation: The operation.
        write_mode: How rows are taken out of the table's files.
        rows_inserted, rows_updated, rows_deleted, rows_late: As in the result of a commit.
        files_in_table: Data files the table has.
        files_searched: Data files of which columns would be read, to find rows or their values.
        bytes_searched: Bytes of these columns, as they are stored; of large files only parts may be read.
        bytes_rewritten: Bytes of the files that would be read to be written anew.
        files_written, bytes_written: New data files, rewritten ones among them. Their size is estimated: a row is taken
            to need as much as one of the files that are changed, or else of the table; so is their number where they
            reach the target size.
        vectors_written: Deletion vectors.
        files: What happens to each data file that rows are taken out of.
    """

    operation: Operation
    write_mode: WriteMode
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    rows_late: int
    files_in_table: int
    files_searched: int
    bytes_searched: int
    bytes_rewritten: int
    files_written: int
    bytes_written: int
    vectors_written: int
    files: tuple[FileExplanation, ...]


def reason(action: FileAction, mode: WriteMode, file: TouchedFile) -> str:
    """Return why a file is dealt with in a way."""
    if action is FileAction.DROP:
        return "None of its rows remains."
    if mode is not WriteMode.AUTO:
        return f"The write mode is {mode}."
    marking, rewriting = (f"{cost / 2**20:,.1f} MiB" for cost in (file.marking_cost, file.rewriting_cost))
    return f"Marking costs as much as reading {marking}, rewriting {rewriting}."
