"""Iceberg view metadata (view specification, format version 1) as an immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError
from pyiceberg.schema import Schema

from cordillera.errors import CorruptDataError
from cordillera.spec.plain_values import text, texts, whole

FORMAT_VERSION = 1
_LONGEST_SQL = 1_000_000
_MOST_DIALECTS = 20
_LONGEST_NAME = 1_000


@dataclass(frozen=True, slots=True)
class ViewVersion:
    """One definition of a view; it never changes.

    Attributes:
        version_id: Its id.
        schema_id: The columns it has.
        timestamp_ms: When it was made, in milliseconds since the epoch.
        sql: Dialect → its SELECT statement; all of them mean the same.
        default_namespace: Where names without a namespace are looked up.
        default_catalog: Where names without a catalog are looked up; None for the one the view is in.
        summary: What made it.
    """

    version_id: int
    schema_id: int
    timestamp_ms: int
    sql: Mapping[str, str]
    default_namespace: tuple[str, ...] = ()
    default_catalog: str | None = None
    summary: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ViewVersion:
        """Read a view version.

        Raises:
            ValueError, TypeError, KeyError: If it is malformed.
        """
        sql: dict[str, str] = {}
        for one in raw["representations"]:
            if text(one["type"]) != "sql":
                raise ValueError(f"there is no representation of the type {one['type'][:40]!r}")
            if text(one["dialect"]).lower() in {known.lower() for known in sql}:
                raise ValueError(f"there are two representations in the dialect {one['dialect'][:40]!r}")
            if not text(one["sql"]).strip() or len(one["sql"]) > _LONGEST_SQL or len(one["dialect"]) > 100:
                raise ValueError("a representation is empty, or too long")
            sql[one["dialect"]] = one["sql"]
        if not 1 <= len(sql) <= _MOST_DIALECTS:
            raise ValueError(f"a view version has 1 to {_MOST_DIALECTS} representations")
        namespace, catalog = raw["default-namespace"], raw.get("default-catalog")
        names = [*namespace, *([] if catalog is None else [catalog])]
        if not isinstance(namespace, list) or any(len(text(one)) > _LONGEST_NAME for one in names):
            raise TypeError("default-namespace and default-catalog are names")
        return cls(
            whole(raw["version-id"]),
            whole(raw["schema-id"]),
            whole(raw["timestamp-ms"]),
            sql,
            tuple(namespace),
            catalog,
            texts(raw["summary"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the view version as metadata has it."""
        raw: dict[str, Any] = {
            "version-id": self.version_id,
            "schema-id": self.schema_id,
            "timestamp-ms": self.timestamp_ms,
            "summary": dict(self.summary),
            "representations": [{"type": "sql", "sql": text, "dialect": dialect} for dialect, text in self.sql.items()],
            "default-namespace": list(self.default_namespace),
        }
        return raw if self.default_catalog is None else {**raw, "default-catalog": self.default_catalog}

    def means(self, other: ViewVersion) -> bool:
        """Tell whether another one is the same definition."""
        same = replace(other, version_id=self.version_id, timestamp_ms=self.timestamp_ms)
        return self == same and list(self.sql) == list(other.sql)


@dataclass(frozen=True, slots=True)
class ViewMetadata:
    """The state of a view.

    Attributes:
        view_uuid: Identifies it, whatever it is called.
        location: Its folder.
        schemas: The columns that its view versions have.
        current_version_id: The view version that it means.
        versions: Its view versions, as far back as they are kept.
        version_log: Which of them it meant since when.
        properties: What people and engines note about it.
    """

    view_uuid: str
    location: str
    schemas: tuple[Schema, ...] = ()
    current_version_id: int = 0
    versions: tuple[ViewVersion, ...] = ()
    version_log: tuple[Mapping[str, int], ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def current(self) -> ViewVersion:
        """The view version that the view means."""
        return next(one for one in self.versions if one.version_id == self.current_version_id)

    @property
    def schema(self) -> Schema:
        """The columns it has."""
        return next(one for one in self.schemas if one.schema_id == self.current.schema_id)

    def to_json(self) -> bytes:
        """Encode as a metadata file."""
        return orjson.dumps(
            {
                "view-uuid": self.view_uuid,
                "format-version": FORMAT_VERSION,
                "location": self.location,
                "schemas": [orjson.Fragment(schema.model_dump_json().encode()) for schema in self.schemas],
                "current-version-id": self.current_version_id,
                "versions": [version.to_dict() for version in self.versions],
                "version-log": list(self.version_log),
                "properties": dict(self.properties),
            }
        )

    @classmethod
    def from_json(cls, data: bytes, where: str) -> ViewMetadata:
        """Decode a metadata file.

        Raises:
            CorruptDataError: Naming ``where`` if it is no view metadata of format version 1, or contradicts itself.
        """
        try:
            raw: dict[str, Any] = orjson.loads(data)
            if raw["format-version"] != FORMAT_VERSION:
                raise CorruptDataError(f"{where} has Iceberg view format version {raw['format-version']}.")
            log = [{"timestamp-ms": whole(one["timestamp-ms"]), "version-id": whole(one["version-id"])}
                   for one in raw["version-log"]]  # fmt: skip
            found = cls(
                view_uuid=str(UUID(raw["view-uuid"])),
                location=str(raw["location"]),
                schemas=tuple(Schema.model_validate(one) for one in raw["schemas"]),
                current_version_id=whole(raw["current-version-id"]),
                versions=tuple(ViewVersion.from_dict(one) for one in raw["versions"]),
                version_log=tuple(log),
                properties=texts(raw.get("properties") or {}),
            )
            known = {schema.schema_id for schema in found.schemas}
            if not {version.schema_id for version in found.versions} <= known:
                raise ValueError("a view version has columns that are not there")
            if found.current_version_id not in {version.version_id for version in found.versions}:
                raise ValueError("its current version is none of those that it has")
        except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptDataError(f"{where} is not valid Iceberg view metadata: {str(error)[:300]}.") from error
        return found
