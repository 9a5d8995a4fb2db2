"""What a name means: namespaces, datasets and dataset versions, looked up within a transaction."""

from __future__ import annotations

from dataclasses import dataclass

from cordillera.errors import (
    DatasetNotFoundError,
    DatasetVersionNotFoundError,
    InvalidInputError,
    InvalidNameError,
    NamespaceNotFoundError,
    ViewNotFoundError,
)
from cordillera.ports.metadata import Transaction
from cordillera.spec.catalog import Dataset, DatasetVersion, Lifecycle, Namespace, View
from cordillera.spec.names import DatasetRef, parse_dataset_ref

_MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ResolvedDataset:
    """A dataset with the dataset version that a reference means."""

    dataset: Dataset
    version: DatasetVersion

    @property
    def name(self) -> str:
        """How to call it in messages."""
        return self.dataset.full_name

    @property
    def pinned_name(self) -> str:
        """The name of this very dataset version: another may become the active one meanwhile."""
        return str(self.dataset.ref(self.version.number))


def resolve(tx: Transaction, ref: DatasetRef) -> ResolvedDataset:
    """Return the dataset and dataset version that a reference means.

    Raises:
        DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
    """
    dataset = existing_dataset(tx, ref)
    return ResolvedDataset(dataset, meant_version(tx, dataset, ref.version))


def present(tx: Transaction, target: ResolvedDataset) -> ResolvedDataset:
    """Return a dataset version as it is now, whatever it is called by now.

    Raises:
        DatasetNotFoundError: If it was deleted.
    """
    version, dataset = tx.dataset_versions.get(target.version.id), tx.datasets.get_by_id(target.dataset.id)
    if version is None or dataset is None or dataset.deleted_at is not None:
        raise DatasetNotFoundError(
            f"The dataset {target.name} was deleted.",
            hint=f"Restore it with: cordillera dataset restore {target.name}.",
        )
    return ResolvedDataset(dataset, version)


def meant_version(tx: Transaction, dataset: Dataset, number: int | None = None) -> DatasetVersion:
    """Return the dataset version of a number; without one the active one, else the newest.

    Raises:
        DatasetVersionNotFoundError: If the dataset has none of that number.
    """
    versions = tx.dataset_versions.page(dataset.id)
    if number is not None:
        found = next((v for v in versions if v.number == number), None)
        if found is None:
            raise DatasetVersionNotFoundError(
                f"The dataset {dataset.full_name} has no dataset version {number}.",
                hint=f"It has: {', '.join(str(v.number) for v in versions)}.",
            )
        return found
    return next((v for v in versions if v.lifecycle is Lifecycle.ACTIVE), versions[-1])


def existing_namespace(tx: Transaction, name: str, *, lock: bool = False) -> Namespace:
    """Return a namespace by name, locked until the transaction ends if asked, or raise ``NamespaceNotFoundError``."""
    found = tx.namespaces.get(name, lock=lock)
    if found is None:
        raise NamespaceNotFoundError(
            f"There is no namespace {name!r}.", hint=f"Create it with: cordillera namespace create {name}."
        )
    return found


def existing_dataset(tx: Transaction, ref: DatasetRef, *, lock: bool = False) -> Dataset:
    """Return a dataset by name, locked until the transaction ends if asked, or raise ``DatasetNotFoundError``."""
    found = (tx.datasets.lock if lock else tx.datasets.get)(ref.namespace, ref.name)
    if found is None and ref.version is None and tx.views.get(ref.namespace, ref.name) is not None:
        raise DatasetNotFoundError(f"{ref.full_name} is a view, not a dataset.", hint="Read it in a query, with SQL.")
    if found is None:
        similar = [d.full_name for d in tx.datasets.page(ref.namespace, "", 10)]
        raise DatasetNotFoundError(
            f"There is no dataset {ref.full_name}.",
            hint=f"Datasets in {ref.namespace}: {', '.join(similar)}."
            if similar
            else "List datasets with: cordillera dataset list.",
        )
    return found


def existing_view(tx: Transaction, ref: DatasetRef, *, lock: bool = False) -> View:
    """Return a view by name, locked until the transaction ends if asked, or raise ``ViewNotFoundError``."""
    found = None if ref.version is not None else tx.views.get(ref.namespace, ref.name, lock=lock)
    if found is None:
        similar = [one.full_name for one in tx.views.page(ref.namespace, "", 10)]
        raise ViewNotFoundError(
            f"There is no view {ref}.",
            hint=f"Views in {ref.namespace}: {', '.join(similar)}."
            if similar
            else "List views with: cordillera view list.",
        )
    return found


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
