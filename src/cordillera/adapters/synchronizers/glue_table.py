"""How a table of the lake looks in the AWS Glue Data Catalog: what Iceberg's own Glue catalog writes, and whose it is.

Engines take rows, columns and partitions from the metadata file that the entry names. The columns here are for people,
and for services that look no further than the catalog; there are no partition keys, since Iceberg's partitions are
hidden in its manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from pyiceberg.schema import Schema, SchemaVisitor, visit
from pyiceberg.types import DecimalType, ListType, MapType, NestedField, PrimitiveType, StructType

from cordillera.errors import InvalidNameError, InvalidSchemaError
from cordillera.ports.pointing import Pointer

METADATA_LOCATION, PREVIOUS_LOCATION, TABLE_TYPE = "metadata_location", "previous_metadata_location", "table_type"
SUBSCRIPTION, POINTED_AT, NUMBER = "cordillera.subscription", "cordillera.metadata_location", "cordillera.number"
SCHEMA_ID, DATASET, LAKE = "cordillera.schema_id", "cordillera.dataset", "cordillera.lake"
DATABASE_NAME = re.compile(r"[a-z0-9_]{1,252}")
"""What Athena and Iceberg take as the name of a database; Glue itself takes more."""

_TABLE_NAME = re.compile(r"[a-z0-9_]{1,255}")
_COLUMN_NAME = re.compile(r"[^\x00-\x08\x0a-\x1f]{1,255}")
_LONGEST_COMMENT, _LONGEST_DESCRIPTION = 255, 2048
_CURRENT = "iceberg.field.current"
_TYPES = {
    "boolean": "boolean",
    "int": "int",
    "long": "bigint",
    "float": "float",
    "double": "double",
    "date": "date",
    "time": "string",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "timestamp_ns": "timestamp",
    "timestamptz_ns": "timestamp",
    "string": "string",
    "uuid": "string",
    "binary": "binary",
}


def check_names(name: str, schema: Schema) -> None:
    """Make sure that a table and its columns may be called so in Glue, whose names have no upper case.

    Raises:
        InvalidNameError: If the table may not.
        InvalidSchemaError: If a column may not, or two columns are one there.
    """
    if not _TABLE_NAME.fullmatch(name):
        raise InvalidNameError(
            f"A table of the Glue Data Catalog cannot be called {name[:60]!r}.",
            hint="Subscribe with another table name: lower-case letters, digits and _, at most 255.",
        )
    seen: dict[str, str] = {}
    for field in schema.fields:
        if not _COLUMN_NAME.fullmatch(field.name):
            raise InvalidSchemaError(
                f"A column of the Glue Data Catalog cannot be called {field.name[:60]!r}.",
                hint="Rename it: at most 255 characters, on one line.",
            )
        other = seen.setdefault(field.name.lower(), field.name)
        if other != field.name:
            raise InvalidSchemaError(
                f"The columns {other!r} and {field.name!r} are one in the Glue Data Catalog: it has no upper case.",
                hint="Rename one of them.",
            )


def table_input(pointer: Pointer, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an entry as Glue takes it.

    Args:
        pointer: What it is to point at.
        entry: What is there; parameters that others have put there stay.
    """
    before = dict(entry.get("Parameters") or {}) if entry else {}
    previous = before.pop(PREVIOUS_LOCATION, None)
    if before.get(METADATA_LOCATION, pointer.metadata_location) != pointer.metadata_location:
        previous = before[METADATA_LOCATION]
    parameters = {
        **before,
        TABLE_TYPE: "ICEBERG",
        METADATA_LOCATION: pointer.metadata_location,
        SUBSCRIPTION: str(pointer.subscription_id),
        POINTED_AT: pointer.metadata_location,
        NUMBER: str(pointer.number),
        SCHEMA_ID: str(pointer.metadata.current_schema_id),
        DATASET: pointer.origin.dataset,
        LAKE: pointer.origin.lake,
        **({PREVIOUS_LOCATION: previous} if previous else {}),
    }
    return {
        "Name": pointer.name,
        "Description": _shortened(pointer.description, _LONGEST_DESCRIPTION),
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "StorageDescriptor": {
            "Columns": list(_columns(pointer)),
            "Location": pointer.metadata.location,
        },
    }


def is_of(entry: Mapping[str, Any], subscription_id: UUID) -> bool:
    """Tell whether an entry is a subscription's."""
    return parameters_of(entry).get(SUBSCRIPTION) == str(subscription_id)


def is_pointed_elsewhere(entry: Mapping[str, Any]) -> bool:
    """Tell whether somebody else has let a subscription's entry name another file than the subscription had."""
    found = parameters_of(entry)
    return found.get(METADATA_LOCATION) != found.get(POINTED_AT)


def number_of(entry: Mapping[str, Any]) -> int:
    """Return the number of the file that a subscription's entry was made to name; 0 where it cannot be told."""
    text = parameters_of(entry).get(NUMBER, "")
    return int(text) if text.isdigit() else 0


def parameters_of(entry: Mapping[str, Any]) -> Mapping[str, str]:
    """Return an entry's parameters."""
    return entry.get("Parameters") or {}


def is_alike(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether an entry is as it should be, for engines and for people."""
    described = (entry.get("Description") or "") == wanted["Description"]
    return described and parameters_of(entry) == wanted["Parameters"] and not any(_differences(entry, wanted))


def differences(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Return, in words, what engines or people are told by an entry and should not be."""
    return tuple(_differences(entry, wanted))


def _differences(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    found, meant = parameters_of(entry), wanted["Parameters"]
    if found.get(METADATA_LOCATION) != meant[METADATA_LOCATION]:
        yield f"it names the metadata file {found.get(METADATA_LOCATION)}, not {meant[METADATA_LOCATION]}"
    if found.get(TABLE_TYPE, "").upper() != meant[TABLE_TYPE]:
        yield f"its table_type is {found.get(TABLE_TYPE)!r}, not 'ICEBERG'"
    storage = entry.get("StorageDescriptor") or {}
    if storage.get("Location") != wanted["StorageDescriptor"]["Location"]:
        yield f"its location is {storage.get('Location')}, not {wanted['StorageDescriptor']['Location']}"
    if entry.get("PartitionKeys"):
        yield "it has partition keys, which a table of Iceberg has none of in Glue"
    there, here = _by_name(storage), _by_name(wanted["StorageDescriptor"])
    for what, names in (
        ("lacks", here.keys() - there.keys()),
        ("has no business with", there.keys() - here.keys()),
        ("describes otherwise", {name for name in here.keys() & there.keys() if here[name] != there[name]}),
    ):
        if names:
            yield f"it {what} the columns {', '.join(sorted(names))}"


def _by_name(storage: Mapping[str, Any]) -> dict[str, tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Return the columns by name, in the lower case that Glue may have written them in."""
    return {
        column["Name"].lower(): (
            column.get("Type", ""),
            column.get("Comment") or "",
            tuple(sorted((column.get("Parameters") or {}).items())),
        )
        for column in storage.get("Columns") or ()
    }


def _columns(pointer: Pointer) -> Iterator[dict[str, Any]]:
    """Yield the columns there are, and then those there were, which readers of earlier snapshots meet."""
    seen: set[str] = set()
    now = pointer.metadata.schema
    for schema in (now, *(one for one in pointer.metadata.schemas if one.schema_id != now.schema_id)):
        for field in schema.fields:
            if field.name.lower() not in seen:
                seen.add(field.name.lower())
                yield _column(field, current=schema is now)


def _column(field: NestedField, *, current: bool) -> dict[str, Any]:
    return {
        "Name": field.name,
        "Type": visit(field.field_type, _GlueType()),
        **({"Comment": _shortened(" ".join(field.doc.split()), _LONGEST_COMMENT)} if field.doc else {}),
        "Parameters": {
            "iceberg.field.id": str(field.field_id),
            "iceberg.field.optional": str(field.optional).lower(),
            _CURRENT: str(current).lower(),
        },
    }


def _shortened(text: str, most: int) -> str:
    """Return a text that is no longer than Glue takes."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


class _GlueType(SchemaVisitor[str]):
    """Spells Iceberg's types in Hive's words."""

    def schema(self, schema: Schema, struct_result: str) -> str:  # noqa: ARG002
        return struct_result

    def struct(self, struct: StructType, field_results: list[str]) -> str:  # noqa: ARG002
        return f"struct<{','.join(field_results)}>"

    def field(self, field: NestedField, field_result: str) -> str:
        return f"{field.name}:{field_result}"

    def list(self, list_type: ListType, element_result: str) -> str:  # noqa: ARG002
        return f"array<{element_result}>"

    def map(self, map_type: MapType, key_result: str, value_result: str) -> str:  # noqa: ARG002
        return f"map<{key_result},{value_result}>"

    def primitive(self, primitive: PrimitiveType) -> str:
        if isinstance(primitive, DecimalType):
            return f"decimal({primitive.precision},{primitive.scale})"
        spelled = str(primitive)
        return _TYPES.get(spelled, "binary" if spelled.startswith("fixed[") else spelled)
