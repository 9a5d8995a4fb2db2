"""Those who may refuse a commit: contracts today, access rules tomorrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import pyarrow as pa

from cordillera.errors import ContractViolationError
from cordillera.ports.metadata.contracts import KeptPartials
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.contract import Violation
from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import TableMetadata

RowInspector: TypeAlias = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""Looks at rows as they pass on their way into data files, and raises to refuse them all."""


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that is about to happen: the table before and after."""

    dataset: Dataset
    version: DatasetVersion
    before: TableMetadata
    after: TableMetadata

    @property
    def keeps_columns_and_rows(self) -> bool:
        """Whether readers see the same columns and the same snapshot as before."""
        same_columns = self.after.current_schema_id == self.before.current_schema_id
        return same_columns and self.after.current_snapshot_id == self.before.current_snapshot_id


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard finds in a commit.

    Attributes:
        violations: What is to be noted about it; the rules that it breaks.
        refusal: The error for whoever commits, where the rows may not be published; else None.
        revision: The contract that it was held to; 0 without one.
        partials: What is to be kept with the commit, so that the next one is checked at the cost of what it changes.
    """

    violations: tuple[Violation, ...] = ()
    refusal: ContractViolationError | None = None
    revision: int = 0
    partials: KeptPartials | None = None


class CommitGuard(Protocol):
    """Looks at writes and commits before they happen. A guard refuses rows before they are written by raising."""

    def inspector(
        self,
        dataset: Dataset,
        version: DatasetVersion,
        operation: Operation,
        columns: Sequence[str],
        seen: Sequence[str] = (),
    ) -> RowInspector | None:
        """Return what looks at the rows (with ``columns``) of a write, or None if nothing has to.

        Where columns have been ``seen`` before, it looks at single rows, for what these columns alone did not tell.
        """

    def check(self, change: Change) -> Verdict:
        """Look at a commit, whoever makes it. What cannot be kept to be looked at, such as a schema, is raised."""
