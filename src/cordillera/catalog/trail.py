"""What a change leaves beside itself, in its own transaction: entries for auditors, events for those who follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from cordillera.context import RequestContext, current
from cordillera.ports.metadata import Transaction
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.event import Circumstances, Topic


@dataclass(frozen=True, slots=True)
class Trail:
    """Writes the audit entries and events of one change.

    Attributes:
        tx: The transaction.
        now: When it happens.
        context: Who does it, under which trace.
    """

    tx: Transaction
    now: datetime
    context: RequestContext = field(default_factory=current)

    def audit(self, action: str, kind: str, name: str, details: Mapping[str, Any]) -> None:
        """Note that something was done to the object of a kind and name, and whose deputy did it if one did."""
        deputy_of = self.context.deputy_of
        self.tx.audit.append(
            at=self.now,
            principal=self.context.principal,
            action=action,
            object_kind=kind,
            object_name=name,
            details={**details, "deputy_of": list(deputy_of)} if deputy_of else details,
            trace_id=self.context.trace_id,
        )

    def event(self, topic: Topic, dataset: str, dataset_version_id: UUID | None, payload: Mapping[str, Any]) -> None:
        """Tell those who follow a dataset what happened to it."""
        self.tx.events.append(self._told(topic, dataset, dataset_version_id), payload)

    def events(
        self, topic: Topic, dataset: str, dataset_version_id: UUID, payloads: Sequence[Mapping[str, Any]]
    ) -> None:
        """Tell those who follow a dataset several things of one kind that happened to it together."""
        self.tx.events.append_all(self._told(topic, dataset, dataset_version_id), payloads)

    def dataset_changed(
        self, dataset: Dataset, version: DatasetVersion, change: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """Tell those who follow a dataset that something but its rows has changed."""
        self.event(Topic.DATASET_CHANGED, dataset.full_name, version.id, {"change": change, **(more or {})})

    def _told(self, topic: Topic, dataset: str, dataset_version_id: UUID | None) -> Circumstances:
        context = self.context
        return Circumstances(topic, self.now, context.principal, context.trace_id, dataset, dataset_version_id)
