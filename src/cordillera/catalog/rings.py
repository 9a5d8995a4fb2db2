"""Rings: datasets that by completion rules and jobs wait for one another, and so for ever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cordillera.catalog.lookup import Lookup
from cordillera.errors import AccessDeniedError, NotAllowedError, NotFoundError
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.names import parse_dataset_ref


def check_no_ring(tx: Transaction, lookup: Lookup, dataset: str, upstream: Iterable[str]) -> None:
    """Make sure that a dataset can wait for others: that none of them waits for it.

    Nobody else makes one wait for another until the transaction ends.

    Args:
        tx: The transaction.
        lookup: Knows what whoever acts may be told of.
        dataset: The full name of the dataset that is to wait.
        upstream: The full names of the datasets that it is to wait for.

    Raises:
        NotAllowedError: If one does, with the names of the datasets in the ring.
    """
    tx.lineage.lock()
    waited_for_by = dict.fromkeys(upstream, dataset)
    ahead = list(waited_for_by)
    while ahead:
        name = ahead.pop()
        if name == dataset:
            raise _ring(tx, lookup, dataset, waited_for_by)
        for one in _upstream_of(tx, name):
            if one not in waited_for_by:
                waited_for_by[one] = name
                ahead.append(one)


def _upstream_of(tx: Transaction, name: str) -> Iterator[str]:
    """Yield the full names of the datasets that one waits for: by its completion rules, or by jobs that write it."""
    ref = parse_dataset_ref(name)
    dataset = tx.datasets.get(ref.namespace, ref.name)
    if dataset is None:
        return
    names = [name]
    for version in tx.dataset_versions.page(dataset.id):
        names.append(str(dataset.ref(version.number)))
        if (found := tx.completion_rules.get(version.id)) is not None:
            yield from _full_names(found.rule.upstream)
    for job in tx.jobs.writing(names):
        yield from _full_names(job.inputs)


def _full_names(names: Iterable[str]) -> list[str]:
    return [parse_dataset_ref(name).full_name for name in names]


def _ring(tx: Transaction, lookup: Lookup, dataset: str, waited_for_by: Mapping[str, str]) -> NotAllowedError:
    ring = [dataset, waited_for_by[dataset]]
    while ring[-1] != dataset:
        ring.append(waited_for_by[ring[-1]])
    told = " waits for ".join(_told(tx, lookup, name) for name in reversed(ring))
    return NotAllowedError(
        f"{dataset} would wait for itself, and so for ever: {told}.",
        hint="Leave one of them out, here or where it is waited for.",
    )


def _told(tx: Transaction, lookup: Lookup, name: str) -> str:
    try:
        lookup.resolve(tx, parse_dataset_ref(name), Privilege.DISCOVER)
    except (NotFoundError, AccessDeniedError):
        return "a dataset that you may not see"
    return name
