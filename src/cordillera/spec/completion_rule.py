"""Completion rules: when partitions of a dataset version are complete, said once instead of for every partition.

A rule names the column that tells a row's partition, and conditions, all of which have to hold: so many rows; what was
announced for the partition is there, rows and control totals; the watermark has passed; partitions of other datasets
are complete. A rule without conditions completes nothing by itself.

Whatever the conditions, a partition that is complete and whose rows then change is restated as soon as they hold again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any
from uuid import UUID

from cordillera.errors import InvalidInputError
from cordillera.spec.calendar import EVERY_DAY, Calendar
from cordillera.spec.calendar import in_words as calendar_in_words
from cordillera.spec.completion import LABEL_FORMATS, Completion, CompletionUnit, begin_of, following
from cordillera.spec.counting import counted
from cordillera.spec.partition_mapping import PartitionMapping, parse_mapping

_MOST_LATENESS = timedelta(days=400)
_MOST_UPSTREAM = 100


@dataclass(frozen=True)
class CompletionRule:
    """When partitions are complete.

    Attributes:
        column: The column that tells the partition of a row: a date, a time, or with unit ``value`` anything that has a
            label. Empty for a dataset version that is complete as a whole.
        timezone: Where days begin and end, for a column that is an instant.
        min_rows: So many rows at least.
        announced: As many rows, and with the same control totals, as were announced for the partition.
        totals: The columns of integers or decimals whose sums are control totals.
        lateness_seconds: The watermark, which is the highest value of ``column`` so far, has passed the partition's end
            by so much.
        upstream: Dataset → the partitions of it that have to be complete; see ``cordillera.spec.partition_mapping``.
        workdays, holidays: When partitions are expected; see ``cordillera.spec.calendar``.
    """

    column: str = ""
    timezone: str = "UTC"
    min_rows: int | None = None
    announced: bool = False
    totals: tuple[str, ...] = ()
    lateness_seconds: int | None = None
    upstream: Mapping[str, str] = field(default_factory=dict)
    workdays: tuple[str, ...] = ()
    holidays: tuple[str, ...] = ()

    @cached_property
    def calendar(self) -> Calendar:
        """When partitions are expected."""
        return Calendar(self.workdays, self.holidays)

    @cached_property
    def mappings(self) -> dict[str, PartitionMapping]:
        """What of each upstream dataset has to be complete."""
        return {dataset: parse_mapping(text) for dataset, text in self.upstream.items()}

    @property
    def lateness(self) -> timedelta | None:
        """How far the watermark has to have passed a partition's end; None if it need not."""
        return None if self.lateness_seconds is None else timedelta(seconds=self.lateness_seconds)

    @property
    def completes(self) -> bool:
        """Whether it has a condition, and so completes partitions by itself."""
        return self.min_rows is not None or self.announced or self.lateness is not None or bool(self.upstream)

    @property
    def plain(self) -> dict[str, Any]:
        """The same, as it is stored and audited: what differs from a rule that says nothing."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != _default(one)}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> CompletionRule:
        """Return the rule of what ``plain`` gave."""
        values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in plain.items()}
        return cls(**values)

    def counts_like(self, other: CompletionRule) -> bool:
        """Tell whether another rule would count the same rows, totals and watermark."""
        return (self.column, self.timezone, self.totals) == (other.column, other.timezone, other.totals)

    def check(self, dataset: str, unit: CompletionUnit) -> None:
        """Make sure that it can be a rule of a dataset version cut into partitions of a unit.

        Raises:
            InvalidInputError: If it cannot.
        """
        _ = self.calendar, self.mappings
        if bool(self.column) == (unit is CompletionUnit.WHOLE):
            problem = (
                f"{dataset} is complete as a whole: no column tells its partitions."
                if self.column
                else f"A completion rule of {dataset} has to name the column that tells the partition of a row."
            )
            raise InvalidInputError(problem, hint="Give column= for units other than whole, and for those only.")
        if unit not in LABEL_FORMATS and (self.lateness is not None or self.workdays or self.holidays):
            raise InvalidInputError(
                f"Partitions of {dataset} are cut by {unit}, not by time: they have no watermark and no calendar.",
                hint="Use min_rows, announced or upstream.",
            )
        counted_on = next((name for name, one in self.mappings.items() if one.workdays), None)
        if counted_on is not None and self.calendar == EVERY_DAY:
            raise InvalidInputError(
                f"The rule of {dataset} counts workdays for {counted_on}, and does not say which days they are.",
                hint="Give workdays or holidays with it.",
            )
        self._check_numbers(dataset)

    def _check_numbers(self, dataset: str) -> None:
        if self.min_rows is not None and not 0 <= self.min_rows < 2**63:
            raise InvalidInputError(f"A partition of {dataset} cannot have {self.min_rows} rows.")
        if self.lateness is not None and not timedelta() <= self.lateness <= _MOST_LATENESS:
            raise InvalidInputError(
                f"A watermark of {dataset} cannot be {self.lateness_seconds} seconds late.",
                hint=f"Use 0 to {int(_MOST_LATENESS.total_seconds())}.",
            )
        if self.totals and not self.announced:
            raise InvalidInputError(
                f"Control totals of {dataset} ({', '.join(self.totals)}) are compared with what was announced.",
                hint="Give announced=True with totals.",
            )
        if len(self.upstream) > _MOST_UPSTREAM:
            raise InvalidInputError(f"A rule names at most {_MOST_UPSTREAM} upstream datasets.")


def _default(one: Field[Any]) -> object:
    return {} if one.default is MISSING else one.default


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule with how far its dataset version has been followed.

    Attributes:
        on_behalf_of: Who has to be allowed to know of the upstream datasets; empty for the lake's operator.
        cursor_sequence: The snapshot up to which rows are counted; None before the first count.
        watermark: The highest value of the column so far, as ISO text in the rule's zone; empty without one.
        problem: Why it cannot be followed at present.
    """

    dataset_version_id: UUID
    rule: CompletionRule
    set_by: str
    set_at: datetime
    on_behalf_of: str = ""
    cursor_sequence: int | None = None
    watermark: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """What is known of a partition that a rule is about.

    Attributes:
        rows, totals: What is there as of the rule's cursor; sums as decimal text.
        changed_sequence: The last snapshot that changed rows of it.
        announced_rows, announced_totals: What will be there; None before it is announced.
        open: Whether it is not complete, or its rows have changed since.
        due: Whether something has happened since its conditions were last looked at.
    """

    dataset_version_id: UUID
    partition: str
    rows: int = 0
    totals: Mapping[str, str] = field(default_factory=dict)
    changed_sequence: int = 0
    announced_rows: int | None = None
    announced_totals: Mapping[str, str] = field(default_factory=dict)
    open: bool = True
    due: bool = True

    def changed(self, rows: int, totals: Mapping[str, Decimal], sequence: int) -> PartitionState:
        """Return the state after a change: so many rows more, and so much more of each total."""
        names = dict.fromkeys((*self.totals, *totals))
        summed = {name: str(Decimal(self.totals.get(name, 0)) + totals.get(name, Decimal())) for name in names}
        latest = max(self.changed_sequence, sequence)
        return replace(self, rows=self.rows + rows, totals=summed, changed_sequence=latest, open=True, due=True)


class Unmet(StrEnum):
    """The kinds of reasons for which a partition is not complete."""

    UNDECLARED = "undeclared"
    UNCOUNTED = "uncounted"
    TOO_FEW_ROWS = "too few rows"
    UNANNOUNCED = "unannounced"
    ANNOUNCED_ROWS = "announced rows"
    ANNOUNCED_TOTALS = "announced totals"
    WATERMARK = "watermark"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a partition is not complete.

    Attributes:
        kind: The condition that does not hold.
        text: In words, with what the rows say.
        dataset, partition: What is waited for, if it is another dataset.
    """

    kind: Unmet
    text: str
    dataset: str = ""
    partition: str = ""


def reasons(
    rule: CompletionRule,
    unit: CompletionUnit,
    state: PartitionState,
    watermark: str,
    missing: Sequence[tuple[str, str]],
) -> list[Reason]:
    """Return why a rule does not call a partition complete; nothing if it does.

    Args:
        rule: The rule.
        unit: How the dataset version is cut.
        state: What is known of the partition.
        watermark: The watermark, as ISO text.
        missing: Upstream datasets and their partitions that are not complete.
    """
    found = []
    if rule.min_rows is not None and state.rows < rule.min_rows:
        text = f"it has {counted(state.rows, 'row')}, at least {rule.min_rows:,} are expected"
        found.append(Reason(Unmet.TOO_FEW_ROWS, text))
    if rule.announced:
        found += _unlike_announced(rule, state)
    if rule.lateness is not None:
        found += _before_watermark(unit, state.partition, rule.lateness, watermark)
    found += [Reason(Unmet.UPSTREAM, f"waiting for {name} {label}".strip(), name, label) for name, label in missing]
    return found


def _unlike_announced(rule: CompletionRule, state: PartitionState) -> list[Reason]:
    if state.announced_rows is None:
        return [Reason(Unmet.UNANNOUNCED, "nobody has announced how many rows there will be")]
    found = []
    if state.rows != state.announced_rows:
        text = f"it has {counted(state.rows, 'row')}, {state.announced_rows:,} were announced"
        found.append(Reason(Unmet.ANNOUNCED_ROWS, text))
    for name in rule.totals:
        there, wanted = Decimal(state.totals.get(name, 0)), state.announced_totals.get(name)
        if wanted is None:
            found.append(Reason(Unmet.UNANNOUNCED, f"nobody has announced the total of {name}"))
        elif there != Decimal(wanted):
            text = f"the total of {name} is {there}, {wanted} was announced"
            found.append(Reason(Unmet.ANNOUNCED_TOTALS, text))
    return found


def _before_watermark(unit: CompletionUnit, label: str, lateness: timedelta, watermark: str) -> list[Reason]:
    needed = following(unit, begin_of(unit, label)) + lateness
    if watermark and datetime.fromisoformat(watermark) >= needed:
        return []
    stands = f"is at {watermark[:19]}" if watermark else "has not begun"
    return [Reason(Unmet.WATERMARK, f"the watermark {stands}, {needed.isoformat()} is needed")]


class Verdict(StrEnum):
    """What is to become of a partition that was looked at."""

    COMPLETE = "complete"
    """It is complete, or complete again."""
    WAIT = "wait"
    SETTLED = "settled"
    """Nothing has changed since it was declared complete."""


def verdict(rule: CompletionRule, state: PartitionState, latest: Completion | None, unmet: Sequence[Reason]) -> Verdict:
    """Return what is to become of a partition.

    Args:
        rule: The rule.
        state: What is known of the partition.
        latest: Its newest completion, whoever declared it.
        unmet: Why the rule would not call it complete.
    """
    if latest is not None and state.changed_sequence <= latest.sequence_number:
        return Verdict.SETTLED
    if unmet or (latest is None and not rule.completes):
        return Verdict.WAIT
    return Verdict.COMPLETE


class PartitionStatus(StrEnum):
    """How a partition stands."""

    COMPLETE = "complete"
    RESTATED = "restated"
    CHANGED = "changed"
    """Complete, but its rows have changed since, and the rule does not hold for them yet."""
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class PartitionExplanation:
    """How a partition stands, and why.

    Attributes:
        status: See ``PartitionStatus``.
        completion: The newest one.
        rows, announced_rows: What is there, as far as it was counted, and what is to be; None where that is not known,
            or not for whoever asks.
        reasons: Why it is not complete, or not complete again.
    """

    dataset: str
    partition: str
    status: PartitionStatus
    completion: Completion | None
    rows: int | None
    announced_rows: int | None
    reasons: tuple[Reason, ...]


_BRIEF = {
    Unmet.TOO_FEW_ROWS: "it has too few rows",
    Unmet.ANNOUNCED_ROWS: "it has not the number of rows that was announced",
    Unmet.ANNOUNCED_TOTALS: "its control totals are not those that were announced",
    Unmet.WATERMARK: "the watermark has not passed its end",
}


def brief(reason: Reason) -> Reason:
    """Return a reason without what rows say, for somebody who may not read them."""
    return replace(reason, text=_BRIEF.get(reason.kind, reason.text))


def in_words(rule: CompletionRule) -> str:
    """Return a rule as a phrase."""
    parts = [
        f"at least {counted(rule.min_rows, 'row')}" if rule.min_rows is not None else "",
        ", ".join(["the rows that were announced", *(f"the total of {name}" for name in rule.totals)])
        if rule.announced
        else "",
        f"watermark of {rule.column} {rule.lateness} past its end" if rule.lateness is not None else "",
        *(f"complete: {name}" + (f" ({text})" if text != "same" else "") for name, text in rule.upstream.items()),
        calendar_in_words(rule.calendar),
    ]
    return "; ".join(part for part in parts if part) or "declared by hand, restated by late rows"


def status_of(completion: Completion | None, *, waits: bool) -> PartitionStatus:
    """Return how a partition stands that has a newest completion, if any, and waits to be complete (again), or not."""
    if completion is None:
        return PartitionStatus.WAITING
    if waits:
        return PartitionStatus.CHANGED
    return PartitionStatus.RESTATED if completion.restated else PartitionStatus.COMPLETE
