"""Showing results on stdout as a table, JSON or CSV.

JSON is the whole object under its field names, and stable; a list is an array with one element a line, written as
its pages arrive. A table and CSV have the columns of a ``View``.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cordillera.cli.session import OutputFormat, current_session
from cordillera.cli.terminal import announce, print_rich

if TYPE_CHECKING:
    from rich.table import Table

_ROWS_A_TABLE = 1000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

View = Mapping[str, str | Callable[[Any], Any]]
"""Column → the attribute path it shows, or a function of the object."""


@dataclass(frozen=True, slots=True)
class Part:
    """A list that belongs to an object and is shown below it in a table."""

    title: str
    items: Sequence[Any]
    view: View


def show(item: Any, view: View, parts: Sequence[Part] = ()) -> None:
    """Show one object; ``parts`` are shown with it as a table, while JSON has everything anyway."""
    match current_session().output:
        case OutputFormat.JSON:
            print(to_json(item, indent=True))
        case OutputFormat.CSV:
            _write_csv([item], view)
        case OutputFormat.TABLE:
            print_rich(_record(item, view))
            for part in parts:
                if part.items:
                    print_rich(f"\n{printable(part.title)}")
                    print_rich(_table(part.items, part.view))


def show_list(items: Iterable[Any], view: View, *, none: str) -> None:
    """Show objects; ``none`` is said on stderr when there are none."""
    found = iter(items)
    first = next(found, None)
    if first is None:
        announce(none)
    everything = chain([first], found) if first is not None else found
    match current_session().output:
        case OutputFormat.JSON:
            show_json_array(to_json(item) for item in everything)
        case OutputFormat.CSV:
            _write_csv(everything, view)
        case OutputFormat.TABLE:
            while page := list(islice(everything, _ROWS_A_TABLE)):
                print_rich(_table(page, view))


def show_line(item: Any, view: View) -> None:
    """Show an object on a line of its own, at once: others follow some time later."""
    if current_session().output is OutputFormat.JSON:
        print(to_json(item), flush=True)
    else:
        print("  ".join(filter(None, (printable(getter(item)) for getter in _getters(view)))), flush=True)


def show_outcome(message: str, item: Any, view: View, *, answer: str = "") -> None:
    """Show what a change led to: a message on stderr, and on stdout the object, or as a table only ``answer``."""
    announce(message)
    if current_session().output is not OutputFormat.TABLE:
        show(item, view)
    elif answer:
        print(answer)


def show_text(text: str, item: Any) -> None:
    """Show a document: as it is, or inside ``item`` as JSON."""
    if current_session().output is OutputFormat.JSON:
        print(to_json(item, indent=True))
    else:
        sys.stdout.write(text if text.endswith("\n") or not sys.stdout.isatty() else text + "\n")


def show_json_array(elements: Iterable[str]) -> None:
    """Write an array of JSON texts, one element a line."""
    sys.stdout.write("[")
    for number, element in enumerate(elements):
        sys.stdout.write(",\n" if number else "\n")
        sys.stdout.write(element)
    sys.stdout.write("\n]\n")


def to_json(value: Any, *, indent: bool = False) -> str:
    """Return a value as JSON, dataclasses under their field names."""
    import orjson

    from cordillera.codec import to_plain

    return orjson.dumps(to_plain(value), option=orjson.OPT_INDENT_2 if indent else 0).decode()


def printable(value: Any) -> str:
    """Return a value as a cell of a table, without control characters, which could steer the terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _cell(value))


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}Z"
        case Mapping():
            return ", ".join(f"{key}={_cell(one)}" for key, one in value.items())
        case tuple() | list():
            return ", ".join(_cell(one) for one in value)
        case _:
            return str(value)


def number(path: str) -> Callable[[Any], str | None]:
    """Return what shows a number that names something, such as a sequence number, without thousands separators."""
    getter = attrgetter(path)

    def text(item: Any) -> str | None:
        value = getter(item)
        return None if value is None else str(value)

    return text


# --- tables ---------------------------------------------------------------------------------------------------------


def _getters(view: View) -> list[Callable[[Any], Any]]:
    return [attrgetter(source) if isinstance(source, str) else source for source in view.values()]


def _table(items: Sequence[Any], view: View) -> Table:
    from rich.table import Table
    from rich.text import Text

    columns = [[getter(item) for item in items] for getter in _getters(view)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header, values in zip(view, columns, strict=True):
        numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        table.add_column(header.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in zip(*columns, strict=True):
        table.add_row(*(Text(printable(value)) for value in row))
    return table


def _record(item: Any, view: View) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for header, getter in zip(view, _getters(view), strict=True):
        if (text := printable(getter(item))) != "":
            table.add_row(header.replace("_", " "), Text(text))
    return table


# --- CSV ------------------------------------------------------------------------------------------------------------


def _write_csv(items: Iterable[Any], view: View) -> None:
    getters = _getters(view)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(view)
    writer.writerows([_flat(getter(item)) for getter in getters] for item in items)


def _flat(value: Any) -> str:
    """Return a value as a CSV cell: exact, not made readable; lists and mappings as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    plain = json.loads(to_json(value))
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
