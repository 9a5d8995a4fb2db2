"""Keys that ascend: where those of rows do, none comes twice, which nobody has to look for then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc


class AscendingKeys:
    """Looks at the keys of rows that pass by, of which it keeps only the last one.

    Args:
        key: The key columns. Keys are compared by the first of them, where they are equal by the second, and so on.

    Attributes:
        ascend: Whether each key so far was greater than the one before. Also false where Arrow has no order for them.
    """

    def __init__(self, key: Sequence[str]) -> None:
        self._key, self._last = tuple(key), list[pa.Array]()
        self.ascend = bool(key)

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Let batches pass."""
        for batch in batches:
            if self.ascend and batch.num_rows:
                self.ascend = self._follow(batch)
            yield batch

    def _follow(self, batch: pa.RecordBatch) -> bool:
        """Tell whether the keys of a batch ascend, and come behind the last one."""
        columns = [batch.column(name) for name in self._key]
        before, self._last = self._last, [column[-1:] for column in columns]
        if before:
            columns = [pa.concat_arrays([last, column]) for last, column in zip(before, columns, strict=True)]
        try:
            return bool(pc.all(_each_is_less(columns), skip_nulls=False, min_count=0).as_py())
        except pa.ArrowNotImplementedError:
            return False


def _each_is_less(columns: Sequence[pa.Array]) -> pa.Array:
    """Tell for each row but the last whether its key is less than that of the row behind it."""
    first, *others = columns
    is_less = pc.less(first[:-1], first[1:])
    if not others or pc.all(is_less, min_count=0).as_py():
        return is_less
    return pc.or_(is_less, pc.and_(pc.equal(first[:-1], first[1:]), _each_is_less(others)))
