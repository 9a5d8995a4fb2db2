"""Completion rules: setting them, announcing what a partition will hold, and explaining why one is not complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.rings import check_no_ring
from cordillera.catalog.tables import TableService
from cordillera.catalog.trail import Trail
from cordillera.completion.counting import check_columns
from cordillera.completion.derivation import Judged
from cordillera.completion.handlers import enqueue_derivation
from cordillera.context import current
from cordillera.errors import AccessDeniedError, InvalidInputError, NotAllowedError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.completion import CompletionUnit, partition_label
from cordillera.spec.completion_rule import (
    CompletionRule,
    PartitionExplanation,
    PartitionState,
    Reason,
    RuleInForce,
    Unmet,
    brief,
    status_of,
)
from cordillera.spec.names import parse_dataset_ref


class CompletionRuleService:
    """Manages completion rules.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        tables: Knows schemas.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, tables: TableService, clock: Clock) -> None:
        self._store, self._lookup, self._tables, self._clock = store, lookup, tables, clock

    def put(self, dataset: str, rule: CompletionRule) -> RuleInForce:
        """Set the completion rule of a dataset version, in the place of the one it had. Workers follow it from then on.

        Raises:
            InvalidInputError: If the rule cannot be followed on this dataset.
            UnknownColumnError: If it names a column that is not there.
            DatasetNotFoundError: If it names a dataset that is not there.
            AccessDeniedError: If whoever acts may not alter the dataset.
            NotAllowedError: If what it waits for waits for this dataset, by completion rules and jobs.
        """
        now = self._clock.now()
        with self._store.read() as tx:
            target = self._lookup.resolve(tx, parse_dataset_ref(dataset), Privilege.ALTER)
        self._check(target, rule)
        with self._store.write() as tx:
            target = self._lookup.resolve(tx, parse_dataset_ref(dataset), Privilege.ALTER)
            self._check_upstream(tx, target, rule)
            names = [parse_dataset_ref(name).full_name for name in rule.upstream]
            check_no_ring(tx, self._lookup, target.name, names)
            earlier = tx.completion_rules.get(target.version.id, lock=True)
            found = RuleInForce(target.version.id, rule, current().principal, now, current().authority)
            if earlier is not None and earlier.rule.counts_like(rule):
                found = replace(found, cursor_sequence=earlier.cursor_sequence, watermark=earlier.watermark)
                tx.completion_rules.make_due(target.version.id)
            else:
                tx.completion_rules.restart(target.version.id)
            tx.completion_rules.put(found)
            enqueue_derivation(tx, target.version.id, self._clock)
            trail = Trail(tx, now)
            trail.audit("completion_rule.put", "dataset", target.name, rule.plain)
            trail.dataset_changed(target.dataset, target.version, "completion_rule")
        return found

    def get(self, dataset: str) -> RuleInForce | None:
        """Return the completion rule of a dataset version, or None; without what whoever asks may not know."""
        with self._store.read() as tx:
            target = self._lookup.resolve(tx, parse_dataset_ref(dataset), Privilege.DISCOVER)
            found = tx.completion_rules.get(target.version.id)
            return None if found is None else self._shown(tx, target, found)

    def remove(self, dataset: str) -> None:
        """Remove the completion rule of a dataset version; what is complete stays so.

        Raises:
            NotAllowedError: If it has none.
        """
        with self._store.write() as tx:
            target = self._lookup.resolve(tx, parse_dataset_ref(dataset), Privilege.ALTER)
            if not tx.completion_rules.remove(target.version.id):
                raise NotAllowedError(
                    f"{target.name} has no completion rule.", hint=f"See: cordillera completion rule {target.name}."
                )
            trail = Trail(tx, self._clock.now())
            trail.audit("completion_rule.remove", "dataset", target.name, {})
            trail.dataset_changed(target.dataset, target.version, "completion_rule")

    def announce(
        self, dataset: str, partition: str | date, rows: int, totals: Mapping[str, str] | None = None
    ) -> PartitionState:
        """Say how many rows a partition will hold, and what its control totals will be; again replaces it.

        Raises:
            InvalidInputError: If a number is none.
            AccessDeniedError: If whoever acts may not write to the dataset.
        """
        sums = {name: _number(name, text) for name, text in (totals or {}).items()}
        if not 0 <= rows < 2**63:
            raise InvalidInputError(f"A partition cannot have {rows} rows.")
        with self._store.write() as tx:
            target = self._lookup.resolve(tx, parse_dataset_ref(dataset), Privilege.WRITE)
            label = _label(target, partition)
            tx.completion_rules.get(target.version.id, lock=True)
            known = tx.completion_rules.states(target.version.id, [label]).get(label)
            state = known or PartitionState(target.version.id, label)
            state = replace(state, announced_rows=rows, announced_totals=sums, due=True)
            tx.completion_rules.put_states([state])
            enqueue_derivation(tx, target.version.id, self._clock)
            details = {"partition": label, "rows": rows, "totals": sums}
            Trail(tx, self._clock.now()).audit("partition.announce", "dataset", target.name, details)
        return state

    def explain(self, dataset: str, partition: str | date) -> PartitionExplanation:
        """Return how a partition stands, and why it is not complete if it is not."""
        with self._store.read() as tx:
            target = self._lookup.resolve(tx, parse_dataset_ref(dataset), Privilege.DISCOVER)
            label = _label(target, partition)
            completion = tx.completions.latest(target.version.id, label)
            found = tx.completion_rules.get(target.version.id)
            known = tx.completion_rules.states(target.version.id, [label]).get(label)
            state = known or PartitionState(target.version.id, label, open=completion is None)
            unmet: list[Reason] = []
            if found is not None and state.open:
                unmet = Judged(target.dataset, target.version, found).unmet(tx, self._lookup, [state])[label]
            waits = found is not None and state.open
            if completion is None or waits:
                unmet = [*_besides(target, found, completion is None), *unmet]
            may_read = self._may_read(tx, target)
            return PartitionExplanation(
                target.name,
                label,
                status_of(completion, waits=waits),
                completion,
                state.rows if found is not None and may_read else None,
                state.announced_rows if may_read else None,
                tuple(self._told(tx, reason, may_read=may_read) for reason in unmet),
            )

    # --- helpers -------------------------------------------------------------------------------------------------

    def _check(self, target: ResolvedDataset, rule: CompletionRule) -> None:
        unit = CompletionUnit(target.version.completion_unit)
        rule.check(target.name, unit)
        try:
            ZoneInfo(rule.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidInputError(
                f"There is no time zone {rule.timezone[:60]!r}.", hint="Name one like 'Europe/Berlin'."
            ) from None
        check_columns(target.name, self._tables.load(target.version).schema, unit, rule)

    def _check_upstream(self, tx: Transaction, target: ResolvedDataset, rule: CompletionRule) -> None:
        unit = CompletionUnit(target.version.completion_unit)
        for name, mapping in rule.mappings.items():
            upstream = self._lookup.resolve(tx, parse_dataset_ref(name), Privilege.DISCOVER)
            needed = mapping.unit_for(name, CompletionUnit(upstream.version.completion_unit))
            if needed not in (None, unit):
                raise InvalidInputError(
                    f"{target.name} is cut by {unit}, and {str(mapping)!r} of {name} is for what is cut by {needed}.",
                    hint="Use a mapping between the two units, for example: month of day.",
                )

    def _may_read(self, tx: Transaction, target: ResolvedDataset) -> bool:
        return current().operator or Privilege.READ in self._lookup.held(tx, target.dataset)

    def _shown(self, tx: Transaction, target: ResolvedDataset, found: RuleInForce) -> RuleInForce:
        upstream = {name: text for name, text in found.rule.upstream.items() if self._knows(tx, name)}
        shown = replace(found, rule=replace(found.rule, upstream=upstream))
        return shown if self._may_read(tx, target) else replace(shown, watermark="")

    def _told(self, tx: Transaction, reason: Reason, *, may_read: bool) -> Reason:
        if reason.dataset and not self._knows(tx, reason.dataset):
            return Reason(reason.kind, "waiting for a dataset that you may not see")
        return reason if may_read else brief(reason)

    def _knows(self, tx: Transaction, name: str) -> bool:
        try:
            self._lookup.resolve(tx, parse_dataset_ref(name), Privilege.DISCOVER)
        except (NotFoundError, AccessDeniedError):
            return False
        return True


def _label(target: ResolvedDataset, partition: str | date) -> str:
    return partition_label(CompletionUnit(target.version.completion_unit), partition, target.name)


def _besides(target: ResolvedDataset, found: RuleInForce | None, undeclared: bool) -> list[Reason]:
    """Return the reasons that lie not in a rule's conditions."""
    if found is None or (undeclared and not found.rule.completes):
        return [Reason(Unmet.UNDECLARED, "nobody has declared it complete, and no rule does")]
    if found.problem:
        return [Reason(Unmet.UNCOUNTED, f"its completion rule cannot be followed: {found.problem}")]
    if found.cursor_sequence != target.version.sequence_number:
        text = f"the rows of snapshot {target.version.sequence_number} have not been counted yet"
        return [Reason(Unmet.UNCOUNTED, text)]
    return []


def _number(name: str, text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise InvalidInputError(
            f"{text[:60]!r} is no control total of {name[:60]}.", hint="Write a number, for example 1024.50."
        )
    return str(number)
