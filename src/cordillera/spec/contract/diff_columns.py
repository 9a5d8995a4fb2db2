"""What changed about the columns of a contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from cordillera.errors import InvalidContractError, InvalidSchemaError
from cordillera.spec.arrow_types import FieldIds, from_arrow_type
from cordillera.spec.contract.changes import (
    ContractChange,
    Party,
    breaking,
    compatible,
    documentation_changes,
    documented,
    loosened,
    replaced,
    tightened,
)
from cordillera.spec.contract.document import Node
from cordillera.spec.contract.model import Column, TypeOptions
from cordillera.spec.contract.types import INTEGER_FORMATS, NUMBER_FORMATS, storage_type
from cordillera.spec.schema_evolution import is_widening

_ACTS = (
    *("name", "physicalName", "logicalType", "physicalType", "logicalTypeOptions", "required", "unique"),
    *("primaryKey", "primaryKeyPosition", "partitioned", "partitionKeyPosition", "classification"),
    *("quality", "properties", "items"),
)
_LOW = {
    "minimum": "minimum",
    "exclusive_minimum": "exclusiveMinimum",
    "min_length": "minLength",
    "min_items": "minItems",
}
_HIGH = {
    "maximum": "maximum",
    "exclusive_maximum": "exclusiveMaximum",
    "max_length": "maxLength",
    "max_items": "maxItems",
}
_OTHER = {"pattern": "pattern", "multiple_of": "multipleOf", "format": "format"}
_CLASSIFICATIONS = ("", "public", "internal", "confidential", "restricted")
"""From open to closed, as far as labels have an order that everybody knows."""

Described: TypeAlias = tuple[Column, Node]
"""A column and its place in the document."""


def described(columns: Sequence[Column], parent: Node) -> list[Described]:
    """Return columns with the nodes that describe them, the properties of ``parent``."""
    return list(zip(columns, parent.list_at("properties"), strict=True))


@dataclass(frozen=True, slots=True)
class Pairing:
    """Columns before and after a change: those with one name, or with one ``id`` where the name is another."""

    kept: list[tuple[Described, Described]]
    dropped: list[Described]
    added: list[Described]

    @classmethod
    def of(cls, old: Sequence[Described], new: Sequence[Described]) -> Pairing:
        """Find which columns are the same."""
        before, after = ({column.name: (column, node) for column, node in side} for side in (old, new))
        gone = {name: one for name, one in before.items() if name not in after}
        come = {name: one for name, one in after.items() if name not in before}
        by_id = {node.text_at("id"): name for name, (_, node) in come.items() if node.text_at("id")}
        renamed = {name: by_id[node.text_at("id")] for name, (_, node) in gone.items() if node.text_at("id") in by_id}
        if len(set(renamed.values())) < len(renamed):
            renamed = {}  # an id that stands twice identifies nothing
        kept = [
            (one, after[renamed.get(name, name)]) for name, one in before.items() if renamed.get(name, name) in after
        ]
        dropped = [one for name, one in gone.items() if name not in renamed]
        return cls(kept, dropped, [one for name, one in come.items() if name not in set(renamed.values())])

    @property
    def new_names(self) -> Mapping[str, str]:
        """Old name → new name of the columns that stay."""
        return {old.name: new.name for (old, _), (new, _) in self.kept}


def column_changes(columns: Pairing, prefix: str) -> Iterator[ContractChange]:
    """Yield what changed about columns, or about the fields inside one; ``prefix`` says where they are."""
    for column, _ in columns.dropped:
        yield breaking(f"{prefix}{column.name}", f"The column {column.name} is dropped.", "What reads it fails.")
    for column, _ in columns.added:
        message = f"The column {column.name} is added"
        if column.required or column.key_position is not None:
            yield tightened(f"{prefix}{column.name}", f"{message}, and required.")
        else:
            yield compatible(
                f"{prefix}{column.name}", f"{message}.", "What reads the other columns sees no difference."
            )
    for before, after in columns.kept:
        yield from _changes(before, after, prefix)


def _changes(before: Described, after: Described, prefix: str) -> Iterator[ContractChange]:
    (old, old_node), (new, new_node) = before, after
    place = f"{prefix}{old.name}"
    if old.name != new.name:
        yield breaking(
            f"{place}:name", f"The column {old.name} is renamed to {new.name}.", "What reads it by name fails."
        )
    elif old_node.text_at("name") != new_node.text_at("name"):
        yield documented(f"{place}:name", f"The column {old.name} is documented under another name.")
    yield from _inside(before, after, place)
    yield from documentation_changes(old_node, new_node, _ACTS, f"{place}:")


def _inside(before: Described, after: Described, place: str) -> Iterator[ContractChange]:
    """Yield what changed about a column but its name; also about the items of an array, which have none."""
    (old, old_node), (new, new_node) = before, after
    yield from _type_changes(old, new, place)
    yield from _flag_changes(old, new, place)
    yield from _limit_changes(old.options, new.options, place)
    yield from _classification_changes(old.classification, new.classification, place)
    for name in ("minProperties", "maxProperties", "defaultTimezone"):
        was, becomes = (_option(node, name) for node in (old_node, new_node))
        if was != becomes:
            yield documented(f"{place}:{name}", f"{name} of {_label(place)} changes.")
    if old.logical_type != new.logical_type:
        return
    yield from column_changes(Pairing.of(described(old.fields, old_node), described(new.fields, new_node)), f"{place}.")
    if old.items and new.items:
        old_items, new_items = old_node.entries()["items"], new_node.entries()["items"]
        yield from _inside((old.items, old_items), (new.items, new_items), f"{place}.element")
        yield from documentation_changes(old_items, new_items, _ACTS, f"{place}.element:")


def _option(node: Node, name: str) -> Any:
    options = node.get("logicalTypeOptions")
    found = options.get(name) if options else None
    return found.plain() if found else None


def _label(place: str) -> str:
    return place.removeprefix("columns.").replace(":", ".")


def _type_changes(old: Column, new: Column, place: str) -> Iterator[ContractChange]:
    if _declared(old) == _declared(new):
        return
    before, after = _stored(old), _stored(new)
    message = f"{_label(place)} changes its type from {_words(old)} to {_words(new)}."
    if before == after:
        yield compatible(f"{place}:type", message, f"Both are stored as {after}.")
    elif _is_widened(before, after):
        yield compatible(
            f"{place}:type", message, "Every value of the old type is one of the new; targets widen with it."
        )
    else:
        why = "What reads values of the old type may fail on, or misread, the new."
        yield breaking(f"{place}:type", message, why, Party.CONSUMERS, Party.PUBLISHERS)


def _declared(column: Column) -> tuple[str | None, str | None, str | None, bool]:
    number_format = column.options.format if column.options.format in (*INTEGER_FORMATS, *NUMBER_FORMATS) else None
    return column.logical_type, column.physical_type, number_format, bool(column.options.timezone)


def _words(column: Column) -> str:
    logical, physical, number_format, zoned = _declared(column)
    details = ", ".join([*([number_format] if number_format else []), *(["with time zone"] if zoned else [])])
    words = (logical or "no type") + (f" ({details})" if details else "")
    return f"{words}, physically {physical}" if physical else words


def _stored(column: Column) -> pa.DataType | str:
    """Return the type values are stored as; of nested columns, and of those that leave it open, what is said of it."""
    if column.logical_type in ("object", "array"):
        return column.logical_type
    try:
        return storage_type(column)
    except InvalidContractError:
        return _words(column)


def _is_widened(before: pa.DataType | str, after: pa.DataType | str) -> bool:
    if isinstance(before, str) or isinstance(after, str):
        return False
    try:
        old, new = (from_arrow_type(one, FieldIds(), "") for one in (before, after))
    except InvalidSchemaError:
        return False
    return is_widening(old, new)


def _flag_changes(old: Column, new: Column, place: str) -> Iterator[ContractChange]:
    flags = [
        ("required", old.required, new.required, "may be NULL from now on", "may be NULL no longer"),
        ("unique", old.unique, new.unique, "need not be unique any more", "has to be unique from now on"),
        (
            *("uniqueItems", old.options.unique_items, new.options.unique_items),
            *("may repeat items from now on", "may repeat items no longer"),
        ),
    ]
    for name, before, after, looser, stricter in flags:
        if before != after:
            element = f"{place}:{name}"
            yield (
                tightened(element, f"{_label(place)} {stricter}.")
                if after
                else loosened(element, f"{_label(place)} {looser}.")
            )


def _limit_changes(old: TypeOptions, new: TypeOptions, place: str) -> Iterator[ContractChange]:
    for attribute, name in (_LOW | _HIGH | _OTHER).items():
        before, after = getattr(old, attribute), getattr(new, attribute)
        if attribute == "format" and {before, after} & {*INTEGER_FORMATS, *NUMBER_FORMATS}:
            continue  # that is the type
        if before != after:
            yield _limit_change(attribute, before, after, f"{place}:{name}")


def _limit_change(attribute: str, before: Any, after: Any, element: str) -> ContractChange:
    if before is None:
        return tightened(element, f"{_label(element)} is limited to {after}.")
    if after is None:
        return loosened(element, f"{_label(element)} is no longer limited to {before}.")
    message = f"{_label(element)} changes from {before} to {after}."
    if attribute in _OTHER or type(before) is not type(after):
        return replaced(element, message)
    rises = after > before
    return tightened(element, message) if rises == (attribute in _LOW) else loosened(element, message)


def _classification_changes(old: str, new: str, place: str) -> Iterator[ContractChange]:
    if old == new:
        return
    message = f"The classification of {_label(place)} changes from {old or 'none'} to {new or 'none'}."
    ranks = [_CLASSIFICATIONS.index(one.lower()) if one.lower() in _CLASSIFICATIONS else None for one in (old, new)]
    if ranks[0] is not None and ranks[1] is not None and ranks[1] <= ranks[0]:
        yield compatible(f"{place}:classification", message, "Whoever may see it now may see it then.")
    else:
        why = "Values may be hidden from consumers who see them now."
        yield breaking(f"{place}:classification", message, why)
