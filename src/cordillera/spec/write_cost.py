"""What it costs to take rows out of a data file: marking them in a deletion vector, or rewriting the file.

Marking is cheap now, and every later scan pays: it looks the marks up, and reads the marked rows for nothing. Rewriting
is paid at once. The unit is the time it takes to read a byte, about 4 ns where these figures were measured.
"""

from __future__ import annotations

from dataclasses import dataclass

WRITING = 3
"""Writing a byte costs as much as reading so many: it is encoded, compressed and hashed."""
CREATING = 2 * 1024 * 1024
"""Writing a file costs as much as reading so many bytes, however small it is."""
MARKED = 64 * 1024
"""A deletion vector costs a scan as much as reading so many bytes."""
SCANS = 8
"""So many scans are expected to read a file before compaction removes its marked rows."""


@dataclass(frozen=True, slots=True)
class TouchedFile:
    """A data file that rows are taken out of.

    Attributes:
        size: Bytes.
        rows: How many rows it has, deleted ones too; at least one.
        deleted: How many of them are deleted afterwards, those that are already among them.
    """

    size: int
    rows: int
    deleted: int

    @property
    def marking_cost(self) -> float:
        """What marking its rows costs, later scans included."""
        return SCANS * (MARKED + self.size * self.deleted / self.rows)

    @property
    def rewriting_cost(self) -> float:
        """What writing the rest of it anew costs."""
        return CREATING + self.size + WRITING * self.size * (self.rows - self.deleted) / self.rows

    @property
    def is_small(self) -> bool:
        """Whether a file of its own costs more than what is in it."""
        return self.size * (1 + WRITING) < CREATING

    @property
    def is_better_rewritten(self) -> bool:
        """Whether rewriting costs less."""
        return self.rewriting_cost < self.marking_cost
