"""Where rows may be kept: what a dataset's policy tag ``residency`` says of targets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from cordillera.catalog.trail import Trail
from cordillera.errors import NotAllowedError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.catalog import Dataset
from cordillera.spec.names import enclosing_names
from cordillera.spec.residency import RESIDENCY, residency_of, violated


class ResidencyRules:
    """Refuses targets that keep their data where a dataset's must not be, and has it in the audit log.

    Args:
        store: Keeps the audit log.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def check(
        self, tx: Transaction, dataset: Dataset, target: str, columns: Callable[[], Mapping[str, Collection[str]]]
    ) -> None:
        """Make sure that columns of a dataset may be kept in a target.

        Args:
            tx: Tells what holds; opened for reading, as a refusal is noted in a transaction of its own.
            dataset: Whose columns.
            target: The target's name.
            columns: Tells their names, each with every name that the column has had, if there are rules: ``names_had``.

        Raises:
            NotAllowedError: If the policy tag ``residency`` of the dataset, or of one of the columns, does not name the
                target's residency.
        """
        tags = _tags(tx, dataset)
        if not any(tags):  # wherever the target keeps its data, it may
            return
        found = tx.targets.get(target)
        kept_in = residency_of(found.config) if found is not None else ""
        rule = violated(tags, kept_in, columns())
        if rule is None:
            return
        details = {"target": target, "target_residency": kept_in, "residency": rule.allowed, "column": rule.column}
        with self._store.write() as noting:
            Trail(noting, self._clock.now()).audit("subscription.refuse", "dataset", dataset.full_name, details)
        what = f"the column {rule.column!r} of {dataset.full_name}" if rule.column else dataset.full_name
        where = f"keeps its data in {kept_in!r}" if kept_in else "does not say where it keeps its data"
        raise NotAllowedError(
            f"The policy tag {RESIDENCY} of {what} allows for {rule.allowed!r} only; the target {target} {where}.",
            hint=f"Choose a target with such a {RESIDENCY}, or ask who administers the dataset.",
        )


def _tags(tx: Transaction, dataset: Dataset) -> tuple[str, dict[str, str]]:
    """Return the dataset's residency and that of columns which have one of their own."""
    if not tx.policy_tags.any_named(RESIDENCY, dataset.id, enclosing_names(dataset.namespace)):
        return "", {}  # as it nearly always is
    around = tx.namespaces.with_parents(dataset.namespace)
    tags = tx.policy_tags.effective((dataset.id, *(one.id for one in around)))
    columns = {name: own[RESIDENCY] for name, own in tags.columns.items() if RESIDENCY in own}
    return tags.dataset.get(RESIDENCY, ""), columns
