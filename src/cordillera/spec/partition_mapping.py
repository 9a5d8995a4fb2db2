"""Partition mappings: which partitions of an input one partition of what is made from it needs.

same                the partition of the same label
trailing 7 days     the last seven that are expected, up to the one of the same label
2 days before       the second one that is expected before the one of the same label
month of day        the larger one that the partition lies in
days of month       all smaller ones that are expected within it
first day of month  the first one within it that is expected; likewise the last
latest              whichever is complete and has the highest label
fixed all           the one of that label, for every partition

The last two are standing: every partition needs the same, so that a new one starts nothing by itself.

What is expected, the calendar of the input says. ``workday`` in the place of ``day`` counts the days of the calendar of
what is made instead (``1 workday before``, ``trailing 5 workdays``, ``last workday of month``), and what runs on
workdays only finds all that has come in between with

days since workday  all days that are expected of the input, behind the workday before

What a partition needs, and which partitions need a given one, are two views of one relation: ``served`` finds the
partitions that ``needed`` would have named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from cordillera.errors import InvalidInputError
from cordillera.spec.calendar import EVERY_DAY, Calendar
from cordillera.spec.completion import (
    CompletionUnit,
    begin_of,
    following,
    is_label,
    label_at,
    partition_label,
)

_MOST = 400
_HINT = (
    "Use: same, latest, fixed LABEL, trailing N days, N days before, month of day, days of month or last day of month "
    "(with hours, days, weeks, months, workdays), days since workday."
)
_UNIT, _WORKDAY = "hour|day|week|month", "workday"
_TRAILING = re.compile(rf"trailing ([1-9][0-9]{{0,3}}) ({_UNIT}|{_WORKDAY})s?")
_BEFORE = re.compile(rf"([1-9][0-9]{{0,3}}) ({_UNIT}|{_WORKDAY})s? before")
_EDGE = re.compile(rf"(first|last) ({_UNIT}|{_WORKDAY}) of ({_UNIT})")
_SINCE = "days since workday"
_FIXED = re.compile(r"\s*fixed\s+(\S.*?)\s*", re.IGNORECASE)
_CONTAINING = re.compile(rf"({_UNIT}) of ({_UNIT})")
_WITHIN = re.compile(rf"({_UNIT})s of ({_UNIT})")
_NESTED = {
    CompletionUnit.DAY: {CompletionUnit.HOUR},
    CompletionUnit.WEEK: {CompletionUnit.HOUR, CompletionUnit.DAY},
    CompletionUnit.MONTH: {CompletionUnit.HOUR, CompletionUnit.DAY},
}
"""What lies within one partition of a unit as a whole; weeks do not lie within months."""


class MappingKind(StrEnum):
    """How partitions belong together."""

    SAME = "same"
    TRAILING = "trailing"
    BEFORE = "before"
    LATEST = "latest"
    FIXED = "fixed"
    CONTAINING = "containing"
    WITHIN = "within"
    FIRST = "first"
    LAST = "last"
    SINCE = "since"


@dataclass(frozen=True, slots=True)
class PartitionMapping:
    """Which partitions of an input are needed.

    Attributes:
        kind: How they belong together.
        count: How many are trailing, or how far before it is.
        input_unit: The unit that the input has to have; None where any will do.
        own_unit: The unit of what is made from it; None for that of the input.
        label: The one that is fixed.
        workdays: Whether days are counted on the calendar of what is made from it, not on that of the input.
    """

    kind: MappingKind = MappingKind.SAME
    count: int = 1
    input_unit: CompletionUnit | None = None
    own_unit: CompletionUnit | None = None
    label: str = ""
    workdays: bool = False

    @property
    def standing(self) -> bool:
        """Whether every partition needs the same."""
        return self.kind in (MappingKind.LATEST, MappingKind.FIXED)

    def unit_for(self, dataset: str, input_unit: CompletionUnit) -> CompletionUnit | None:
        """Return the unit of what is made from an input; None where the input does not tell.

        Raises:
            InvalidInputError: If the input is cut into partitions of another unit than the mapping names.
            InvalidPartitionError: If it has no partition of the fixed label.
        """
        if self.kind is MappingKind.FIXED:
            partition_label(input_unit, self.label, dataset)
        if self.input_unit is not None and self.input_unit is not input_unit:
            raise InvalidInputError(
                f"The mapping {str(self)!r} is for an input cut by {self.input_unit}, and {dataset} is cut by "
                f"{input_unit}.",
                hint=_HINT,
            )
        return None if self.standing else self.own_unit or input_unit

    def needed(self, label: str, calendar: Calendar = EVERY_DAY, own: Calendar = EVERY_DAY) -> list[str]:
        """Return the partitions of the input that a partition needs, oldest first; none for ``latest``.

        Args:
            label: The partition of what is made. One of another unit, as there is when something is cut differently by
                now, needs what is called the same, which no input of the mapping's unit has.
            calendar: What is expected of the input.
            own: What is expected of what is made.
        """
        if self.own_unit is not None and not is_label(self.own_unit, label):
            return [label]
        counting = own if self.workdays else calendar
        match self.kind:
            case MappingKind.SAME:
                return [label]
            case MappingKind.TRAILING:
                return counting.upto(self._input_unit, label, self.count)
            case MappingKind.BEFORE:
                return counting.before(self._input_unit, label, self.count)
            case MappingKind.SINCE:
                days = own.since(self._input_unit, label)
                return [day for day in days if calendar.expects(self._input_unit, day)]
            case MappingKind.CONTAINING:
                return [label_at(self._input_unit, begin_of(self._own_unit, label))]
            case MappingKind.WITHIN:
                return self._within(label, calendar)
            case MappingKind.FIRST:
                return self._within(label, counting)[:1]
            case MappingKind.LAST:
                return self._within(label, counting)[-1:]
            case MappingKind.FIXED:
                return [self.label]
            case MappingKind.LATEST:
                return []

    def served(self, label: str, calendar: Calendar = EVERY_DAY, own: Calendar = EVERY_DAY) -> list[str]:
        """Return the partitions that need a partition of the input, whether they are expected or not.

        None where it is standing, and so needed by all or by none; and none for the label of another unit, which a
        dataset version that is cut differently may have.
        """
        if self.input_unit is not None and not is_label(self.input_unit, label):
            return []
        counting = own if self.workdays else calendar
        match self.kind:
            case MappingKind.SAME:
                return [label]
            case MappingKind.BEFORE:
                return counting.behind(self._input_unit, label, self.count)
            case MappingKind.TRAILING:
                return counting.until_replaced(self._input_unit, label, self.count)
            case MappingKind.SINCE:
                expected = calendar.expects(self._input_unit, label)
                return own.until_expected(self._input_unit, label) if expected else []
            case MappingKind.CONTAINING:
                begin = begin_of(self._input_unit, label)
                return list(EVERY_DAY.between(self._own_unit, begin, following(self._input_unit, begin)))
            case MappingKind.WITHIN:
                expected = calendar.expects(self._input_unit, label)
                return [label_at(self._own_unit, begin_of(self._input_unit, label))] if expected else []
            case MappingKind.FIRST | MappingKind.LAST:
                around = label_at(self._own_unit, begin_of(self._input_unit, label))
                return [around] if self.needed(around, calendar, own) == [label] else []
            case MappingKind.LATEST | MappingKind.FIXED:
                return []

    def concerned_by(self, label: str) -> bool:
        """Tell whether what is standing changes with a partition of the input."""
        return self.kind is MappingKind.LATEST or (self.kind is MappingKind.FIXED and label == self.label)

    def _within(self, label: str, calendar: Calendar) -> list[str]:
        begin = begin_of(self._own_unit, label)
        return list(calendar.between(self._input_unit, begin, following(self._own_unit, begin)))

    @property
    def _input_unit(self) -> CompletionUnit:
        assert self.input_unit is not None, "only the same and what is standing go with any unit"
        return self.input_unit

    @property
    def _own_unit(self) -> CompletionUnit:
        assert self.own_unit is not None, "a mapping between units names both"
        return self.own_unit

    def __str__(self) -> str:
        unit = _WORKDAY if self.workdays else self.input_unit
        match self.kind:
            case MappingKind.TRAILING:
                return f"trailing {self.count} {unit}{'s' if self.count > 1 else ''}"
            case MappingKind.BEFORE:
                return f"{self.count} {unit}{'s' if self.count > 1 else ''} before"
            case MappingKind.FIRST | MappingKind.LAST:
                return f"{self.kind} {unit} of {self.own_unit}"
            case MappingKind.SINCE:
                return _SINCE
            case MappingKind.FIXED:
                return f"fixed {self.label}"
            case MappingKind.CONTAINING:
                return f"{self.input_unit} of {self.own_unit}"
            case MappingKind.WITHIN:
                return f"{self.input_unit}s of {self.own_unit}"
            case _:
                return self.kind.value


SAME = PartitionMapping()


def parse_mapping(text: str) -> PartitionMapping:
    """Read a mapping as people write it.

    Raises:
        InvalidInputError: If it is none.
    """
    words = " ".join(text.lower().split())
    if words in (MappingKind.SAME, MappingKind.LATEST):
        return PartitionMapping(MappingKind(words))
    if words == _SINCE:
        return PartitionMapping(MappingKind.SINCE, 1, CompletionUnit.DAY, CompletionUnit.DAY, workdays=True)
    if found := _FIXED.fullmatch(text):
        return PartitionMapping(MappingKind.FIXED, label=found[1])
    for kind, pattern in ((MappingKind.TRAILING, _TRAILING), (MappingKind.BEFORE, _BEFORE)):
        if (found := pattern.fullmatch(words)) and int(found[1]) <= _MOST:
            unit = _counted_unit(found[2])
            return PartitionMapping(kind, int(found[1]), unit, unit, workdays=found[2] == _WORKDAY)
    for kind, pattern in ((MappingKind.CONTAINING, _CONTAINING), (MappingKind.WITHIN, _WITHIN)):
        if found := pattern.fullmatch(words):
            units = CompletionUnit(found[1]), CompletionUnit(found[2])
            outer, inner = units if kind is MappingKind.CONTAINING else units[::-1]
            if inner in _NESTED.get(outer, ()):
                return PartitionMapping(kind, 1, *units)
    if found := _EDGE.fullmatch(words):
        inner, outer = _counted_unit(found[2]), CompletionUnit(found[3])
        if inner in _NESTED.get(outer, ()):
            return PartitionMapping(MappingKind(found[1]), 1, inner, outer, workdays=found[2] == _WORKDAY)
    raise InvalidInputError(f"{text[:60]!r} is no partition mapping.", hint=_HINT)


def _counted_unit(word: str) -> CompletionUnit:
    return CompletionUnit.DAY if word == _WORKDAY else CompletionUnit(word)
