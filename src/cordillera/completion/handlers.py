"""What the completion domain does when something happens: it has rules looked at that what happened concerns."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.calendar import EVERY_DAY, Calendar
from cordillera.spec.completion_rule import PartitionState, RuleInForce
from cordillera.spec.event import Event
from cordillera.spec.names import parse_dataset_ref

DERIVE = "derive"


def on_rows_changed(tx: Transaction, event: Event, clock: Clock) -> None:
    """Have the partitions counted that a commit has changed, whatever engine made it."""
    if event.dataset_version_id is not None and tx.completion_rules.get(event.dataset_version_id) is not None:
        enqueue_derivation(tx, event.dataset_version_id, clock, trace_id=event.trace_id)


def on_upstreams_completed(tx: Transaction, events: Sequence[Event], clock: Clock) -> None:
    """Have the partitions looked at that may have waited for some of other datasets."""
    completed: dict[str, list[Event]] = {}
    for event in events:
        completed.setdefault(event.dataset, []).append(event)
    for version_id, dataset in tx.completion_rules.following(list(completed)):
        found = tx.completion_rules.get(version_id, lock=True)
        if found is None:
            continue
        for event in completed[dataset]:
            _make_due(tx, found, event)
        enqueue_derivation(tx, version_id, clock, trace_id=completed[dataset][0].trace_id)


def _make_due(tx: Transaction, found: RuleInForce, event: Event) -> None:
    calendar, own = calendar_of(tx, event.dataset_version_id), found.rule.calendar
    for name, mapping in found.rule.mappings.items():
        if parse_dataset_ref(name).full_name != event.dataset:
            continue
        label = str(event.payload["partition"])
        if mapping.concerned_by(label):
            tx.completion_rules.make_due(found.dataset_version_id)
        labels = mapping.served(label, calendar, own)
        known = tx.completion_rules.states(found.dataset_version_id, labels)
        complete = tx.completions.latest_of(found.dataset_version_id, labels)
        tx.completion_rules.put_states(
            [
                PartitionState(found.dataset_version_id, label)
                for label in labels
                if label not in known and label not in complete and own.includes(label)
            ]
        )
        for label, state in known.items():
            if state.open:
                tx.completion_rules.make_due(found.dataset_version_id, label, f"{label}\0")


def calendar_of(tx: Transaction, version_id: UUID | None) -> Calendar:
    """Return when partitions of a dataset version are expected; every day where no rule says otherwise."""
    found = tx.completion_rules.get(version_id) if version_id is not None else None
    return EVERY_DAY if found is None else found.rule.calendar


def enqueue_derivation(tx: Transaction, version_id: UUID, clock: Clock, trace_id: str = "") -> None:
    """Enqueue a look at what a rule is about, unless one waits already."""
    payload = {"dataset_version_id": str(version_id)}
    tx.tasks.enqueue(clock.new_id(), DERIVE, str(version_id), payload, now=clock.now(), trace_id=trace_id)
