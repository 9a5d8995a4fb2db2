"""Decisions over the grants in the metadata store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import LAKE_ID, Grant, Privilege, SecurableKind, StandIn, Viewer, whole_principal
from cordillera.spec.access_tags import fulfils, parse_tag_expression
from cordillera.spec.catalog import Dataset, DatasetVersion, Namespace, View
from cordillera.spec.deputy import Duty
from cordillera.spec.row_access import EffectiveTags, GrantedRows, RowAccess
from cordillera.spec.subscription import Target

_NOWHERE = UUID(int=1)
"""No object's id: what is not there is looked up like what is."""
_NOTHING: frozenset[Privilege] = frozenset()
_ALL = frozenset(Privilege)


class GrantAuthorizer:
    """Implements ``cordillera.ports.authorizer.Authorizer``. Nothing is remembered: what is revoked, anywhere, is over.

    Args:
        clock: Says which grants have ended.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def viewer(self, tx: Transaction) -> Viewer | None:
        """Return who asks; None for the operator."""
        context = current()
        return None if context.operator else self.viewer_of(tx, context.principal)

    def viewer_for(self, tx: Transaction, duty: Duty) -> Viewer | None:
        """Return who asks, with the owners in whose place he decides in a duty; None for the operator.

        What an owner may do is found as for himself, without those for whom he stands in.
        """
        viewer = self.viewer(tx)
        if viewer is None:
            return None
        found = [one for one in tx.deputies.acting(viewer.principals, viewer.now) if one.acts(duty, viewer.now)]
        owners = {owner: self.viewer_of(tx, owner) for owner in {one.owner for one in found}}
        stands_in = tuple(StandIn(one.owner, owners[one.owner], one.kind, one.securable_id) for one in found)
        return replace(viewer, stands_in=stands_in)

    def deputed(self, tx: Transaction, duty: Duty, dataset: Dataset, needed: Privilege) -> tuple[str, ...]:
        """Return the owners in whose place whoever acts decides in a duty about a dataset, as far as they may."""
        viewer = self.viewer_for(tx, duty)
        if viewer is None or not viewer.stands_in:
            return ()
        within = {LAKE_ID, dataset.id, *(one.id for one in tx.namespaces.with_parents(dataset.namespace))}
        inside = {one.owner: one.viewer for one in viewer.stands_in if one.on in within}
        held = {name: self.held_on_dataset(tx, owner, dataset, dataset.namespace) for name, owner in inside.items()}
        return tuple(sorted(name for name, privileges in held.items() if needed in privileges))

    def viewer_of(self, tx: Transaction, principal: str) -> Viewer:
        """Return somebody as a viewer, whoever acts."""
        return tx.grants.viewer(whole_principal(principal), self._clock.now())

    def acts_for(self, tx: Transaction, owner: str) -> bool:
        """Tell whether whoever acts is an owner, or is in the group or role that is."""
        viewer = self.viewer(tx)
        return viewer is None or viewer.owns(owner)

    # --- what whoever acts holds ---------------------------------------------------------------------------------

    def on_lake(self, tx: Transaction) -> frozenset[Privilege]:
        """Return the privileges held on the lake."""
        viewer = self.viewer(tx)
        return _ALL if viewer is None else viewer.on_lake

    def on_namespace(self, tx: Transaction, namespace: Namespace | None) -> frozenset[Privilege]:
        """Return the privileges held on a namespace."""
        return self.held_on_namespace(tx, self.viewer(tx), namespace)

    def on_dataset(self, tx: Transaction, dataset: Dataset | View | None, namespace: str) -> frozenset[Privilege]:
        """Return the privileges held on a dataset or a view."""
        return self.held_on_dataset(tx, self.viewer(tx), dataset, namespace)

    def on_versions(
        self, tx: Transaction, dataset: Dataset | None, namespace: str, versions: Sequence[DatasetVersion]
    ) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges held on dataset versions."""
        return self.held_on_versions(tx, self.viewer(tx), dataset, namespace, versions)

    def rows(self, tx: Transaction, dataset: Dataset, version: DatasetVersion | None = None) -> RowAccess | None:
        """Return what is shown of a dataset's rows; None for all."""
        return self.rows_shown(tx, self.viewer(tx), dataset, version)

    def on_target(self, tx: Transaction, target: Target | None) -> frozenset[Privilege]:
        """Return the privileges held on a target."""
        return self.held_on_target(tx, self.viewer(tx), target)

    def on_subscriptions(
        self, tx: Transaction, subscription_ids: Collection[UUID]
    ) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges held on those subscriptions of some that may be discovered."""
        return self.held_on_subscriptions(tx, self.viewer(tx), subscription_ids)

    # --- what anybody holds --------------------------------------------------------------------------------------

    def held_on_namespace(
        self, tx: Transaction, viewer: Viewer | None, namespace: Namespace | None
    ) -> frozenset[Privilege]:
        """Return the privileges that a viewer holds on a namespace."""
        if viewer is None or viewer.on_lake == _ALL:
            return _NOTHING if namespace is None else _ALL
        name = namespace.name if namespace else ""
        around = tx.namespaces.with_parents(name)
        granted = tx.grants.held(viewer, [one.id for one in around] or [_NOWHERE])
        if any(viewer.owns(one.owner) for one in around):
            return _ALL
        held = viewer.on_lake | _privileges(granted)
        if namespace is not None and Privilege.DISCOVER in held:
            return held
        inside = tx.namespaces.is_seen(name, viewer)
        return _NOTHING if namespace is None else held | {Privilege.DISCOVER} if inside else held

    def held_on_dataset(
        self, tx: Transaction, viewer: Viewer | None, dataset: Dataset | View | None, namespace: str
    ) -> frozenset[Privilege]:
        """Return the privileges that a viewer holds on a dataset; or on a view, which no tag expression is about."""
        if viewer is None or viewer.on_lake == _ALL:
            return _NOTHING if dataset is None else _ALL
        reach = self._reach(tx, viewer, dataset, namespace)
        return _NOTHING if dataset is None else reach.held(viewer, dataset)

    def held_on_versions(
        self,
        tx: Transaction,
        viewer: Viewer | None,
        dataset: Dataset | None,
        namespace: str,
        versions: Sequence[DatasetVersion],
    ) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges that a viewer holds on dataset versions of one dataset."""
        if viewer is None or viewer.on_lake == _ALL:
            return {one.id: _ALL for one in versions}
        reach = self._reach(tx, viewer, dataset, namespace, versions)
        return {} if dataset is None else {one.id: reach.of(one).held(viewer, dataset) for one in versions}

    def rows_shown(
        self, tx: Transaction, viewer: Viewer | None, dataset: Dataset, version: DatasetVersion | None = None
    ) -> RowAccess | None:
        """Return what a viewer sees of a dataset's rows if he does not see all of it; None if he does."""
        if viewer is None or viewer.on_lake == _ALL:
            return None
        reach = self._reach(tx, viewer, dataset, dataset.namespace, [version] if version else [])
        if Privilege.READ in reach.held(viewer, dataset):
            return None
        return RowAccess(dataset.full_name, dataset.owner, tuple(reach.reading(viewer)))

    def _reach(
        self,
        tx: Transaction,
        viewer: Viewer,
        dataset: Dataset | View | None,
        namespace: str,
        versions: Sequence[DatasetVersion] = (),
    ) -> _Reach:
        """Return what reaches an object, found by the same work for one that is not there."""
        around = tx.namespaces.with_parents(namespace)
        ids = (dataset.id if dataset else _NOWHERE, *(one.id for one in around))
        granted = tx.grants.held(viewer, (*(one.id for one in versions), *ids))
        tags = tx.policy_tags.inherited(ids) if viewer.conditional else {}
        owned = dataset is not None and any(viewer.owns(one.owner) for one in (dataset, *around))
        fulfilled = [
            one
            for one in viewer.conditional
            if isinstance(dataset, Dataset)
            and (one.kind is SecurableKind.LAKE or one.securable_id in ids)
            and fulfils(tags, parse_tag_expression(one.tag_expression))
        ]
        asked = (
            viewer.reading or granted or fulfilled
        )  # else nothing depends on tags of columns, however many there are
        every = tx.policy_tags.effective(ids) if asked else EffectiveTags()
        return _Reach(owned, (*granted, *fulfilled), every)

    def held_on_target(self, tx: Transaction, viewer: Viewer | None, target: Target | None) -> frozenset[Privilege]:
        """Return the privileges that a viewer holds on a target."""
        if viewer is None or viewer.on_lake == _ALL:
            return _NOTHING if target is None else _ALL
        granted = tx.grants.held(viewer, [target.id if target else _NOWHERE])
        if target is None:
            return _NOTHING
        return _ALL if viewer.owns(target.owner) else viewer.on_lake | _privileges(granted)

    def held_on_subscriptions(
        self, tx: Transaction, viewer: Viewer | None, subscription_ids: Collection[UUID]
    ) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges that a viewer holds on those subscriptions of some that he may discover."""
        return tx.subscriptions.held(viewer, subscription_ids)


@dataclass(frozen=True, slots=True)
class _Reach:
    """What reaches a dataset or a view, of what somebody has.

    Attributes:
        owned: Whether it, or its namespace, is his.
        grants: His grants on it and its namespace, on dataset versions of it, and those by tags that it fulfils.
        tags: Its policy tags.
    """

    owned: bool
    grants: tuple[Grant, ...]
    tags: EffectiveTags

    def of(self, version: DatasetVersion) -> _Reach:
        """Return what reaches one of the dataset versions: nothing that is about another."""
        others = SecurableKind.DATASET_VERSION
        return replace(
            self, grants=tuple(one for one in self.grants if one.kind is not others or one.securable_id == version.id)
        )

    def held(self, viewer: Viewer, on: Dataset | View) -> frozenset[Privilege]:
        """Return the privileges held. Who reads some rows, or some columns masked, does not hold the one to read."""
        held = viewer.on_lake | _privileges(self.grants)
        if self.owned or Privilege.ADMINISTER in held:
            return _ALL
        reading = self.reading(viewer)
        reads = any(reading) if isinstance(on, View) else any(one.everything for one in reading)
        return held - {Privilege.READ} | ({Privilege.READ} if reads else _NOTHING)

    def reading(self, viewer: Viewer) -> list[GrantedRows]:
        """Return what each grant to read shows."""
        reading = [one for one in (*viewer.reading, *self.grants) if one.privilege is Privilege.READ]
        return [GrantedRows.by(one, self.tags) for one in reading]


def _privileges(granted: Iterable[Grant]) -> frozenset[Privilege]:
    return frozenset().union(*(one.privileges for one in granted))
