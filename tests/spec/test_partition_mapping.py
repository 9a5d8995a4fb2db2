"""Calendars and partition mappings against the plainest way to say the same."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, InvalidPartitionError
from cordillera.spec.calendar import EVERY_DAY, WEEKDAYS, Calendar, in_words, workdays_of
from cordillera.spec.completion import (
    FIRST_YEAR,
    LAST_YEAR,
    CompletionUnit,
    begin_of,
    following,
    label_at,
    partition_label,
)
from cordillera.spec.partition_mapping import MappingKind, PartitionMapping, parse_mapping

DAYS = st.dates(date(2012, 12, 1), date(2013, 3, 1))
CALENDARS = st.builds(
    Calendar,
    st.sets(st.sampled_from(WEEKDAYS), min_size=1).map(tuple),
    st.sets(DAYS.map(str), max_size=6).map(tuple),
)
MAPPINGS = st.sampled_from(
    ["same", "latest", "trailing 1 day", "trailing 7 days", "month of day", "days of month", "week of day",
     "days of week", "hours of day", "day of hour", "hours of month", "trailing 30 hours", "trailing 2 months",
     "trailing 3 weeks", "1 day before", "5 days before", "2 months before", "30 hours before",
     "trailing 3 workdays", "2 workdays before", "days since workday", "first day of month", "last workday of month",
     "last day of week", "last hour of day"]
).map(parse_mapping)  # fmt: skip
MOMENTS = st.datetimes(datetime(2012, 12, 1), datetime(2013, 3, 1))


@pytest.mark.parametrize("moment", [datetime(FIRST_YEAR, 1, 1), datetime(LAST_YEAR, 12, 31, 23)])
@pytest.mark.parametrize("text", ["trailing 400 months", "400 months before", "400 days before", "trailing 400 weeks",
                                  "trailing 9 workdays", "days since workday", "days of month", "month of day",
                                  "last hour of day", "hours of month"])  # fmt: skip
def test_what_is_around_the_first_and_the_last_partitions_can_be_told(text: str, moment: datetime) -> None:
    mapping, sunday = parse_mapping(text), Calendar(("sun",))
    assert mapping.own_unit is not None
    assert mapping.input_unit is not None
    for calendar in (EVERY_DAY, sunday):
        mapping.needed(partition_label(mapping.own_unit, moment, "a.b"), calendar, sunday)
        mapping.served(partition_label(mapping.input_unit, moment, "a.b"), calendar, sunday)


@given(MAPPINGS, MOMENTS, MOMENTS, CALENDARS, CALENDARS)
def test_what_is_needed_and_what_is_served_are_one_relation(
    mapping: PartitionMapping, one: datetime, other: datetime, calendar: Calendar, own_calendar: Calendar
) -> None:
    own_unit = mapping.own_unit or CompletionUnit.DAY
    input_unit = mapping.input_unit or CompletionUnit.DAY
    own, given_ = label_at(own_unit, one), label_at(input_unit, other)
    needed, served = mapping.needed(own, calendar, own_calendar), mapping.served(given_, calendar, own_calendar)
    assert (given_ in needed) == (own in served)
    assert needed == sorted(set(needed))
    assert served == sorted(set(served))


def works(calendar: Calendar, day: date) -> bool:
    return day.strftime("%a").lower() in calendar.workdays and str(day) not in calendar.holidays


@given(DAYS, CALENDARS, st.integers(1, 9))
def test_trailing_days_are_the_last_on_which_somebody_works(day: date, calendar: Calendar, count: int) -> None:
    earlier = (day - timedelta(days=back) for back in range(400))
    expected = [str(one) for one in earlier if works(calendar, one)][:count]
    assert parse_mapping(f"trailing {count} days").needed(str(day), calendar) == expected[::-1]


@given(DAYS, CALENDARS, CALENDARS)
def test_workdays_are_those_of_what_is_made(day: date, calendar: Calendar, own: Calendar) -> None:
    earlier = [day - timedelta(days=back) for back in range(60)]
    working = [str(one) for one in earlier[1:] if works(own, one)]
    month = [date(day.year, day.month, 1) + timedelta(days=number) for number in range(31)]
    within = [str(one) for one in month if one.month == day.month and works(own, one)]
    assert parse_mapping("2 workdays before").needed(str(day), calendar, own) == working[1:2]
    assert parse_mapping("first workday of month").needed(str(day)[:7], calendar, own) == within[:1]
    assert parse_mapping("last workday of month").needed(str(day)[:7], calendar, own) == within[-1:]
    since = [str(one) for one in sorted(earlier) if str(one) > working[0] and works(calendar, one)]
    assert parse_mapping("days since workday").needed(str(day), calendar, own) == since


@given(CALENDARS, CALENDARS)
def test_each_day_of_an_input_falls_to_one_workday(calendar: Calendar, own: Calendar) -> None:
    mapping, days = parse_mapping("days since workday"), [str(date(2013, 1, 1) + timedelta(days=n)) for n in range(40)]
    for day in days:
        workdays = [one for one in mapping.served(day, calendar, own) if own.includes(one)]
        assert len(workdays) == (1 if calendar.includes(day) else 0)


@given(MOMENTS, st.sampled_from(["hour", "day", "week", "month"]))
def test_labels_lie_where_they_say_and_sort_as_time_goes(moment: datetime, name: str) -> None:
    unit = CompletionUnit(name)
    label = label_at(unit, moment)
    begin = begin_of(unit, label)
    assert begin <= moment < following(unit, begin)
    assert label < label_at(unit, following(unit, begin))


@pytest.mark.parametrize(
    ("text", "label", "needed"),
    [
        ("same", "2013-02-09", ["2013-02-09"]),
        ("latest", "2013-02-09", []),
        ("trailing 3 days", "2013-03-01", ["2013-02-27", "2013-02-28", "2013-03-01"]),
        ("month of day", "2013-02-09", ["2013-02"]),
        ("days of month", "2013-02", [f"2013-02-{day:02}" for day in range(1, 29)]),
        ("week of day", "2012-12-31", ["2013-W01"]),
        ("trailing 2 months", "2013-01", ["2012-12", "2013-01"]),
        ("1 day before", "2013-03-01", ["2013-02-28"]),
        ("2 months before", "2013-01", ["2012-11"]),
        ("fixed 2013", "2013-02-09", ["2013"]),
        ("1 workday before", "2013-02-09", ["2013-02-08"]),
        ("trailing 2 workdays", "2013-02-09", ["2013-02-08", "2013-02-09"]),
        ("days since workday", "2013-02-09", ["2013-02-09"]),
        ("first workday of month", "2013-02", ["2013-02-01"]),
        ("last day of month", "2013-02", ["2013-02-28"]),
        ("last hour of day", "2013-02-09", ["2013-02-09T23"]),
    ],
)
def test_mappings_mean_what_they_say(text: str, label: str, needed: list[str]) -> None:
    mapping = parse_mapping(text)
    assert mapping.needed(label) == needed
    assert str(mapping) == text
    assert parse_mapping(text.upper()) == mapping


@pytest.mark.parametrize("text", ["", "yesterday", "trailing 0 days", "trailing 9999 days", "day of month",
                                  "months of day", "month of week", "weeks of month", "day of day",
                                  "0 days before", "1 day after", "fixed", "fixed  ", "last month of day",
                                  "last week of month", "workdays of month"])  # fmt: skip
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no partition mapping"):
        parse_mapping(text)


def test_units_have_to_fit() -> None:
    mapping = parse_mapping("month of day")
    assert mapping.unit_for("a.b", CompletionUnit.MONTH) is CompletionUnit.DAY
    with pytest.raises(InvalidInputError, match="cut by day"):
        mapping.unit_for("a.b", CompletionUnit.DAY)
    assert parse_mapping("latest").unit_for("a.b", CompletionUnit.VALUE) is None
    assert parse_mapping("same").unit_for("a.b", CompletionUnit.VALUE) is CompletionUnit.VALUE
    assert parse_mapping("trailing 1 day").kind is MappingKind.TRAILING


def test_days_before_are_those_on_which_somebody_works() -> None:
    weekdays = Calendar(workdays_of("mon-fri"))
    mapping = parse_mapping("1 day before")
    assert mapping.needed("2013-02-11", weekdays) == ["2013-02-08"]
    assert mapping.served("2013-02-08", weekdays) == ["2013-02-09", "2013-02-10", "2013-02-11"]
    assert mapping.served("2013-02-09", weekdays) == []


def test_a_calendar_of_weekdays_maps_to_one_of_all_days() -> None:
    bank = Calendar(workdays_of("mon-fri"), ("2013-02-11",))
    assert parse_mapping("1 workday before").needed("2013-02-12", EVERY_DAY, bank) == ["2013-02-08"]
    assert parse_mapping("last workday of month").needed("2013-03", EVERY_DAY, bank) == ["2013-03-29"]
    since = parse_mapping("days since workday")
    assert since.needed("2013-02-12", EVERY_DAY, bank) == [f"2013-02-{day:02}" for day in range(9, 13)]
    assert since.served("2013-02-11", EVERY_DAY, bank) == ["2013-02-11", "2013-02-12"]
    assert [bank.includes(label) for label in ("2013-02-11", "2013-02", "EU", "2013-02-09T10")] == [
        False, True, True, False
    ]  # fmt: skip


def test_what_is_standing_is_the_same_for_all() -> None:
    latest, fixed = parse_mapping("latest"), parse_mapping("Fixed  EU West ")
    assert (fixed.label, str(fixed)) == ("EU West", "fixed EU West")
    assert [mapping.standing for mapping in (latest, fixed, parse_mapping("same"))] == [True, True, False]
    assert [latest.concerned_by("x"), fixed.concerned_by("x"), fixed.concerned_by("EU West")] == [True, False, True]
    assert fixed.served("EU West") == []
    assert fixed.unit_for("a.b", CompletionUnit.VALUE) is None
    with pytest.raises(InvalidPartitionError, match="EU West"):
        fixed.unit_for("a.b", CompletionUnit.DAY)


def test_labels_of_another_unit_serve_nobody() -> None:
    for text in ("trailing 2 days", "1 day before", "day of hour", "days of month"):
        assert parse_mapping(text).served("2013-02") == []
        assert parse_mapping(text).needed("EU") == ["EU"]


def test_calendars_are_read_and_checked() -> None:
    assert workdays_of("mon-fri") == WEEKDAYS[:5]
    assert workdays_of("sat-mon, wed") == ("mon", "wed", "sat", "sun")
    calendar = Calendar(workdays_of("mon-fri"), ("2013-12-25",))
    assert not calendar.expects(CompletionUnit.DAY, "2013-12-25")
    assert not calendar.expects(CompletionUnit.HOUR, "2013-12-28T09")
    assert calendar.expects(CompletionUnit.WEEK, "2013-W52")
    assert in_words(calendar) == "on mon, tue, wed, thu, fri, not on 1 holiday"
    assert in_words(EVERY_DAY) == ""
    for bad in ({"workdays": ("montag",)}, {"holidays": ("christmas",)}, {"holidays": ("2013-01-01",) * 2001}):
        with pytest.raises(InvalidInputError):
            Calendar(**bad)
    with pytest.raises(InvalidInputError):
        workdays_of("mon-blue")
