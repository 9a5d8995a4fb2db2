"""What a commit is to do to each dataset version, before any of it is visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.requests import CommitRequest
from cordillera.catalog.tables import MetadataFile, with_state
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.contract import Violation
from cordillera.spec.counting import counted
from cordillera.spec.manifest import KEEPS_ROWS
from cordillera.spec.table_metadata import TableMetadata

WARNINGS_PROPERTY = "contract.warnings"
"""The property of a snapshot that names the rules of severity warning which it breaks."""


@dataclass(frozen=True, slots=True)
class CommitStep:
    """One request of a commit, and the table before and after it."""

    request: CommitRequest
    before: TableMetadata
    after: TableMetadata


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """What is to become of one dataset version."""

    target: ResolvedDataset
    before: MetadataFile
    steps: tuple[CommitStep, ...]

    def states(self, written: MetadataFile | None, now: datetime) -> list[DatasetVersion]:
        """Return the dataset version as it is after each step.

        Args:
            written: What was written of the table for the last; None if it stays as it is.
            now: When.
        """
        location = (written or self.before).location
        return [with_state(self.target.version, MetadataFile(location, step.after), now) for step in self.steps]

    def with_warnings(self, violations: Sequence[Violation]) -> CommitPlan:
        """Return it with a note of broken rules, for its snapshot and the audit log.

        Without examples, and without values that are computed from rows: more may see a snapshot than its rows.
        """
        last = self.steps[-1].request
        told = [one.rule if one.rows is None else f"{one.rule} ({counted(one.rows, 'row')})" for one in violations]
        return self.changed(
            properties={**last.properties, WARNINGS_PROPERTY: ", ".join(told)},
            details={**last.details, "contract_warnings": told},
        )

    def changed(self, **fields: Any) -> CommitPlan:
        """Return it with other fields of its last request."""
        last = self.steps[-1]
        request = replace(last.request, **fields)
        return replace(self, steps=(*self.steps[:-1], replace(last, request=request)))

    @property
    def keeps_rows(self) -> bool:
        """Whether nothing happens that readers could see."""
        manifests = [step.request.manifest for step in self.steps if step.request.updates]
        return all(manifest is not None and manifest.operation in KEEPS_ROWS for manifest in manifests)

    @property
    def changes_table(self) -> bool:
        """Whether there is more to do than to declare a partition complete."""
        return any(step.request.updates for step in self.steps)
