"""Reads as people describe them: lazy, printable, and readable by every Arrow library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from cordillera.client.backend import LakeBackend
from cordillera.errors import MissingExtraError
from cordillera.spec.as_of import AsOf

if TYPE_CHECKING:
    import pandas
    import polars


@dataclass(frozen=True, slots=True)
class LazyRows(ABC):
    """Rows that have been described but not read. Every export reads them anew.

    It has ``__arrow_c_stream__``, so Polars, DuckDB, pandas, pyarrow and ibis take it as it is:
    ``polars.DataFrame(scan)``.
    """

    backend: LakeBackend
    dataset: str
    columns: tuple[str, ...] | None = None
    where: str | None = None

    @abstractmethod
    def to_reader(self) -> pa.RecordBatchReader:
        """Stream the rows as Arrow record batches, in bounded memory."""

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.to_reader().read_all()

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a pandas frame."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """Return the rows as a Polars frame.

        Raises:
            MissingExtraError: If Polars is not installed.
        """
        try:
            import polars
        except ImportError as error:
            raise MissingExtraError("Polars is not installed.", hint="Install it with: pip install polars.") from error
        return polars.DataFrame(self.to_reader())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        parts = [self.dataset]
        parts += [f"columns={list(self.columns)}"] if self.columns is not None else []
        parts += [f"where={self.where!r}"] if self.where else []
        return f"{type(self).__name__}({', '.join([*parts, *self._options()])})"

    @abstractmethod
    def _options(self) -> list[str]:
        """Return what else the read was described with, as text."""


@dataclass(frozen=True, slots=True, repr=False)
class Scan(LazyRows):
    """A read of a dataset at one moment."""

    as_of: AsOf = None
    row_limit: int | None = None

    def select(self, *columns: str) -> Scan:
        """Return the scan with other columns."""
        return replace(self, columns=columns)

    def filter(self, where: str) -> Scan:
        """Return the scan with one more condition."""
        return replace(self, where=f"({self.where}) AND ({where})" if self.where else where)

    def limit(self, rows: int) -> Scan:
        """Return the scan with at most so many rows."""
        return replace(self, row_limit=rows)

    def to_reader(self) -> pa.RecordBatchReader:
        """Stream the rows as Arrow record batches, in bounded memory."""
        return self.backend.scan(
            self.dataset, columns=self.columns, where=self.where, as_of=self.as_of, limit=self.row_limit
        )

    def _options(self) -> list[str]:
        parts = [f"as_of={self.as_of!r}"] if self.as_of is not None else []
        return [*parts, f"limit={self.row_limit}"] if self.row_limit is not None else parts


@dataclass(frozen=True, slots=True, repr=False)
class Changes(LazyRows):
    """A read of what changed in a dataset between two moments."""

    after: AsOf = None
    upto: AsOf = None
    net: bool = True

    def to_reader(self) -> pa.RecordBatchReader:
        """Stream the changes as Arrow record batches, in bounded memory."""
        return self.backend.changes(
            self.dataset, after=self.after, upto=self.upto, columns=self.columns, where=self.where, net=self.net
        )

    def _options(self) -> list[str]:
        parts = [f"after={self.after!r}"] if self.after is not None else []
        parts += [f"upto={self.upto!r}"] if self.upto is not None else []
        return parts if self.net else [*parts, "net=False"]
