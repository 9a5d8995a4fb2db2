"""Deciding who may do what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Privilege, Viewer
from cordillera.spec.catalog import Dataset, DatasetVersion, Namespace, View
from cordillera.spec.deputy import Duty
from cordillera.spec.row_access import RowAccess
from cordillera.spec.subscription import Target


class Authorizer(Protocol):
    """Decides for whoever acts (``cordillera.context``). The lake's operator holds every privilege.

    For an object that is not there nobody holds any, found out by the same work as for one that is.
    """

    def viewer(self, tx: Transaction) -> Viewer | None:
        """Return who asks, to keep lists to what he may see; None for the operator."""

    def viewer_for(self, tx: Transaction, duty: Duty) -> Viewer | None:
        """Return who asks, with the owners in whose place he decides in a duty; None for the operator."""

    def deputed(self, tx: Transaction, duty: Duty, dataset: Dataset, needed: Privilege) -> tuple[str, ...]:
        """Return the owners in whose place whoever acts decides in a duty about a dataset on which they hold, by
        themselves, the privilege that this takes; none for the operator, who needs nobody's."""

    def acts_for(self, tx: Transaction, owner: str) -> bool:
        """Tell whether whoever acts is an owner, or is in the group or role that is."""

    def on_lake(self, tx: Transaction) -> frozenset[Privilege]:
        """Return the privileges held on the lake."""

    def on_namespace(self, tx: Transaction, namespace: Namespace | None) -> frozenset[Privilege]:
        """Return the privileges held on a namespace. Whoever may discover a dataset in it may discover it too."""

    def on_dataset(self, tx: Transaction, dataset: Dataset | View | None, namespace: str) -> frozenset[Privilege]:
        """Return the privileges held on a dataset, deleted or not, or a view; ``namespace`` is where it would be."""

    def on_versions(
        self, tx: Transaction, dataset: Dataset | None, namespace: str, versions: Sequence[DatasetVersion]
    ) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges held on dataset versions: those on their dataset, and those on each alone."""

    def rows(self, tx: Transaction, dataset: Dataset, version: DatasetVersion | None = None) -> RowAccess | None:
        """Return what is shown of a dataset's rows, or of one dataset version's; None if all is, to whoever holds the
        privilege to read it."""

    def on_target(self, tx: Transaction, target: Target | None) -> frozenset[Privilege]:
        """Return the privileges held on a target."""

    def on_subscriptions(
        self, tx: Transaction, subscription_ids: Collection[UUID]
    ) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges held on those subscriptions of some that may be discovered."""
