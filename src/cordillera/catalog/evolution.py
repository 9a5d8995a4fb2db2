"""Evolving datasets: other columns, partitions, write mode. Only metadata changes; every data file stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cordillera.catalog.commits import CommitRequest, CommitResult, CommitService
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.errors import IncompatibleSchemaError, InvalidSchemaError
from cordillera.spec.access import Privilege
from cordillera.spec.commit import (
    AddPartitionSpec,
    AddSchema,
    RemovePartitionSpecs,
    RemoveProperties,
    SetCurrentSchema,
    SetDefaultSpec,
    SetProperties,
    Update,
)
from cordillera.spec.merge import AUTO_PROPERTY, WriteMode, write_mode_properties
from cordillera.spec.merge_rules import parse_write_mode
from cordillera.spec.metadata_updates import AddSortOrder, SetDefaultSortOrder
from cordillera.spec.partitioning import describe_partitioning, parse_partitioning, taken_name
from cordillera.spec.requirements import (
    AssertCurrentSchemaId,
    AssertDefaultSortOrderId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    AssertLastAssignedPartitionId,
    AssertLastSequenceNumber,
)
from cordillera.spec.schema_evolution import SchemaChange, evolve
from cordillera.spec.sort_order import describe_sort_order, parse_sort_order, sort_sources
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.bloom_filter import (
    evolved_filter_properties,
    filter_properties,
    filtered_columns,
    properties_of_filters,
)
from cordillera.table.partitions import file_of_spec


class EvolutionService:
    """Changes what datasets look like from now on.

    Args:
        catalog: Resolves names.
        tables: Loads table metadata.
        commits: Makes changes visible.
    """

    def __init__(self, catalog: CatalogService, tables: TableService, commits: CommitService) -> None:
        self._catalog, self._tables, self._commits = catalog, tables, commits

    def evolve(self, name: str, changes: Sequence[SchemaChange]) -> CommitResult:
        """Change a dataset's schema.

        Raises:
            IncompatibleSchemaError: If a change would break stored rows or their readers.
        """
        return self._commit(name, lambda metadata: self._schema_changed(metadata, changes))

    def partition_by(self, name: str, terms: Sequence[str]) -> CommitResult:
        """Lay out a dataset's new files by other partitions; none for one of everything.

        Files there are stay in the partitions they have, until they are rewritten.

        Args:
            name: The dataset.
            terms: Like ``month(time_hour)``, all that are to hold from now on.

        Raises:
            InvalidSchemaError: If there can be no such partitioning.
        """
        return self._commit(name, lambda metadata: _partitioned(metadata, terms))

    def sort_by(self, name: str, terms: Sequence[str]) -> CommitResult:
        """Sort the rows within a dataset's new files; none for as they come.

        Files there are stay as they are, until they are rewritten.

        Args:
            name: The dataset.
            terms: Like ``ordered_at`` or ``amount desc``, all that are to hold from now on.

        Raises:
            InvalidSchemaError: If there can be no such order.
        """
        return self._commit(name, lambda metadata: _sorted(metadata, terms))

    def set_write_mode(self, name: str, mode: str) -> CommitResult:
        """Take rows out of a dataset's files in another way from now on.

        Args:
            name: The dataset.
            mode: ``merge-on-read``, ``copy-on-write`` or ``auto``.

        Raises:
            InvalidSchemaError: If there is no such write mode.
        """
        wanted = parse_write_mode(mode)
        return self._commit(name, lambda metadata: _in_write_mode(metadata, wanted))

    def bloom_filters(self, name: str) -> tuple[str, ...]:
        """Return the columns of which a dataset's new files have Bloom filters."""
        target = self._catalog.dataset(name, Privilege.READ)
        return filtered_columns(self._tables.load(target.version).properties)

    def set_bloom_filters(self, name: str, columns: Sequence[str], *, false_positives: float) -> CommitResult:
        """Give a dataset's new files Bloom filters of columns; none for no filters.

        Files there are stay as they are, until they are rewritten.

        Args:
            name: The dataset.
            columns: All that are to have filters from now on.
            false_positives: How often a filter may say "perhaps" wrongly, between 0 and 1.

        Raises:
            InvalidSchemaError: If a column does not exist or can have none.
        """
        return self._commit(name, lambda metadata: _filtered(metadata, columns, false_positives))

    # --- helpers -------------------------------------------------------------------------------------------------

    def _commit(self, name: str, evolution: Callable[[TableMetadata], CommitRequest]) -> CommitResult:
        with self._commits.attempts(self._catalog.dataset(name, Privilege.ALTER).version.id) as attempts:
            for attempt in attempts:
                with attempt:
                    target = self._catalog.dataset(name, Privilege.ALTER)
                    result = self._commits.commit(target, evolution(self._tables.load(target.version)))
        return result

    def _schema_changed(self, metadata: TableMetadata, changes: Sequence[SchemaChange]) -> CommitRequest:
        sources = {part.source_id for part in metadata.partition_spec.fields} | sort_sources(metadata)
        schema, _ = evolve(
            metadata.schema,
            changes,
            last_column_id=metadata.last_column_id,
            new_schema_id=max(schema.schema_id for schema in metadata.schemas) + 1,
            fixed_ids=metadata.semantics.fixed_field_ids(metadata.schema) | sources,
        )
        orphaned = frozenset(
            spec.spec_id
            for spec in metadata.partition_specs
            if any(schema.find_column_name(part.source_id) is None for part in spec.fields)
        )
        if orphaned:
            self._refuse_used(orphaned, metadata)
        remaining = [spec for spec in metadata.partition_specs if spec.spec_id not in orphaned]
        if taken := taken_name(schema, remaining):
            raise InvalidSchemaError(
                f"The column name {taken[0]!r} is taken: a partition field is called so, which other engines would "
                "take for the column.",
                hint="Choose another name.",
            )
        return CommitRequest(
            requirements=(
                AssertCurrentSchemaId(metadata.current_schema_id),
                AssertLastAssignedFieldId(metadata.last_column_id),
                AssertDefaultSpecId(metadata.default_spec_id),
                AssertDefaultSortOrderId(metadata.default_sort_order_id),
                AssertLastAssignedPartitionId(metadata.last_partition_id),
                *([AssertLastSequenceNumber(metadata.last_sequence_number)] if orphaned else []),
            ),
            updates=(
                *([RemovePartitionSpecs(orphaned)] if orphaned else []),
                AddSchema(schema),
                SetCurrentSchema(),
                *_filters_changed(metadata, evolved_filter_properties(metadata.properties, metadata.schema, schema)),
            ),
        )

    def _refuse_used(self, spec_ids: frozenset[int], metadata: TableMetadata) -> None:
        """Refuse to drop the columns of earlier partitionings while a snapshot has files that they say the place of."""
        if used := file_of_spec(self._tables.io, metadata, spec_ids):
            snapshot, manifest = used
            terms = describe_partitioning(metadata.spec_by_id(manifest.partition_spec_id), metadata.schema)
            raise IncompatibleSchemaError(
                f"Files of an earlier partitioning, by {', '.join(terms)}, are laid out by a column that would be "
                f"dropped; snapshot {snapshot.sequence_number} has some.",
                hint="Rewrite them with compact --rewrite-all; drop the column when that snapshot has expired.",
            )


def _partitioned(metadata: TableMetadata, terms: Sequence[str]) -> CommitRequest:
    spec = parse_partitioning(terms, metadata.schema, metadata.partition_specs, metadata.last_partition_id)
    if spec.spec_id == metadata.default_spec_id:
        return CommitRequest()
    known = any(spec.spec_id == earlier.spec_id for earlier in metadata.partition_specs)
    return CommitRequest(
        requirements=(
            AssertCurrentSchemaId(metadata.current_schema_id),
            AssertDefaultSpecId(metadata.default_spec_id),
            AssertLastAssignedPartitionId(metadata.last_partition_id),
        ),
        updates=(*([] if known else [AddPartitionSpec(spec)]), SetDefaultSpec(spec.spec_id)),
        action="dataset.partition_by",
        details={"partitioning": describe_partitioning(spec, metadata.schema)},
    )


def _sorted(metadata: TableMetadata, terms: Sequence[str]) -> CommitRequest:
    order = parse_sort_order(terms, metadata.schema, metadata.sort_orders)
    number = order["order-id"]
    if number == metadata.default_sort_order_id:
        return CommitRequest()
    added = [] if any(number == earlier["order-id"] for earlier in metadata.sort_orders) else [AddSortOrder(order)]
    now = metadata.with_changes(sort_orders=(*metadata.sort_orders, order), default_sort_order_id=number)
    return CommitRequest(
        requirements=(
            AssertCurrentSchemaId(metadata.current_schema_id),
            AssertDefaultSortOrderId(metadata.default_sort_order_id),
        ),
        updates=(*added, SetDefaultSortOrder(number)),
        action="dataset.sort_by",
        details={"sort_order": describe_sort_order(now)},
    )


def _in_write_mode(metadata: TableMetadata, mode: WriteMode) -> CommitRequest:
    if mode is metadata.semantics.write_mode:
        return CommitRequest()
    return CommitRequest(
        updates=(RemoveProperties((AUTO_PROPERTY,)), SetProperties(write_mode_properties(mode))),
        action="dataset.set_write_mode",
        details={"write_mode": mode},
    )


def _filtered(metadata: TableMetadata, columns: Sequence[str], false_positives: float) -> CommitRequest:
    return CommitRequest(
        requirements=(AssertCurrentSchemaId(metadata.current_schema_id),),
        updates=_filters_changed(metadata, filter_properties(columns, metadata.schema, false_positives)),
        action="dataset.set_bloom_filters",
        details={"columns": sorted(set(columns)), "false_positives": false_positives},
    )


def _filters_changed(metadata: TableMetadata, wanted: Mapping[str, str]) -> tuple[Update, ...]:
    """Return what makes the properties about Bloom filters those that are wanted."""
    now = properties_of_filters(metadata.properties)
    gone = tuple(name for name in now if name not in wanted)
    return (
        *([RemoveProperties(gone)] if gone else []),
        *([SetProperties(dict(wanted))] if dict(wanted) != now else []),
    )
