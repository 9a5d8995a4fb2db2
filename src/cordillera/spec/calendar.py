"""Calendars: which partitions of a unit of time are expected, and which come before and after one another.

A calendar has working days and holidays. A partition is expected if there is a working day in it, or its hour is in
one; so the months of a calendar of weekdays are all the months, and its days the days on which somebody works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

from cordillera.errors import InvalidInputError
from cordillera.spec.completion import CompletionUnit, begin_of, following, label_at, unit_of_time
from cordillera.spec.counting import counted

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MOST_HOLIDAYS = 2000
_LONGEST_PAUSE_DAYS = 366


@dataclass(frozen=True)
class Calendar:
    """The days on which data is expected.

    Attributes:
        workdays: ``mon`` … ``sun``; none stands for all of them.
        holidays: Dates, ``2013-12-25``, on which nothing is expected all the same.
    """

    workdays: tuple[str, ...] = ()
    holidays: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [day for day in self.workdays if day not in WEEKDAYS]
        if unknown:
            raise InvalidInputError(
                f"There is no working day {unknown[0][:20]!r}.", hint=f"Use some of: {', '.join(WEEKDAYS)}."
            )
        if len(self.holidays) > _MOST_HOLIDAYS:
            raise InvalidInputError(f"A calendar has at most {_MOST_HOLIDAYS} holidays, not {len(self.holidays)}.")
        for text in self.holidays:
            try:
                date.fromisoformat(text)
            except ValueError:
                raise InvalidInputError(
                    f"{text[:20]!r} is no date, so no holiday.", hint="Write it like '2013-12-25'."
                ) from None

    def works(self, day: date) -> bool:
        """Tell whether data is expected on a day."""
        return day.weekday() in self._weekdays and day not in self._days_off

    def expects(self, unit: CompletionUnit, label: str) -> bool:
        """Tell whether a partition of a unit of time is expected."""
        return self._expected(unit, begin_of(unit, label))

    def includes(self, label: str) -> bool:
        """Tell whether a partition is expected; what is not cut by time always is."""
        unit = unit_of_time(label)
        return unit is None or self.expects(unit, label)

    def upto(self, unit: CompletionUnit, label: str, count: int) -> list[str]:
        """Return the last ``count`` expected partitions up to one, itself included if expected; oldest first.

        They are fewer where the calendar pauses for more than a year.
        """
        begin, found = begin_of(unit, label), list[str]()
        oldest = begin - timedelta(days=_LONGEST_PAUSE_DAYS)
        while len(found) < count and begin >= oldest:
            if self._expected(unit, begin):
                found.append(label_at(unit, begin))
                oldest = begin - timedelta(days=_LONGEST_PAUSE_DAYS)
            begin = _preceding(unit, begin)
        return found[::-1]

    def until_replaced(self, unit: CompletionUnit, label: str, count: int) -> list[str]:
        """Return the partitions, expected or not, for which one is among the last ``count`` expected ones."""
        begin, found, passed = begin_of(unit, label), list[str](), 0
        if not self._expected(unit, begin):
            return []
        last = begin + timedelta(days=_LONGEST_PAUSE_DAYS)
        while begin <= last:
            if self._expected(unit, begin):
                passed += 1
                last = begin + timedelta(days=_LONGEST_PAUSE_DAYS)
            if passed > count:
                break
            found.append(label_at(unit, begin))
            begin = following(unit, begin)
        return found

    def before(self, unit: CompletionUnit, label: str, count: int) -> list[str]:
        """Return the ``count``-th expected partition before one; none where it pauses for more than a year."""
        found = self.upto(unit, label_at(unit, _preceding(unit, begin_of(unit, label))), count)
        return found[:1] if len(found) == count else []

    def behind(self, unit: CompletionUnit, label: str, count: int) -> list[str]:
        """Return the partitions, expected or not, before which one is the ``count``-th expected."""
        begin, found, passed = begin_of(unit, label), list[str](), 0
        last = begin + timedelta(days=_LONGEST_PAUSE_DAYS)
        while begin <= last and passed <= count:
            if passed == count:
                found.append(label_at(unit, begin))
            if self._expected(unit, begin):
                passed += 1
                last = begin + timedelta(days=_LONGEST_PAUSE_DAYS)
            begin = following(unit, begin)
            if not passed:
                break
        return found

    def since(self, unit: CompletionUnit, label: str) -> list[str]:
        """Return the partitions, expected or not, behind the last expected one before one, itself included.

        There are none where the calendar pauses for more than a year.
        """
        before, end, found = self.before(unit, label, 1), begin_of(unit, label), list[str]()
        moment = following(unit, begin_of(unit, before[0])) if before else following(unit, end)
        while moment <= end:
            found.append(label_at(unit, moment))
            moment = following(unit, moment)
        return found

    def until_expected(self, unit: CompletionUnit, label: str) -> list[str]:
        """Return the partitions since whose last expected one before them one lies: up to the next expected one."""
        moment, found = begin_of(unit, label), list[str]()
        while self.before(unit, label_at(unit, moment), 1):
            found.append(label_at(unit, moment))
            if self._expected(unit, moment):
                break
            moment = following(unit, moment)
        return found

    def between(self, unit: CompletionUnit, begin: datetime, end: datetime) -> Iterator[str]:
        """Yield the expected partitions that begin from one moment on, and before another."""
        moment = begin_of(unit, label_at(unit, begin))
        if moment < begin:
            moment = following(unit, moment)
        while moment < end:
            if self._expected(unit, moment):
                yield label_at(unit, moment)
            moment = following(unit, moment)

    @cached_property
    def _weekdays(self) -> frozenset[int]:
        return frozenset(WEEKDAYS.index(day) for day in self.workdays or WEEKDAYS)

    @cached_property
    def _days_off(self) -> frozenset[date]:
        return frozenset(date.fromisoformat(text) for text in self.holidays)

    def _expected(self, unit: CompletionUnit, begin: datetime) -> bool:
        day, end = begin.date(), (following(unit, begin) - timedelta(microseconds=1)).date()
        while day <= end:
            if self.works(day):
                return True
            day += timedelta(days=1)
        return False


EVERY_DAY = Calendar()


def workdays_of(text: str) -> tuple[str, ...]:
    """Read working days as people write them: ``mon-fri``, ``mon,wed,sat``, or both; a range may go over Sunday.

    Raises:
        InvalidInputError: If a day is not one.
    """
    days: list[str] = []
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        first, _, last = part.partition("-")
        ends = [_weekday(first), _weekday(last or first)]
        days += [WEEKDAYS[(ends[0] + step) % 7] for step in range((ends[1] - ends[0]) % 7 + 1)]
    return tuple(day for day in WEEKDAYS if day in days)


def _weekday(text: str) -> int:
    if text not in WEEKDAYS:
        raise InvalidInputError(f"There is no working day {text[:20]!r}.", hint="Write them like mon-fri,sun.")
    return WEEKDAYS.index(text)


def _preceding(unit: CompletionUnit, begin: datetime) -> datetime:
    return begin_of(unit, label_at(unit, begin - timedelta(microseconds=1)))


def in_words(calendar: Calendar) -> str:
    """Return what is expected as a phrase; empty for every day."""
    days = f"on {', '.join(calendar.workdays)}" if calendar.workdays else ""
    off = f"not on {counted(len(calendar.holidays), 'holiday')}" if calendar.holidays else ""
    return ", ".join(part for part in (days, off) if part)
