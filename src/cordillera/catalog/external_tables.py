"""Tables that other engines create: at once, or in a transaction that fills them too.

In such a transaction an engine asks for a place first, writes its files there, and then commits the table with all that
is in it. Nothing is stored before that; if it never comes, the files are orphans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pyiceberg.partitioning import (
    PARTITION_FIELD_ID_START,
    UNPARTITIONED_PARTITION_SPEC,
    PartitionSpec,
    assign_fresh_partition_spec_ids,
)
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder, assign_fresh_sort_order_ids

from cordillera.catalog.commit_records import CommitRecords
from cordillera.catalog.external_commits import ExternalCommitService, check_numbers, steps
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.new_table import external_table
from cordillera.catalog.requests import CommitRequest
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import MetadataFile, TableService, with_state
from cordillera.context import current
from cordillera.errors import InvalidInputError, InvalidSchemaError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import Dataset, DatasetVersion, Lifecycle
from cordillera.spec.commit import AddSnapshot, SetSnapshotRef, Update, UpgradeFormatVersion, apply
from cordillera.spec.last_added import settled
from cordillera.spec.metadata_updates import AssignUuid, SetLocation, SetStatistics
from cordillera.spec.partitioning import check_partitioning
from cordillera.spec.sort_order import check_sort_order
from cordillera.spec.table_metadata import SUPPORTED_FORMAT_VERSIONS, UNSORTED, TableMetadata

_DEFAULT_FORMAT_VERSION = 2
"""What Iceberg's own catalogs take where a client does not say: many that do not cannot write version 3."""


@dataclass(frozen=True, slots=True)
class NewExternalTable:
    """What another engine wants a table to be.

    Attributes:
        name: ``namespace.dataset``.
        schema: Its columns; the identifier fields become the key. Field ids are assigned anew.
        partitioning: How its files are laid out.
        sort_order: How rows are sorted in files.
        properties: Table properties; ``format-version`` among them says which one to use.
    """

    name: str
    schema: Schema
    partitioning: PartitionSpec = UNPARTITIONED_PARTITION_SPEC
    sort_order: SortOrder = UNSORTED_SORT_ORDER
    properties: Mapping[str, str] = field(default_factory=dict)


class ExternalTableService:
    """Creates tables for other engines.

    Args:
        catalog: Resolves and records names.
        tables: Writes table metadata.
        external: Checks what engines commit.
        clock: Time and ids.
    """

    def __init__(
        self, catalog: CatalogService, tables: TableService, external: ExternalCommitService, clock: Clock
    ) -> None:
        self._catalog, self._tables, self._external, self._clock = catalog, tables, external, clock

    def create(self, wanted: NewExternalTable) -> ResolvedDataset:
        """Create an empty table.

        Raises:
            AlreadyExistsError, NamespaceNotFoundError, InvalidNameError, InvalidSchemaError: As their names say.
        """
        dataset, version_id = self._catalog.new_dataset(wanted.name), self._clock.new_id()
        metadata = self._table(wanted, dataset, version_id)
        version = self._catalog.insert_version(dataset, version_id, 1, Lifecycle.ACTIVE, metadata)
        return ResolvedDataset(dataset, version)

    def stage(self, wanted: NewExternalTable) -> TableMetadata:
        """Return what a table would be, and where; nothing is stored.

        Raises:
            AlreadyExistsError, NamespaceNotFoundError, InvalidNameError, InvalidSchemaError: As for ``create``.
        """
        metadata = self._table(wanted, self._catalog.new_dataset(wanted.name), self._clock.new_id())
        self._tables.make_folders(metadata.location)
        return metadata

    def commit_new(
        self, name: str, updates: Sequence[Update], *, idempotency_key: str | None = None, request_hash: str = ""
    ) -> ResolvedDataset:
        """Create a table with all that is in it, in one transaction.

        Args:
            name: The dataset.
            updates: What makes the table out of nothing; its snapshots behind all that describes it.
            idempotency_key, request_hash: Make a repetition of the commit have no further effect.

        Raises:
            AlreadyExistsError, NamespaceNotFoundError, InvalidNameError, InvalidSchemaError: As for ``create``.
            CordilleraError: One of its kinds, if what is in it may not be.
        """
        staged = _staged(updates)
        if staged and idempotency_key and self._external.created(staged[1], idempotency_key, request_hash):
            return self._catalog.dataset(name, Privilege.READ)
        dataset = self._catalog.new_dataset(name)
        location, version_id = self._place(dataset, staged)
        empty, rest = self._described(location, updates)
        first = CommitRequest(idempotency_key=idempotency_key, request_hash=request_hash)
        requests, state = [(first, empty, empty)], empty
        for part in steps(settled(rest, empty)):
            check_numbers(name, state, part)
            request = self._external.request(name, state, part)
            after = apply(request.updates, state, self._tables.io.now_ms())
            requests.append((request, state, after))
            state = after
        context, now = current(), self._clock.now()

        def record(tx: Transaction, version: DatasetVersion) -> None:
            target = ResolvedDataset(dataset, version)
            for request, before, after in requests:
                at = with_state(version, MetadataFile(version.metadata_location, after), now)
                CommitRecords(tx, target, at, request, before, after, context, now).write()

        version = self._catalog.insert_version(dataset, version_id, 1, Lifecycle.ACTIVE, state, also=record)
        return ResolvedDataset(dataset, version)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _table(self, wanted: NewExternalTable, dataset: Dataset, version_id: UUID) -> TableMetadata:
        check_partitioning(wanted.partitioning, wanted.schema)
        check_sort_order(wanted.sort_order.model_dump(mode="json", by_alias=True), wanted.schema)
        schema = assign_fresh_schema_ids(wanted.schema)
        spec = assign_fresh_partition_spec_ids(wanted.partitioning, wanted.schema, schema)
        order = assign_fresh_sort_order_ids(wanted.sort_order, wanted.schema, schema)
        properties = dict(wanted.properties)
        metadata = self._empty(
            self._tables.new_location(dataset, version_id),
            _format_version(properties.pop("format-version", str(_DEFAULT_FORMAT_VERSION))),
            str(self._clock.new_id()),
        ).with_changes(
            schemas=(Schema(*schema.fields, schema_id=0, identifier_field_ids=schema.identifier_field_ids),),
            current_schema_id=0,
            last_column_id=schema.highest_field_id,
            partition_specs=(spec,),
            default_spec_id=spec.spec_id,
            last_partition_id=spec.last_assigned_field_id,
            sort_orders=(order.model_dump(mode="json", by_alias=True),),
            default_sort_order_id=order.order_id,
            properties=properties,
        )
        return external_table(metadata)

    def _place(self, dataset: Dataset, staged: tuple[str, UUID] | None) -> tuple[str, UUID]:
        if staged is None or staged[0] != self._tables.new_location(dataset, staged[1]):
            where = staged[0] if staged else "that place"
            raise InvalidInputError(
                f"The table {dataset.full_name} cannot live at {where[:200]}: the lake chooses where tables live.",
                hint="Stage its creation first (stage-create), and commit it with the location from the answer.",
            )
        return staged

    def _described(self, location: str, updates: Sequence[Update]) -> tuple[TableMetadata, list[Update]]:
        """Return the empty table that updates describe, and those that fill it; engines send them in any order."""
        filling: list[Update] = [
            one for one in updates if isinstance(one, AddSnapshot | SetSnapshotRef | SetStatistics)
        ]
        describing = [one for one in updates if one not in filling]
        uuid = next((one.uuid for one in describing if isinstance(one, AssignUuid)), str(self._clock.new_id()))
        versions = [one.format_version for one in describing if isinstance(one, UpgradeFormatVersion)]
        empty = self._empty(location, _format_version(str(versions[-1] if versions else _DEFAULT_FORMAT_VERSION)), uuid)
        metadata = apply(settled(describing, empty), empty, self._tables.io.now_ms())
        if not metadata.schemas or metadata.current_schema_id not in {one.schema_id for one in metadata.schemas}:
            raise InvalidSchemaError(f"The commit describes no columns of the table at {location}.")
        if not metadata.partition_specs:
            metadata = metadata.with_changes(partition_specs=(UNPARTITIONED_PARTITION_SPEC,), default_spec_id=0)
        if not metadata.sort_orders:
            metadata = metadata.with_changes(sort_orders=(UNSORTED,), default_sort_order_id=0)
        for spec in metadata.partition_specs:
            check_partitioning(spec, metadata.schema)
        for order in metadata.sort_orders:
            check_sort_order(order, metadata.schema)
        return external_table(metadata), filling

    def _empty(self, location: str, format_version: int, uuid: str) -> TableMetadata:
        return TableMetadata(
            format_version=format_version,
            table_uuid=uuid,
            location=location,
            last_sequence_number=0,
            last_updated_ms=self._tables.io.now_ms(),
            last_column_id=0,
            schemas=(),
            current_schema_id=-1,
            partition_specs=(),
            default_spec_id=-1,
            last_partition_id=PARTITION_FIELD_ID_START - 1,
            sort_orders=(),
            next_row_id=0 if format_version >= 3 else None,
        )


def _staged(updates: Sequence[Update]) -> tuple[str, UUID] | None:
    """Return where a table was staged, and the id of the dataset version that the place was made for."""
    location = next((update.location for update in updates if isinstance(update, SetLocation)), "").rstrip("/")
    try:
        return location, UUID(location.rsplit("/", 1)[-1])
    except ValueError:
        return None


def _format_version(text: str) -> int:
    if text not in map(str, SUPPORTED_FORMAT_VERSIONS):
        raise InvalidSchemaError(
            f"Iceberg format version {text[:20]} is not supported.", hint="Use 3, or 2 for older clients."
        )
    return int(text)
