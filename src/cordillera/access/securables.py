"""Objects that privileges are granted on, found by name for whoever acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.catalog.lookup import Lookup
from cordillera.context import current
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import LAKE_ID, Privilege, Securable, SecurableKind, Viewer, check_held
from cordillera.spec.catalog import Dataset, DatasetVersion, Namespace, View
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.subscription import Subscription, Target


@dataclass(frozen=True, slots=True)
class FoundSecurable:
    """An object, with what it is inside of.

    Attributes:
        on: The object.
        id: Its id.
        owners: Who owns it, or what it is inside of, by what he owns.
        outside: The ids of what it is inside of, the lake first, and its own.
        object: What it is; for a dataset version the dataset.
        version: The dataset version, if it is one.
        administered: The ids of what it is inside of too, where only administering reaches it.
        followed: The dataset that it follows, if it is a subscription.
    """

    on: Securable
    id: UUID
    owners: tuple[tuple[Securable, str], ...]
    outside: tuple[UUID, ...]
    object: Namespace | Dataset | View | Target | Subscription | None
    version: DatasetVersion | None = None
    administered: tuple[UUID, ...] = ()
    followed: Dataset | None = None

    @property
    def dataset(self) -> Dataset | None:
        """The dataset that it is, is of, or follows."""
        return self.object if isinstance(self.object, Dataset) else self.followed

    @property
    def within(self) -> tuple[UUID, ...]:
        """The ids of everything on which grants can reach it."""
        return (*self.administered, *self.outside)

    @property
    def owner(self) -> str:
        """Who owns the object itself; a dataset version's is the dataset's."""
        if isinstance(self.object, Dataset) and self.version is not None:
            return self.owners[0][1]
        return next((owner for on, owner in self.owners if on == self.on), "")


class Securables:
    """Finds objects.

    Args:
        lookup: Knows what whoever acts may see.
        authorizer: Knows what anybody holds.
    """

    def __init__(self, lookup: Lookup, authorizer: GrantAuthorizer) -> None:
        self._lookup, self._authorizer = lookup, authorizer

    def find(self, tx: Transaction, on: Securable) -> FoundSecurable:
        """Return an object that whoever acts may discover.

        Raises:
            NamespaceNotFoundError, DatasetNotFoundError, TargetNotFoundError, SubscriptionNotFoundError: If there is
                none of that name.
        """
        match on.kind:
            case SecurableKind.LAKE:
                return FoundSecurable(on, LAKE_ID, (), (LAKE_ID,), None)
            case SecurableKind.NAMESPACE:
                space = self._lookup.namespace(tx, on.name)
                around = tx.namespaces.with_parents(on.name)
                return FoundSecurable(on, space.id, _owners(around), _ids(around), space)
            case SecurableKind.DATASET:
                return self._inside(tx, on, self._lookup.dataset(tx, parse_dataset_ref(on.name)))
            case SecurableKind.DATASET_VERSION:
                found = self._lookup.resolve(tx, parse_dataset_ref(on.name))
                whole = self._inside(tx, Securable(SecurableKind.DATASET, found.dataset.full_name), found.dataset)
                mine = found.version
                return replace(whole, on=on, id=mine.id, outside=(*whole.outside, mine.id), version=mine)
            case SecurableKind.VIEW:
                return self._inside(tx, on, self._lookup.view(tx, parse_dataset_ref(on.name)))
            case SecurableKind.TARGET:
                target = self._lookup.target(tx, on.name)
                return FoundSecurable(on, target.id, ((on, target.owner),), (LAKE_ID, target.id), target)
            case SecurableKind.SUBSCRIPTION:
                return self._following(tx, on, self._lookup.subscription(tx, UUID(on.name)))

    def held(self, tx: Transaction, viewer: Viewer | None, found: FoundSecurable) -> frozenset[Privilege]:
        """Return the privileges that a viewer holds on an object; the operator holds all."""
        match found.object:
            case None:
                return frozenset(Privilege) if viewer is None else viewer.on_lake
            case Namespace():
                return self._authorizer.held_on_namespace(tx, viewer, found.object)
            case Dataset() if found.version is not None:
                dataset, one = found.object, found.version
                return self._authorizer.held_on_versions(tx, viewer, dataset, dataset.namespace, [one])[one.id]
            case Dataset() | View():
                return self._authorizer.held_on_dataset(tx, viewer, found.object, found.object.namespace)
            case Target():
                return self._authorizer.held_on_target(tx, viewer, found.object)
            case Subscription():
                return self._authorizer.held_on_subscriptions(tx, viewer, [found.id]).get(found.id, frozenset())

    def require(self, tx: Transaction, found: FoundSecurable, *needed: Privilege) -> None:
        """Refuse whoever acts if he lacks a privilege; raises ``AccessDeniedError``."""
        held = self.held(tx, self._authorizer.viewer(tx), found)
        check_held(held, needed, found.on, principal=current().principal, owner=found.owner)

    @staticmethod
    def _following(tx: Transaction, on: Securable, found: Subscription) -> FoundSecurable:
        dataset, target = tx.datasets.get_by_id(found.dataset_id), tx.targets.get(found.target)
        assert dataset is not None, "a subscription goes with its dataset"
        around = tx.namespaces.with_parents(dataset.namespace)
        owners = [(on, found.consumer), (on, found.created_by)]
        owners += [(Securable(SecurableKind.DATASET, dataset.full_name), dataset.owner), *_owners(around)]
        administered = (*_ids(around), dataset.id)
        if target is not None:
            owners.append((Securable(SecurableKind.TARGET, target.name), target.owner))
            administered = (*administered, target.id)
        version = tx.dataset_versions.get(found.dataset_version_id)
        mine = tuple(dict.fromkeys(owners))
        return FoundSecurable(on, found.id, mine, (found.id,), found, version, administered, dataset)

    def _inside(self, tx: Transaction, on: Securable, found: Dataset | View) -> FoundSecurable:
        around = tx.namespaces.with_parents(found.namespace)
        assert around, "what has a namespace's name is in it"
        owners = ((on, found.owner), *_owners(around))
        return FoundSecurable(on, found.id, owners, (*_ids(around), found.id), found)


def _owners(namespaces: Sequence[Namespace]) -> tuple[tuple[Securable, str], ...]:
    return tuple((Securable(SecurableKind.NAMESPACE, one.name), one.owner) for one in namespaces)


def _ids(namespaces: Sequence[Namespace]) -> tuple[UUID, ...]:
    """Return the ids of the lake and of namespaces, those that hold others first."""
    return (LAKE_ID, *(one.id for one in reversed(namespaces)))
