"""Deriving completions: counting what changed, and declaring the partitions complete whose conditions hold.

A rule keeps a cursor, the snapshot up to which rows have been counted. Counts, cursor and what is to be looked at move
in one transaction, and so do a completion and the note that its partition has been looked at: wherever a worker is
killed, the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from uuid import UUID

from cordillera.catalog.commit_records import completion_payload, declare
from cordillera.catalog.leases import fenced_write
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.trail import Trail
from cordillera.completion.counting import Count, PartitionCounter, now_in
from cordillera.completion.handlers import calendar_of
from cordillera.context import acting, current
from cordillera.errors import AccessDeniedError, AlreadyExistsError, CommitConflictError, NotFoundError, TerminalError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.completion import Completion, CompletionUnit, begin_of, label_at
from cordillera.spec.completion_rule import PartitionState, Reason, RuleInForce, Verdict, reasons, verdict
from cordillera.spec.event import Topic
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.partition_mapping import MappingKind, PartitionMapping

_AT_ONCE = 200
_MOST_EMPTY = 10_000
"""A watermark that passes more partitions at once, as one does that began with a wrong date, completes only those that
have rows."""
DECLARED_BY = "rule"
"""Who is said to have declared a completion that was derived."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A dataset version with its rule."""

    dataset: Dataset
    version: DatasetVersion
    found: RuleInForce

    @property
    def unit(self) -> CompletionUnit:
        """How it is cut into partitions."""
        return CompletionUnit(self.version.completion_unit)

    def unmet(self, tx: Transaction, lookup: Lookup, states: Sequence[PartitionState]) -> dict[str, list[Reason]]:
        """Return why partitions are not complete by the rule."""
        missing = missing_upstream(tx, lookup, self.found, [state.partition for state in states])
        return {
            state.partition: reasons(
                self.found.rule, self.unit, state, self.found.watermark, missing.get(state.partition, ())
            )
            for state in states
        }


class DerivationService:
    """Follows dataset versions that have a completion rule.

    Args:
        store: Keeps rules and completions.
        lookup: Knows who may know of which dataset.
        counter: Counts rows by partition.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, counter: PartitionCounter, clock: Clock) -> None:
        self._store, self._lookup, self._counter, self._clock = store, lookup, counter, clock

    def derive(self, version_id: UUID) -> None:
        """Count what changed in a dataset version, and declare complete what is.

        Raises:
            TransientError: If a retry may help.
            TerminalError: If the rule cannot be followed; it keeps the reason.
        """
        judged = self._judged(version_id)
        if judged is None:
            return
        if judged.found.cursor_sequence != judged.version.sequence_number:
            with self._noting_problems(judged):
                name, rule = judged.dataset.full_name, judged.found.rule
                count = self._counter.count(name, judged.version, rule, judged.found.cursor_sequence)
            self._advance(judged, count)
        while self._conclude(version_id):
            pass

    def _judged(self, version_id: UUID) -> Judged | None:
        with self._store.read() as tx:
            return judged(tx, version_id)

    # --- counting ------------------------------------------------------------------------------------------------

    def _advance(self, judged: Judged, count: Count) -> None:
        """Add what was counted, and note what is to be looked at."""
        found, version = judged.found, judged.version
        with fenced_write(self._store, self._clock.now()) as tx:
            present = tx.completion_rules.get(version.id, lock=True)
            if present != found:
                raise CommitConflictError(f"The completion rule of {judged.dataset.full_name} was just changed.")
            changes = {change.partition: change for change in count.changes}
            labels = sorted(changes)
            if count.whole:
                tx.completion_rules.restart(version.id)
            known = tx.completion_rules.states(version.id, labels)
            first_time = found.cursor_sequence is None
            complete = tx.completions.latest_of(version.id, labels) if first_time else {}
            states = [known.get(label) or PartitionState(version.id, label) for label in labels]
            changed = [
                state.changed(changes[state.partition].rows, changes[state.partition].totals, sequence)
                for state in states
                for sequence in [0 if state.partition in complete else changes[state.partition].sequence]
            ]
            tx.completion_rules.put_states(changed)
            watermark = self._watermark(tx, judged, count, changed)
            tx.completion_rules.put(
                replace(found, cursor_sequence=version.sequence_number, watermark=watermark, problem="")
            )

    def _watermark(self, tx: Transaction, judged: Judged, count: Count, changed: Iterable[PartitionState]) -> str:
        """Return the watermark, and have the partitions looked at that it has passed, also those without a row."""
        found, unit, rule = judged.found, judged.unit, judged.found.rule
        if rule.lateness is None or count.newest is None:
            return found.watermark
        newest = min(count.newest, now_in(rule, self._clock.now()))
        before = datetime.fromisoformat(found.watermark) if found.watermark else None
        if before is not None and newest <= before:
            return found.watermark
        passed = label_at(unit, newest - rule.lateness)
        if before is None:
            tx.completion_rules.make_due(judged.version.id, "", passed)
            return newest.isoformat()
        first = label_at(unit, before - rule.lateness)
        ahead = rule.calendar.between(unit, begin_of(unit, first), begin_of(unit, passed))
        expected = list(islice(ahead, _MOST_EMPTY + 1))
        expected = expected if len(expected) <= _MOST_EMPTY else []
        known = {state.partition for state in changed} | tx.completion_rules.states(judged.version.id, expected).keys()
        known |= tx.completions.latest_of(judged.version.id, expected).keys()
        empty = [PartitionState(judged.version.id, label) for label in expected if label not in known]
        tx.completion_rules.put_states(empty)
        tx.completion_rules.make_due(judged.version.id, first, passed)
        return newest.isoformat()

    @contextmanager
    def _noting_problems(self, judged: Judged) -> Iterator[None]:
        try:
            yield
        except TerminalError as error:
            with fenced_write(self._store, self._clock.now()) as tx:
                present = tx.completion_rules.get(judged.version.id, lock=True)
                if present == judged.found:
                    tx.completion_rules.put(replace(judged.found, problem=str(error)))
            raise

    # --- concluding ----------------------------------------------------------------------------------------------

    def _conclude(self, version_id: UUID) -> bool:
        """Look at some of the partitions that are due; False if there are none."""
        try:
            with fenced_write(self._store, self._clock.now()) as tx:
                if tx.completion_rules.get(version_id, lock=True) is None:
                    return False
                present, due = judged(tx, version_id), tx.completion_rules.due(version_id, _AT_ONCE)
                if present is None or not due or present.found.cursor_sequence is None:
                    return False
                latest = tx.completions.latest_of(version_id, [state.partition for state in due])
                unmet = present.unmet(tx, self._lookup, due)
                tx.completion_rules.put_states(
                    [self._settled(tx, present, one, latest.get(one.partition), unmet[one.partition]) for one in due]
                )
        except AlreadyExistsError as error:
            raise CommitConflictError(f"Somebody else has just declared the same: {error.message}") from error
        return True

    def _settled(
        self,
        tx: Transaction,
        present: Judged,
        state: PartitionState,
        latest: Completion | None,
        unmet: Sequence[Reason],
    ) -> PartitionState:
        """Declare a partition complete if it is, and return what is known of it then."""
        found = verdict(present.found.rule, state, latest, unmet)
        if found is Verdict.COMPLETE:
            now = self._clock.now()
            as_of = replace(present.version, sequence_number=present.found.cursor_sequence or 0)
            [completion] = declare(tx, as_of, [state.partition], DECLARED_BY, now)
            payload = completion_payload(completion)
            name, trail = present.dataset.full_name, Trail(tx, now, replace(current(), principal=DECLARED_BY))
            trail.event(Topic.PARTITION_COMPLETED, name, present.version.id, payload)
            trail.audit("dataset.complete", "dataset", name, {"completed": state.partition, **payload})
        return replace(state, open=found is Verdict.WAIT, due=False)


def judged(tx: Transaction, version_id: UUID) -> Judged | None:
    """Return a dataset version with its rule; None if either is gone."""
    found, version = tx.completion_rules.get(version_id), tx.dataset_versions.get(version_id)
    dataset = tx.datasets.get_by_id(version.dataset_id) if version else None
    if found is None or version is None or dataset is None or dataset.deleted_at is not None:
        return None
    return Judged(dataset, version, found)


def missing_upstream(
    tx: Transaction, lookup: Lookup, found: RuleInForce, partitions: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Return, for each of some partitions, the upstream datasets and partitions that are not complete.

    A dataset that whoever set the rule may not know of any more is never complete.
    """
    missing: dict[str, list[tuple[str, str]]] = {label: [] for label in partitions}
    for name, mapping in found.rule.mappings.items():
        try:
            with acting(found.on_behalf_of or None):
                version = lookup.resolve(tx, parse_dataset_ref(name), Privilege.DISCOVER).version
        except (NotFoundError, AccessDeniedError):
            for lacking in missing.values():
                lacking.append((name, ""))
            continue
        calendar = calendar_of(tx, version.id)
        needed = {label: mapping.needed(label, calendar, found.rule.calendar) for label in partitions}
        for label, others in missing_partitions(tx, version.id, mapping, needed).items():
            missing[label] += [(name, one) for one in others]
    return missing


def missing_partitions(
    tx: Transaction, version_id: UUID, mapping: PartitionMapping, needed: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """Return, for each of some partitions, those that it needs of an input and that are not complete."""
    if mapping.kind is MappingKind.LATEST:
        lacking = [] if tx.completions.page(version_id, None, 1) else ["latest"]
        return dict.fromkeys(needed, lacking)
    every = sorted({one for some in needed.values() for one in some})
    complete = tx.completions.latest_of(version_id, every)
    return {label: [one for one in some if one not in complete] for label, some in needed.items()}
