"""Files by the range of one column that their rows have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.types import NestedField

from cordillera.spec.arrow_types import primitive
from cordillera.table.live_files import LiveFile


class KeyRanges:
    """Looks at the ranges of a column.

    Args:
        field: The column.
    """

    def __init__(self, field: NestedField) -> None:
        self._number, self._kind = field.field_id, primitive(field)

    def meeting(self, files: Sequence[LiveFile]) -> Iterator[list[LiveFile]]:
        """Divide files into those whose ranges meet, directly or by way of others; the rest are each for itself.

        Ranges that have no more than an end in common do not meet: sorted files may share a value there.
        """
        known = sorted(((*found, live) for live in files if (found := self._range(live))), key=lambda one: one[:2])
        together: list[LiveFile] = []
        reached: Any = None
        for low, high, live in known:
            if together and low >= reached:
                yield together
                together = []
            reached = high if not together or high > reached else reached
            together.append(live)
        if together:
            yield together
        if unknown := [live for live in files if not self._range(live)]:
            yield unknown

    def _range(self, live: LiveFile) -> tuple[Any, Any] | None:
        low, high = live.file.lower_bounds.get(self._number), live.file.upper_bounds.get(self._number)
        return (
            (from_bytes(self._kind, low), from_bytes(self._kind, high))
            if low is not None and high is not None
            else None
        )
