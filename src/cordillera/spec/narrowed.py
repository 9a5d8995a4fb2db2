"""Telling with rows that they are not all there is: some are left out, or values are masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson
import pyarrow as pa

NARROWED = b"cordillera.narrowed"
"""Where the metadata of an Arrow schema tells it, as JSON."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What whoever asks does not see of a dataset.

    Attributes:
        filtered: Whether rows may be left out.
        masked: Columns that show something else than their values, at least in some rows.
        hidden: Columns that are not there for him.
    """

    dataset: str
    filtered: bool
    masked: tuple[str, ...]
    hidden: tuple[str, ...]

    def in_words(self) -> str:
        """Return it as a sentence."""
        parts = ["a filter leaves out rows"] if self.filtered else []
        parts += [f"masked: {', '.join(self.masked)}"] if self.masked else []
        parts += [f"hidden: {', '.join(self.hidden)}"] if self.hidden else []
        return f"You see a part of {self.dataset}: {'; '.join(parts)}."


def marked(rows: pa.RecordBatchReader, narrowed: Sequence[Narrowed]) -> pa.RecordBatchReader:
    """Return rows whose schema tells what they do not show."""
    if not narrowed:
        return rows
    told = {NARROWED: orjson.dumps([asdict(one) for one in narrowed])}
    return pa.RecordBatchReader.from_batches(rows.schema.with_metadata({**(rows.schema.metadata or {}), **told}), rows)


def narrowed_by(schema: pa.Schema) -> tuple[Narrowed, ...]:
    """Return what rows of a schema do not show of the datasets that they are from."""
    told = orjson.loads((schema.metadata or {}).get(NARROWED, b"[]"))
    return tuple(Narrowed(one["dataset"], one["filtered"], tuple(one["masked"]), tuple(one["hidden"])) for one in told)
