"""The Iceberg table behind a new dataset version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DateType,
    DecimalType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
)

from cordillera.errors import InvalidSchemaError, NotAllowedError
from cordillera.spec.arrow_types import from_arrow_schema, to_arrow_schema
from cordillera.spec.isolation import isolation_of
from cordillera.spec.maintenance import PREFIX, MaintenancePolicy
from cordillera.spec.merge import MergeRule, MergeSemantics, WriteMode
from cordillera.spec.merge_rules import MergeDeclaration, declare
from cordillera.spec.partitioning import check_partitioning, parse_partitioning, taken_name
from cordillera.spec.schema_successor import check_columns_of
from cordillera.spec.sort_order import check_sort_order, parse_sort_order
from cordillera.spec.table_metadata import SUPPORTED_FORMAT_VERSIONS, UNSORTED, TableMetadata
from cordillera.table.bloom_filter import FILTER_PROPERTIES, check_filter_properties
from cordillera.table.metadata_encoding import compresses

_SEQUENCE_TYPES = (IntegerType, LongType, DateType, TimestampType, TimestamptzType, DecimalType, StringType)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a dataset version stores and merges its rows.

    Attributes:
        key: Columns that identify a row; empty for none.
        sequence: Column that tells the later of two rows of a key.
        partitioning: Terms like ``month(time_hour)``.
        sort_order: Terms like ``ordered_at`` or ``amount desc`` that rows are sorted by within each file.
        completion_unit: How its partitions are declared complete: whole, hour, day, week, month or value.
        write_mode: How rows are taken out of files.
        merge: Which rows of a key are kept: latest-row-wins, first-row-wins, scd2 or scd7.
        aggregates: Column → sum, max, min, first or last_non_null: how it combines what is written with what is stored.
        tracked: Columns whose change opens a new row of a history (scd2, scd7); empty for all.
        format_version: Iceberg's format version; 2 for clients that cannot read 3.
        properties: Further Iceberg table properties.
    """

    key: tuple[str, ...] = ()
    sequence: str | None = None
    partitioning: tuple[str, ...] = ()
    sort_order: tuple[str, ...] = ()
    completion_unit: str = "whole"
    write_mode: str = WriteMode.MERGE_ON_READ.value
    merge: str = MergeRule.LATEST_ROW_WINS.value
    aggregates: Mapping[str, str] = field(default_factory=dict)
    tracked: tuple[str, ...] = ()
    format_version: int = 3
    properties: Mapping[str, str] = field(default_factory=dict)


def new_table(
    location: str, schema: pa.Schema, options: TableOptions, table_uuid: UUID, now: datetime
) -> TableMetadata:
    """Return the metadata of an empty table.

    Raises:
        InvalidSchemaError: If schema, key, sequence, partitioning, sort order or options cannot be.
    """
    if options.format_version not in SUPPORTED_FORMAT_VERSIONS:
        raise InvalidSchemaError(
            f"Iceberg format version {options.format_version} is not supported.", hint="Use 3, or 2 for older clients."
        )
    _check_properties(options.properties)
    if any(_is_reserved(name) or name in ("write.merge.mode", "format-version") for name in options.properties):
        raise InvalidSchemaError("Table properties that begin with 'cordillera.' are set by Cordillera itself.")
    wanted = MergeDeclaration(
        tuple(options.key),
        options.sequence,
        options.write_mode,
        options.merge,
        options.aggregates,
        tuple(options.tracked),
    )
    semantics, schema = declare(wanted, schema)
    iceberg = from_arrow_schema(schema, semantics.key)
    _check_sequence(iceberg, options)
    spec = parse_partitioning(options.partitioning, iceberg)
    order = parse_sort_order(options.sort_order, iceberg)
    check_filter_properties(options.properties, schema)
    return TableMetadata(
        format_version=options.format_version,
        table_uuid=str(table_uuid),
        location=location,
        last_sequence_number=0,
        last_updated_ms=int(now.timestamp() * 1000),
        last_column_id=iceberg.highest_field_id,
        schemas=(iceberg,),
        current_schema_id=iceberg.schema_id,
        partition_specs=(spec,),
        default_spec_id=spec.spec_id,
        last_partition_id=max([999, *(part.field_id for part in spec.fields)]),
        sort_orders=(UNSORTED, *([order] if order is not UNSORTED else [])),
        default_sort_order_id=order["order-id"],
        properties={**options.properties, **semantics.to_properties(iceberg)},
        next_row_id=0 if options.format_version >= 3 else None,
    )


def check_external_properties(before: Mapping[str, str], after: Mapping[str, str], schema: Schema) -> None:
    """Refuse table properties that another engine sets, where they are Cordillera's own or make no sense.

    Raises:
        NotAllowedError: If one that Cordillera keeps for itself would change.
        InvalidSchemaError, InvalidInputError: If a value makes no sense.
    """
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    if own := sorted(filter(_is_reserved, changed)):
        raise NotAllowedError(f"The table property {own[0]!r} is set by Cordillera itself and cannot be changed.")
    if changed:
        _semantics(schema, after)
        _check_properties(after)
        if any(name.startswith(FILTER_PROPERTIES) for name in after):  # else the schema need not be Arrow's
            check_filter_properties(after, to_arrow_schema(schema))


def check_external_layout(metadata: TableMetadata) -> None:
    """Refuse a table that another engine describes, if no new file can be laid out as it says.

    Raises:
        InvalidSchemaError: If its partitioning or its sort order is made from what is no column, or if a column has the
            name of a partition field that is made from another one.
    """
    schema = metadata.schema
    check_partitioning(metadata.partition_spec, schema)
    check_sort_order(metadata.sort_order, schema)
    if taken := taken_name(schema, metadata.partition_specs):
        raise InvalidSchemaError(
            f"The column name {taken[0]!r} is taken: a partition field that is made from another column is called so.",
            hint="Choose another name.",
        )


def external_table(metadata: TableMetadata) -> TableMetadata:
    """Return a table that another engine describes as one of ours: the identifier fields are its key.

    Raises:
        InvalidSchemaError, InvalidNameError: If a dataset cannot have these columns or this key.
        NotAllowedError: If it sets a property that Cordillera keeps for itself.
    """
    schema = metadata.schema
    check_columns_of(schema)
    check_external_layout(metadata)
    plain = {name: value for name, value in metadata.properties.items() if not _is_reserved(name)}
    semantics = _semantics(schema, plain)
    own = semantics.to_properties(schema)
    # An engine that has staged the table sends back what it was told, our own properties among it.
    check_external_properties(own, {**own, **metadata.properties}, schema)
    from_arrow_schema(to_arrow_schema(schema), semantics.key)  # what may be a key of ours
    return metadata.with_changes(properties={**plain, **own})


def _semantics(schema: Schema, properties: Mapping[str, str]) -> MergeSemantics:
    try:
        return MergeSemantics.of(schema, properties)
    except ValueError as error:
        raise InvalidSchemaError(
            f"The table properties make no sense: {error}.",
            hint="The property write.merge.mode is merge-on-read or copy-on-write.",
        ) from error


def _check_properties(properties: Mapping[str, str]) -> None:
    MaintenancePolicy.of(properties)
    isolation_of(properties)
    compresses(properties, 0)


def _is_reserved(name: str) -> bool:
    return name.startswith("cordillera.") and not name.startswith(PREFIX)


def _check_sequence(schema: Schema, options: TableOptions) -> None:
    name = options.sequence
    if name is None:
        return
    if not options.key:
        raise InvalidSchemaError(
            f"The sequence column {name!r} orders the rows of a key, but there is no key.",
            hint="Give the dataset a key, or leave the sequence out.",
        )
    if name in options.key:
        raise InvalidSchemaError(
            f"The column {name!r} cannot be both part of the key and the sequence.",
            hint="Take another column for the sequence.",
        )
    found = next((f for f in schema.fields if f.name == name), None)
    if found is None:
        raise InvalidSchemaError(
            f"The sequence column {name!r} is not among the columns.",
            hint=f"Columns: {', '.join(f.name for f in schema.fields)}.",
        )
    if not isinstance(found.field_type, _SEQUENCE_TYPES):
        raise InvalidSchemaError(
            f"The sequence column {name!r} is {found.field_type}, which has no order to rely on.",
            hint="Use a number without fraction, a decimal, a date, a timestamp or a string.",
        )
