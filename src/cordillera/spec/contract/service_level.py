"""Reading ``slaProperties`` (ODCS, "Service-Level Agreement"): frequency, time of availability, latency, retention, and
the end of support, with which the other promises end, and the end of life, until which it can be read.

Of several entries for the same property, the first one acts; the others, and every other property, are documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from cordillera.spec.contract.document import Node
from cordillera.spec.contract.model import Availability, Period, PeriodUnit, ServiceLevel
from cordillera.spec.contract.rules import RuleBook

_KEYS = (
    "id",
    "property",
    "value",
    "valueExt",
    "unit",
    "element",
    "driver",
    "description",
    "scheduler",
    "schedule",
)
_PROPERTIES = {
    **dict.fromkeys(("frequency", "fy"), "frequency"),
    **dict.fromkeys(("latency", "ly"), "latency"),
    **dict.fromkeys(("retention", "re"), "retention"),
    "timeofavailability": "availability",
    **dict.fromkeys(("endofsupport", "es"), "end"),
    **dict.fromkeys(("endoflife", "el"), "end_of_life"),
}
_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), PeriodUnit.SECOND),
    **dict.fromkeys(("min", "minute", "minutes"), PeriodUnit.MINUTE),
    **dict.fromkeys(("h", "hr", "hour", "hours"), PeriodUnit.HOUR),
    **dict.fromkeys(("d", "day", "days"), PeriodUnit.DAY),
    **dict.fromkeys(("w", "wk", "week", "weeks"), PeriodUnit.WEEK),
    **dict.fromkeys(("mo", "month", "months"), PeriodUnit.MONTH),
    **dict.fromkeys(("y", "yr", "year", "years"), PeriodUnit.YEAR),
}
_AVAILABILITY = re.compile(
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?P<offset>Z|[+-][0-9]{2}:[0-9]{2})?( (?P<zone>\S+))?"
)


def read_service_level(book: RuleBook, nodes: Sequence[Node], object_name: str) -> ServiceLevel:
    """Read the entries that are about the object; entries without an element are about all objects.

    Raises:
        InvalidContractError: If an entry that acts cannot be understood.
    """
    found: dict[str, Period | Availability | date] = {}
    for node in nodes:
        book.leave_out_unknown(node, _KEYS)
        stated = node.required_text("property")
        name = promise_of(node)
        if not _concerns(node, object_name):
            continue
        if name is None:
            book.leave_out(node.path, f"the service level {stated[:40]!r} is documentation")
        elif name in found:
            book.leave_out(node.path, f"an earlier entry for {stated!r} acts")
        else:
            found[name] = _READERS.get(name, _period)(node)
    return ServiceLevel(**found)  # type: ignore[arg-type]  # the names above are its attributes, with values of their types


def promise_of(node: Node) -> str | None:
    """Return which promise an entry states, by its name in ``ServiceLevel``; None if nothing acts on it."""
    return _PROPERTIES.get(node.required_text("property").lower())


def _concerns(node: Node, object_name: str) -> bool:
    elements = [element.strip() for element in node.text_at("element").split(",") if element.strip()]
    objects = {element.partition(".")[0] for element in elements if "." in element}
    return not objects or object_name in objects


def _period(node: Node) -> Period:
    value, unit = node.get("value"), node.get("unit")
    if value is None:
        raise node.problem("value is missing.", "Write for example value: 1 and unit: d.")
    amount = value.number()
    if amount <= 0:
        raise value.problem(f"{amount} is not greater than 0.")
    if unit is None or unit.text().lower() not in _UNITS:
        what = f"{unit.text()[:40]!r} is not a unit of time" if unit else "unit is missing"
        raise (unit or node).problem(f"{what}.", "Use s, min, h, d, w, mo or y.")
    return Period(amount, _UNITS[unit.text().lower()])


def _availability(node: Node) -> Availability:
    value = node.get("value")
    form = _AVAILABILITY.fullmatch(value.text()) if value else None
    if value is None or form is None or (form["offset"] and form["zone"]):
        raise (value or node).problem(
            "it is not a time of day.",
            "Write for example '06:00 America/New_York', '09:00-08:00' or '07:30Z'.",
        )
    offset = "" if form["offset"] in (None, "Z", "+00:00") else form["offset"]
    zone = form["zone"] or offset or "UTC"
    try:
        at = time(int(form["hour"]), int(form["minute"]))
        if offset:
            time.fromisoformat(f"00:00{offset}")
        else:
            ZoneInfo(zone)
    except (ValueError, OSError, KeyError) as error:
        raise value.problem(f"{value.text()[:60]!r} is not a time of day in a known time zone.") from error
    return Availability(at, zone, _days_after(node))


def _end(node: Node) -> date:
    value = node.get("value")
    text = value.text() if value else ""
    try:
        return date.fromisoformat(text) if len(text) <= len("2013-12-31") else datetime.fromisoformat(text)
    except ValueError as error:
        raise (value or node).problem(
            "it is neither a date nor a time.", "Write for example '2013-12-31' or '2013-12-31T17:00:00-05:00'."
        ) from error


def _days_after(node: Node) -> int:
    extended = node.get("valueExt")
    unit = node.get("unit")
    if extended is None:
        return 1
    if unit is None or _UNITS.get(unit.text().lower()) != PeriodUnit.DAY:
        raise (unit or node).problem("valueExt counts days after the partition's last day.", "Set unit: d.")
    return extended.integer(minimum=0)


_READERS: dict[str, Callable[[Node], Availability | date]] = {
    "availability": _availability,
    "end": _end,
    "end_of_life": _end,
}
