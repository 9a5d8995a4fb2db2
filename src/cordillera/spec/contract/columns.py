"""Reading the properties of a schema object into columns (ODCS, "Schema")."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from cordillera.errors import InvalidNameError
from cordillera.spec.contract.document import Node
from cordillera.spec.contract.model import Bound, Column
from cordillera.spec.contract.rules import pattern_problem
from cordillera.spec.contract.types import INTEGER_FORMATS, LOGICAL_TYPES, NUMBER_FORMATS, parse_value
from cordillera.spec.contract.words import words
from cordillera.spec.names import check_column_name

ELEMENT_KEYS = words(
    "id name physicalName physicalType description businessName authoritativeDefinitions tags customProperties "
    "quality logicalType relationships"
)
PROPERTY_KEYS = ELEMENT_KEYS + words(
    "logicalTypeOptions primaryKey primaryKeyPosition required unique partitioned partitionKeyPosition "
    "classification encryptedName transformSourceObjects transformLogic transformDescription examples "
    "criticalDataElement items properties"
)
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOMENT_OPTIONS = (*_LIMITS, "format", "timezone", "defaultTimezone")
_NUMBER_OPTIONS = (*_LIMITS, "format", "multipleOf")
_OPTIONS: dict[str | None, tuple[str, ...]] = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "date": (*_LIMITS, "format"),
    "timestamp": _MOMENT_OPTIONS,
    "time": _MOMENT_OPTIONS,
    "integer": _NUMBER_OPTIONS,
    "number": _NUMBER_OPTIONS,
    "object": ("minProperties", "maxProperties", "required"),
    "array": ("minItems", "maxItems", "uniqueItems"),
    "boolean": (),
    None: (),
}
_Read = TypeVar("_Read")


def read_columns(nodes: Sequence[Node]) -> tuple[Column, ...]:
    """Read a list of properties.

    Raises:
        InvalidContractError: If one breaks the standard, names repeat, or key positions contradict each other.
    """
    columns = tuple(_column(node, named=True) for node in nodes)
    seen: set[str] = set()
    for node, column in zip(nodes, columns, strict=True):
        if column.name.lower() in seen:
            raise node.problem(f"the column {column.name!r} appears twice.", "Names may not differ only in case.")
        seen.add(column.name.lower())
    return columns


def _column(node: Node, *, named: bool) -> Column:
    node.unknown_keys(PROPERTY_KEYS)
    logical = _one_of(node, "logicalType", LOGICAL_TYPES)
    inner, items = node.get("properties"), node.get("items")
    if inner is not None and logical != "object":
        raise inner.problem("only an object has properties.", "Set logicalType: object.")
    if items is not None and logical != "array":
        raise items.problem("only an array has items.", "Set logicalType: array.")
    fields = read_columns(inner.elements()) if inner else ()
    described = Column(
        name=_name(node) if named else "element",
        logical_type=logical,
        physical_type=node.text_at("physicalType") or None,
        required=node.boolean_at("required") or False,
        unique=node.boolean_at("unique") or False,
        key_position=_position(node, "primaryKey", "primaryKeyPosition"),
        partition_position=_position(node, "partitioned", "partitionKeyPosition"),
        classification=_classification(node),
        description=node.text_at("description"),
        business_name=node.text_at("businessName"),
        tags=node.texts_at("tags"),
        fields=fields,
        items=_column(items, named=False) if items else None,
    )
    return _with_options(described, node.get("logicalTypeOptions"))


def _name(node: Node) -> str:
    physical = node.get("physicalName")
    name = node.required_text("name") if physical is None else node.required_text("physicalName")
    try:
        return check_column_name(name)
    except InvalidNameError as error:
        raise (physical or node).problem(error.message, error.hint) from error


def _one_of(node: Node, key: str, known: Collection[str]) -> str | None:
    stated = node.get(key)
    if stated is not None and stated.text() not in known:
        raise stated.problem(f"{stated.text()[:40]!r} is not a {key}.", f"Use one of {', '.join(sorted(known))}.")
    return stated.text() if stated else None


def _classification(node: Node) -> str:
    """Return the label; a number is one too (some companies classify from 1 to 5)."""
    stated = node.get("classification")
    value = stated.scalar() if stated else ""
    return value if isinstance(value, str) else str(value)


def _position(node: Node, flag: str, key: str) -> int | None:
    """Return the stated position, 0 where the flag is set without one, None where it is not set."""
    stated = node.get(key)
    position = stated.integer() if stated else -1
    if not node.boolean_at(flag):
        if position > 0 and stated is not None:
            raise stated.problem(f"{key} is set, but {flag} is not.", f"Set {flag}: true, or remove {key}.")
        return None
    if position == 0 or position < -1:
        assert stated is not None
        raise stated.problem(f"{key} is {position}; positions begin at 1.")
    return max(position, 0)


def number_positions(
    nodes: Sequence[Node], columns: Sequence[Column], what: str, position: Callable[[Column], int | None]
) -> dict[str, int]:
    """Return the final positions, from 1: as stated, or in document order where none is stated.

    Raises:
        InvalidContractError: If only some of the columns state a position, or two state the same.
    """
    members = [(node, column, position(column)) for node, column in zip(nodes, columns, strict=True)]
    flagged = [(node, column, place) for node, column, place in members if place is not None]
    if all(place == 0 for _, _, place in flagged):
        return {column.name: index for index, (_, column, _) in enumerate(flagged, 1)}
    taken: dict[int, str] = {}
    for node, column, place in flagged:
        if place == 0:
            raise node.problem(
                f"the {what} gives other columns a position, but not {column.name!r}.", "Give it one too."
            )
        if place in taken:
            raise node.problem(f"{column.name!r} and {taken[place]!r} have the same position in the {what}.")
        taken[place] = column.name
    return {name: index for index, (_, name) in enumerate(sorted(taken.items()), 1)}


# --- logicalTypeOptions ---------------------------------------------------------------------------------------------


def _with_options(column: Column, node: Node | None) -> Column:
    if node is None:
        return column
    known = _OPTIONS[column.logical_type]
    node.check_keys(known)
    zoned = _replaced(column, _zone_options(node))
    options: dict[str, Any] = {
        "minimum": _bound(node, "minimum", zoned),
        "maximum": _bound(node, "maximum", zoned),
        "exclusive_minimum": _bound(node, "exclusiveMinimum", zoned),
        "exclusive_maximum": _bound(node, "exclusiveMaximum", zoned),
        "multiple_of": _read(node, "multipleOf", _positive),
        "min_length": _read(node, "minLength", _count),
        "max_length": _read(node, "maxLength", _count),
        "pattern": _read(node, "pattern", _pattern),
        "format": _format(node, column.logical_type),
        "min_items": _read(node, "minItems", _count),
        "max_items": _read(node, "maxItems", _count),
        "unique_items": node.boolean_at("uniqueItems") or False,
        "required": node.texts_at("required"),
    }
    return _require_fields(_replaced(zoned, options), node)


def _replaced(column: Column, options: dict[str, Any]) -> Column:
    return replace(column, options=replace(column.options, **options))


def _zone_options(node: Node) -> dict[str, Any]:
    zone = node.get("defaultTimezone")
    return {"timezone": node.boolean_at("timezone"), "default_timezone": check_zone(zone) if zone else None}


def check_zone(node: Node) -> str:
    """Return the name of an IANA time zone.

    Raises:
        InvalidContractError: If there is no such time zone.
    """
    try:
        ZoneInfo(node.text())
    except (
        ValueError,
        OSError,
        KeyError,
    ) as error:  # an unknown zone is a KeyError, a bad path one of the others
        raise node.problem(
            f"{node.text()[:40]!r} is not a time zone.", "Use a name such as America/New_York."
        ) from error
    return node.text()


def _read(node: Node, key: str, read: Callable[[Node], _Read]) -> _Read | None:
    stated = node.get(key)
    return read(stated) if stated else None


def _count(node: Node) -> int:
    return node.integer(minimum=0)


def _positive(node: Node) -> int | float:
    if node.number() <= 0:
        raise node.problem(f"{node.number()} is not greater than 0.")
    return node.number()


def _pattern(node: Node) -> str:
    problem = pattern_problem(node.text())
    if problem:
        raise node.problem(f"the pattern cannot be used: {problem}", "Write it without look-around.")
    return node.text()


def _bound(node: Node, key: str, column: Column) -> Bound | None:
    stated = node.get(key)
    if stated is None:
        return None
    if isinstance(stated.value, bool):
        raise stated.problem(f"{key} is the limit itself since ODCS 3.1.", f"Write {key}: 100 instead of true.")
    if column.logical_type in ("integer", "number"):
        return stated.number()
    try:
        bound: Bound = parse_value(stated.text(), column)
    except ValueError as error:
        raise stated.problem(f"it is not a {column.logical_type}: {error}.", "Write it as ISO 8601 text.") from error
    return bound


def _format(node: Node, logical: str | None) -> str | None:
    stated = node.get("format")
    if stated is None:
        return None
    known = {"integer": INTEGER_FORMATS, "number": NUMBER_FORMATS}.get(logical or "")
    if known is not None and stated.text() not in known:
        raise stated.problem(f"{stated.text()[:40]!r} is not a format of {logical}.", f"Use one of {', '.join(known)}.")
    return stated.text()


def _require_fields(column: Column, node: Node) -> Column:
    """Make the fields that an object's options call required, required."""
    names = set(column.options.required)
    unknown = names - {inner.name for inner in column.fields}
    if unknown and column.fields:
        raise node.problem(f"required names {sorted(unknown)[0][:60]!r}, which is not among the properties.")
    fields = tuple(replace(inner, required=inner.required or inner.name in names) for inner in column.fields)
    return replace(column, fields=fields)
