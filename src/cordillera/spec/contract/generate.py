"""Writing a contract: an ODCS 3.1 document for a dataset that has none yet, for its owners to complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import yaml

from cordillera.spec.arrow_types import FieldIds, from_arrow_type, to_arrow_type
from cordillera.spec.contract.document import NOT_TEXT
from cordillera.spec.contract.types import kind_of_type

API_VERSION = "v3.1.0"

_NUMBERS: dict[pa.DataType, tuple[str, str, str]] = {
    pa.int32(): ("integer", "int", "i32"),
    pa.int64(): ("integer", "bigint", "i64"),
    pa.float32(): ("number", "real", "f32"),
    pa.float64(): ("number", "double", "f64"),
}
"""Logical type, physical type and format of the numbers that Iceberg stores."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that any YAML reader, 1.1 or 1.2, could take for something else, and writes every value out."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver("tag:yaml.org,2002:other", NOT_TEXT, None)


def to_document(
    schema: pa.Schema,
    key: Sequence[str],
    *,
    contract_id: str,
    name: str,
    owner: str,
    description: str = "",
    document_version: str = "0.1.0",
    status: str = "draft",
) -> str:
    """Return an ODCS 3.1 document that describes a dataset's columns, types, required columns and key.

    Args:
        schema: The dataset's schema; ``doc`` in a field's metadata becomes its description.
        key: The key columns, in order.
        contract_id: The document's id.
        name: The dataset's name, which the schema object gets.
        owner: The owning team.
        description: What the data is.
        document_version: The version of the document.
        status: The document's status.

    Raises:
        InvalidSchemaError: If a column has a type that no dataset can have.
    """
    described = {"description": description} if description else {}
    body = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": contract_id,
        "name": name,
        "version": document_version,
        "status": status,
        "team": {"name": owner},
        "schema": [
            {
                "name": name,
                "logicalType": "object",
                "physicalType": "table",
                **described,
                "properties": [_property(field, key) for field in schema],
            }
        ],
    }
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _property(field: pa.Field, key: Sequence[str]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": field.name}
    doc = ((field.metadata or {}).get(b"doc") or b"").decode()
    if doc:
        described["description"] = doc
    if field.name in key:
        described |= {"primaryKey": True, "primaryKeyPosition": list(key).index(field.name) + 1}
    if not field.nullable or field.name in key:
        described["required"] = True
    return described | _type(to_arrow_type(from_arrow_type(field.type, FieldIds(), field.name)))


def _type(stored: pa.DataType) -> dict[str, Any]:
    """Return the keys that describe a type, so that reading them gives the same type again (maps excepted)."""
    if stored in _NUMBERS:
        logical, physical, number_format = _NUMBERS[stored]
        return _described(logical, physical, format=number_format)
    match kind_of_type(stored):
        case "number":
            return _described("number", f"decimal({stored.precision},{stored.scale})")
        case "timestamp":
            zoned = stored.tz is not None
            return _described("timestamp", "timestamptz" if zoned else "timestamp", timezone=zoned)
        case "uuid":
            return _described("string", "uuid", format="uuid")
        case "binary":
            fixed = pa.types.is_fixed_size_binary(stored)
            return _described("string", f"fixed({stored.byte_width})" if fixed else "binary", format="binary")
        case "object":
            return _object(stored)
        case "array":
            required = {} if stored.value_field.nullable else {"required": True}
            return {**_described("array", "list"), "items": {**required, **_type(stored.value_type)}}
        case kind:
            return _described(kind, kind)


def _object(stored: pa.DataType) -> dict[str, Any]:
    if pa.types.is_map(stored):
        return _described("object", "map")  # the standard has no word for maps
    fields = [stored.field(index) for index in range(stored.num_fields)]
    return {**_described("object", "struct"), "properties": [_property(field, ()) for field in fields]}


def _described(logical: str, physical: str, **options: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"logicalType": logical, "physicalType": physical}
    return {**described, "logicalTypeOptions": options} if options else described
