"""What a name means to whoever acts: namespaces, datasets, dataset versions, targets, subscriptions, found within a
transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from cordillera.context import current
from cordillera.errors import (
    AccessDeniedError,
    DatasetNotFoundError,
    DatasetVersionNotFoundError,
    InvalidInputError,
    InvalidNameError,
    NamespaceNotFoundError,
    SubscriptionNotFoundError,
    TargetNotFoundError,
    ViewNotFoundError,
)
from cordillera.ports.authorizer import Authorizer
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import (
    LAKE_ID,
    THE_LAKE,
    Privilege,
    Securable,
    SecurableKind,
    Viewer,
    check_held,
    whole_principal,
)
from cordillera.spec.catalog import Dataset, DatasetVersion, Lifecycle, Namespace, View
from cordillera.spec.names import DatasetRef, parse_dataset_ref
from cordillera.spec.row_access import RowAccess
from cordillera.spec.subscription import Subscription, Target

_MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ResolvedDataset:
    """A dataset with the dataset version that a reference means.

    Attributes:
        needed: The privileges that whoever looked it up needs for what he is about to do; a commit asks again.
        rows: What is shown of its rows to whoever looked it up to read them; None for all.
        held: The privileges that whoever looked it up held then.
    """

    dataset: Dataset
    version: DatasetVersion
    needed: tuple[Privilege, ...] = ()
    rows: RowAccess | None = None
    held: frozenset[Privilege] = frozenset()

    @property
    def name(self) -> str:
        """How to call it in messages."""
        return self.dataset.full_name

    def needing(self, *needed: Privilege) -> ResolvedDataset:
        """Return the same for whoever looked it up a moment ago, and is about to do what needs privileges.

        Raises:
            AccessDeniedError: If he lacks one.
        """
        on = Securable(SecurableKind.DATASET, self.name)
        check_held(self.held, needed, on, principal=current().principal, owner=self.dataset.owner)
        return replace(self, needed=needed)

    @property
    def pinned_name(self) -> str:
        """The name of this very dataset version: another may become the active one meanwhile."""
        return str(self.dataset.ref(self.version.number))


class Lookup:
    """The one door to what the lake holds: what whoever acts may not discover is not there for him.

    Args:
        authorizer: Decides.
    """

    def __init__(self, authorizer: Authorizer) -> None:
        self.authorizer = authorizer

    def viewer(self, tx: Transaction) -> Viewer | None:
        """Return who asks, to keep lists to what he may see; None for the operator."""
        return self.authorizer.viewer(tx)

    def lake(self, tx: Transaction, *needed: Privilege) -> None:
        """Make sure that whoever acts holds privileges on the lake.

        Raises:
            AccessDeniedError: If he does not.
        """
        check_held(self.authorizer.on_lake(tx), needed, THE_LAKE, principal=current().principal)

    def namespace(self, tx: Transaction, name: str, *needed: Privilege, lock: bool = False) -> Namespace:
        """Return a namespace by name, locked until the transaction ends if asked.

        Raises:
            NamespaceNotFoundError: If there is none.
            AccessDeniedError: If whoever acts lacks a privilege that is needed.
        """
        found = tx.namespaces.get(name, lock=lock)
        held = self.authorizer.on_namespace(tx, found)
        if found is None or Privilege.DISCOVER not in held:
            raise NamespaceNotFoundError(
                f"There is no namespace {name!r}.", hint=f"Create it with: cordillera namespace create {name}."
            )
        on = Securable(SecurableKind.NAMESPACE, name)
        check_held(held, needed, on, principal=current().principal, owner=found.owner)
        return found

    def dataset(self, tx: Transaction, ref: DatasetRef, *needed: Privilege, lock: bool = False) -> Dataset:
        """Return a dataset by name, locked until the transaction ends if asked.

        Raises:
            DatasetNotFoundError: If there is none.
            AccessDeniedError: If whoever acts lacks a privilege that is needed.
        """
        found = (tx.datasets.lock if lock else tx.datasets.get)(ref.namespace, ref.name)
        held = self.authorizer.on_dataset(tx, found, ref.namespace)
        if found is None or Privilege.DISCOVER not in held:
            versions = tx.dataset_versions.page(found.id if found else LAKE_ID)
            if self._seen(tx, found, versions, ref)[1] and found is not None:  # he knows of it by a dataset version
                self._check(tx, found, held, (Privilege.DISCOVER,))
            raise self._no_dataset(tx, ref)
        self._check(tx, found, held, needed)
        return found

    def resolve(self, tx: Transaction, ref: DatasetRef, *needed: Privilege) -> ResolvedDataset:
        """Return the dataset and dataset version that a reference means: of those that whoever acts may discover.

        Raises:
            DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
            AccessDeniedError: If whoever acts lacks a privilege that is needed.
        """
        dataset, versions = tx.datasets.with_versions(ref.namespace, ref.name)
        held, seen = self._seen(tx, dataset, versions, ref)
        if dataset is None or not seen:
            raise self._no_dataset(tx, ref)
        version = _meant(dataset, seen, ref.version)
        self._check(tx, dataset, held[version.id], needed, version)
        return ResolvedDataset(dataset, version, needed, held=held[version.id])

    def versions(self, tx: Transaction, ref: DatasetRef) -> list[DatasetVersion]:
        """Return the dataset versions of a dataset that whoever acts may discover, by number.

        Raises:
            DatasetNotFoundError: If there is none.
        """
        dataset, versions = tx.datasets.with_versions(ref.namespace, ref.name)
        seen = self._seen(tx, dataset, versions, ref)[1]
        if not seen:
            raise self._no_dataset(tx, replace(ref, version=None))
        return seen

    def _seen(
        self, tx: Transaction, dataset: Dataset | None, versions: Sequence[DatasetVersion], ref: DatasetRef
    ) -> tuple[Mapping[UUID, frozenset[Privilege]], list[DatasetVersion]]:
        """Return what whoever acts holds on the dataset versions of a dataset, and those that he may discover."""
        held = self.authorizer.on_versions(tx, dataset, ref.namespace, versions)
        return held, [one for one in versions if Privilege.DISCOVER in held.get(one.id, ())]

    def readable(self, tx: Transaction, ref: DatasetRef) -> ResolvedDataset:
        """Return what a reference means, and what whoever acts sees of its rows. Nothing else may tell him of them.

        Raises:
            DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
            AccessDeniedError: If he may not read any.
        """
        found = self.resolve(tx, ref)
        return replace(found, rows=self.rows(tx, found.dataset, found.version))

    def rows(self, tx: Transaction, dataset: Dataset, version: DatasetVersion | None = None) -> RowAccess | None:
        """Return what whoever acts sees of the rows of a dataset that he knows of, or of one dataset version; None for
        all.

        Raises:
            AccessDeniedError: If he may not read any.
        """
        rows = self.authorizer.rows(tx, dataset, version)
        if rows is not None and not rows.granted:
            self._check(tx, dataset, frozenset(), (Privilege.READ,))
        return rows

    def reads_all(self, tx: Transaction, dataset: Dataset | None) -> bool:
        """Tell whether whoever acts may read every row of a dataset as it is."""
        return dataset is not None and self.authorizer.rows(tx, dataset) is None

    def present(self, tx: Transaction, target: ResolvedDataset) -> ResolvedDataset:
        """Return a dataset version as it is now, whatever it is called by now.

        Raises:
            DatasetNotFoundError: If it was deleted.
            AccessDeniedError: If whoever acts lacks, by now, a privilege that is needed.
        """
        version, dataset = tx.dataset_versions.get(target.version.id), tx.datasets.get_by_id(target.dataset.id)
        if version is None or dataset is None or dataset.deleted_at is not None:
            raise DatasetNotFoundError(
                f"The dataset {target.name} was deleted.",
                hint=f"Restore it with: cordillera dataset restore {target.name}.",
            )
        held = self.authorizer.on_versions(tx, dataset, dataset.namespace, [version])[version.id]
        if Privilege.DISCOVER not in held:
            raise self._no_dataset(tx, target.dataset.ref(None))
        self._check(tx, dataset, held, target.needed, version)
        return ResolvedDataset(dataset, version, target.needed)

    def new_owner(self, tx: Transaction, namespace: Namespace, owner: str) -> str:
        """Return who is to own something new in a namespace: whoever is named; else the namespace's owner, if whoever
        acts is he, acts for him or administers the namespace; else whoever acts.

        Raises:
            AccessDeniedError: If another is named, and whoever acts does not administer the namespace.
        """
        if not owner:
            administers = Privilege.ADMINISTER in self.authorizer.on_namespace(tx, namespace)
            return namespace.owner if administers else current().principal
        if not self.authorizer.acts_for(tx, owner):
            self.namespace(tx, namespace.name, Privilege.ADMINISTER)
        return owner

    def held(
        self, tx: Transaction, dataset: Dataset | None, version: DatasetVersion | None = None
    ) -> frozenset[Privilege]:
        """Return the privileges that whoever acts holds on a dataset, live or not, or on one dataset version; none if
        it is not there.
        """
        if dataset is not None and version is not None:
            return self.authorizer.on_versions(tx, dataset, dataset.namespace, [version])[version.id]
        return self.authorizer.on_dataset(tx, dataset, dataset.namespace if dataset else "")

    def require(
        self, tx: Transaction, dataset: Dataset, *needed: Privilege, version: DatasetVersion | None = None
    ) -> None:
        """Make sure that whoever acts holds privileges on a dataset, or one dataset version, that he knows of.

        Raises:
            AccessDeniedError: If he does not.
        """
        self._check(tx, dataset, self.held(tx, dataset, version), needed, version)

    def target(self, tx: Transaction, name: str, *needed: Privilege) -> Target:
        """Return a target by name.

        Raises:
            TargetNotFoundError: If there is none.
            AccessDeniedError: If whoever acts lacks a privilege that is needed.
        """
        return self.known_target(tx, name, tx.targets.get(name), *needed)

    def known_target(self, tx: Transaction, name: str, found: Target | None, *needed: Privilege) -> Target:
        """Return a target that was just looked for by name, as ``target`` does."""
        held = self.authorizer.on_target(tx, found)
        if found is None or Privilege.DISCOVER not in held:
            raise TargetNotFoundError(f"There is no target {name!r}.", hint="List them with: cordillera target list.")
        on = Securable(SecurableKind.TARGET, name)
        check_held(held, needed, on, principal=current().principal, owner=found.owner)
        return found

    def subscription(
        self, tx: Transaction, subscription_id: UUID, *needed: Privilege, lock: bool = False
    ) -> Subscription:
        """Return a subscription by id, locked until the transaction ends if asked.

        Raises:
            SubscriptionNotFoundError: If there is none.
            AccessDeniedError: If whoever acts lacks a privilege that is needed.
        """
        found = (tx.subscriptions.lock if lock else tx.subscriptions.get)(subscription_id)
        held = self.authorizer.on_subscriptions(tx, [subscription_id]).get(subscription_id, frozenset())
        if found is None or Privilege.DISCOVER not in held:
            raise SubscriptionNotFoundError(
                f"There is no subscription {subscription_id}.", hint="List them with: cordillera subscription list."
            )
        on = Securable(SecurableKind.SUBSCRIPTION, str(subscription_id))
        check_held(held, needed, on, principal=current().principal, owner=found.consumer)
        return found

    def _check(
        self,
        tx: Transaction,
        dataset: Dataset,
        held: frozenset[Privilege],
        needed: Collection[Privilege],
        version: DatasetVersion | None = None,
    ) -> None:
        on = Securable(SecurableKind.DATASET, dataset.full_name)
        if Privilege.READ in needed and Privilege.READ not in held:
            rows = self.authorizer.rows(tx, dataset, version)
            if rows is not None and rows.granted:
                raise _only_rows(on)
        check_held(held, needed, on, principal=current().principal, owner=dataset.owner)

    def view(self, tx: Transaction, ref: DatasetRef, *needed: Privilege, lock: bool = False) -> View:
        """Return a view by name, locked until the transaction ends if asked.

        Raises:
            ViewNotFoundError: If there is none.
            AccessDeniedError: If whoever acts lacks a privilege that is needed.
        """
        found = None if ref.version is not None else tx.views.get(ref.namespace, ref.name, lock=lock)
        held = self.authorizer.on_dataset(tx, found, ref.namespace)
        if found is None or Privilege.DISCOVER not in held:
            raise self._no_view(tx, ref)
        on = Securable(SecurableKind.VIEW, found.full_name)
        check_held(held, needed, on, principal=current().principal, owner=found.owner)
        return found

    def _no_view(self, tx: Transaction, ref: DatasetRef) -> ViewNotFoundError:
        similar = [one.full_name for one in tx.views.page(ref.namespace, "", 10, viewer=self.viewer(tx))]
        return ViewNotFoundError(
            f"There is no view {ref}.",
            hint=f"Views in {ref.namespace}: {', '.join(similar)}."
            if similar
            else "List views with: cordillera view list.",
        )

    def _no_dataset(self, tx: Transaction, ref: DatasetRef) -> DatasetNotFoundError:
        view = None if ref.version is not None else tx.views.get(ref.namespace, ref.name)
        if Privilege.DISCOVER in self.authorizer.on_dataset(tx, view, ref.namespace):
            return DatasetNotFoundError(
                f"{ref.full_name} is a view, not a dataset.", hint="Read it in a query, with SQL."
            )
        similar = [one.full_name for one in tx.datasets.page(ref.namespace, "", 10, viewer=self.viewer(tx))]
        return DatasetNotFoundError(
            f"There is no dataset {ref.full_name}.",
            hint=f"Datasets in {ref.namespace}: {', '.join(similar)}."
            if similar
            else "List datasets with: cordillera dataset list.",
        )


def _only_rows(on: Securable) -> AccessDeniedError:
    """Return the error for somebody who may see rows through filters and masks, and wants what they do not work on."""
    who = whole_principal(current().principal)
    return AccessDeniedError(
        f"{who} may read {on.described} through row filters and masks only: not its files, nor what tells of them, nor "
        "change rows by what is in them.",
        hint=f"Read its rows through the server: cordillera dataset read {on.name}, SQL, or Dataset.scan().",
        details={"principal": who, "privilege": Privilege.READ.value, "on": str(on)},
    )


def meant_version(tx: Transaction, dataset: Dataset, number: int | None = None) -> DatasetVersion:
    """Return the dataset version of a number; without one the active one, else the newest.

    Raises:
        DatasetVersionNotFoundError: If the dataset has none of that number.
    """
    return _meant(dataset, tx.dataset_versions.page(dataset.id), number)


def _meant(dataset: Dataset, versions: Sequence[DatasetVersion], number: int | None) -> DatasetVersion:
    if number is not None:
        found = next((v for v in versions if v.number == number), None)
        if found is None:
            raise DatasetVersionNotFoundError(
                f"The dataset {dataset.full_name} has no dataset version {number}.",
                hint=f"It has: {', '.join(str(v.number) for v in versions)}.",
            )
        return found
    return next((v for v in versions if v.lifecycle is Lifecycle.ACTIVE), versions[-1])


def unversioned(name: str) -> DatasetRef:
    """Read the name of a dataset, or raise ``InvalidNameError`` if it is that of a dataset version."""
    ref = parse_dataset_ref(name)
    if ref.version is not None:
        raise InvalidNameError(
            f"{name!r} names a dataset version, a dataset is wanted.", hint=f"Use {ref.full_name!r}."
        )
    return ref


def page_limit(limit: int) -> int:
    """Return how many entries a page may have, or raise ``InvalidInputError`` if it may not have so many."""
    if not 1 <= limit <= _MAX_PAGE:
        raise InvalidInputError(f"A page of {limit} is not possible.", hint=f"Ask for 1 to {_MAX_PAGE}.")
    return limit
