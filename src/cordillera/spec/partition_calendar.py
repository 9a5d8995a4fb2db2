"""Calendars of partitions: a month of days or hours, a year of weeks or months, in rows as people read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from cordillera.errors import InvalidPartitionError
from cordillera.spec.completion import CompletionUnit, begin_of, following, label_at

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKS_IN_A_ROW = 13
_YEARLY = frozenset({CompletionUnit.WEEK, CompletionUnit.MONTH})
_FIRST_YEAR, _LAST_YEAR = 1000, 9998


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """A row of a calendar.

    Attributes:
        head: What stands before it; may be empty.
        labels: The partitions, in the columns; an empty label where there is none.
    """

    head: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalendarPage:
    """A page of a calendar.

    Attributes:
        period: The month (``2013-02``) or the year (``2013``).
        previous, following: Those of the pages before and behind; empty where the calendar ends.
        columns: What stands above the columns.
    """

    period: str
    previous: str
    following: str
    columns: tuple[str, ...]
    rows: tuple[CalendarRow, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All partitions on the page, in their order."""
        return tuple(label for row in self.rows for label in row.labels if label)


def period_of(unit: CompletionUnit, label: str) -> str:
    """Return the period of the page that a partition of a unit of time is on."""
    return label[:4] if unit in _YEARLY else label[:7]


def calendar_page(unit: CompletionUnit, period: str) -> CalendarPage:
    """Return a page of the calendar of a unit of time.

    Raises:
        InvalidPartitionError: If the period is none.
    """
    first = _first_day(unit, period)
    before, behind = first - timedelta(days=1), first + timedelta(days=366 if unit in _YEARLY else 31)
    return CalendarPage(
        period,
        _period_at(unit, before) if before.year >= _FIRST_YEAR else "",
        _period_at(unit, behind) if behind.year <= _LAST_YEAR else "",
        _columns(unit),
        tuple(_rows(unit, first)),
    )


def _first_day(unit: CompletionUnit, period: str) -> datetime:
    try:
        first = begin_of(CompletionUnit.MONTH, f"{period}-01" if unit in _YEARLY else period)
        if not _FIRST_YEAR <= first.year <= _LAST_YEAR:
            raise ValueError(period)
    except ValueError:
        example = "2013" if unit in _YEARLY else "2013-02"
        raise InvalidPartitionError(
            f"{period[:20]!r} is no page of this calendar.", hint=f"Write it like {example}."
        ) from None
    return first


def _period_at(unit: CompletionUnit, day: datetime) -> str:
    return period_of(unit, label_at(CompletionUnit.DAY, day))


def _columns(unit: CompletionUnit) -> tuple[str, ...]:
    match unit:
        case CompletionUnit.HOUR:
            return tuple(f"{hour:02}" for hour in range(24))
        case CompletionUnit.DAY:
            return _WEEKDAYS
        case CompletionUnit.MONTH:
            return _MONTHS
        case _:
            return ("",) * _WEEKS_IN_A_ROW


def _rows(unit: CompletionUnit, first: datetime) -> list[CalendarRow]:
    if unit is CompletionUnit.MONTH:
        return [CalendarRow("", tuple(f"{first.year:04}-{month:02}" for month in range(1, 13)))]
    if unit is CompletionUnit.WEEK:
        weeks = _weeks_of(first.year)
        parts = (weeks[start : start + _WEEKS_IN_A_ROW] for start in range(0, len(weeks), _WEEKS_IN_A_ROW))
        return [CalendarRow("", tuple(part)) for part in parts]
    days = _days_of(first)
    if unit is CompletionUnit.HOUR:
        return [CalendarRow(day, tuple(f"{day}T{hour:02}" for hour in range(24))) for day in days]
    cells = [*[""] * first.weekday(), *days]
    cells += [""] * (-len(cells) % 7)
    return [CalendarRow("", tuple(cells[start : start + 7])) for start in range(0, len(cells), 7)]


def _days_of(first: datetime) -> list[str]:
    days, day, end = [], first, following(CompletionUnit.MONTH, first)
    while day < end:
        days.append(label_at(CompletionUnit.DAY, day))
        day += timedelta(days=1)
    return days


def _weeks_of(year: int) -> list[str]:
    """Return the weeks of a year as ISO 8601 counts them: the first has the fourth of January."""
    last = date(year, 12, 28).isocalendar().week  # that day is always in the last one
    return [f"{year:04}-W{number:02}" for number in range(1, last + 1)]
