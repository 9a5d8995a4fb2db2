"""Keeps tables in another lake, or in whatever Iceberg REST catalog, equal with datasets.

Every delivery is one commit of the catalog: schema, rows, and the table property that says how far the table has
followed. The commit requires that the table's main branch still points at the snapshot that the delivery was worked out
from, and it always adds a snapshot, so of two deliveries from one cursor one is made. The snapshot's summary tells
where its rows are from.

Data files, deletion vectors and manifests are written by the lake's own table engine, into the table's folder and with
the credentials that the catalog gives out, or with the target's own. Rows of files that nobody committed are in no
snapshot; the catalog's own clean-up removes such files.

Which table a subscription keeps is a property of the namespace; that the table is its own is the table's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import UUID, uuid4

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.synchronizers.columns import key_field_ids
from cordillera.adapters.synchronizers.deliveries import (
    StoredState,
    check_kept_table,
    check_table,
    evolution_to,
    is_due,
    read_columns,
)
from cordillera.adapters.synchronizers.iceberg_catalog import LoadedTable, RestCatalog
from cordillera.adapters.synchronizers.iceberg_rows import DeliveredRows
from cordillera.adapters.synchronizers.iceberg_schema import (
    STATE,
    as_stored,
    check_storable,
    evolved_schema,
    new_schema,
    state_of,
    state_to_text,
    stored_name,
    table_name,
)
from cordillera.errors import (
    CommitConflictError,
    CordilleraError,
    CorruptDataError,
    TargetDriftError,
    TargetUnreachableError,
    TerminalError,
)
from cordillera.ports.clock import Clock, SystemClock
from cordillera.ports.storage import Storage
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetColumn, TargetTable
from cordillera.spec.commit import (
    AddPartitionSpec,
    AddSchema,
    RemoveProperties,
    SetCurrentSchema,
    SetDefaultSpec,
    SetProperties,
    Update,
    UpgradeFormatVersion,
    apply,
)
from cordillera.spec.metadata_updates import AddSortOrder, AssignUuid, SetDefaultSortOrder, SetLocation
from cordillera.spec.requirements import (
    AssertCurrentSchemaId,
    AssertLastAssignedFieldId,
    AssertTableUuid,
    Requirement,
)
from cordillera.spec.row_history import IS_CURRENT
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.io import TableIO
from cordillera.table.journal import Journal
from cordillera.table.reader import ReadOptions
from cordillera.table.snapshot_producer import SnapshotProducer

ENGINE = "cordillera-replication"
_ATTEMPTS = 8
"""How often a delivery is tried while others commit to the table."""
_KEEPS = "replication.table."
"""Properties of the namespace begin so: which table the subscription of an id keeps."""

StorageFor = Callable[[str, Mapping[str, str]], Storage]
"""Opens the storage of a table's location, with what the catalog says of file access."""


class _OvertakenError(Exception):
    """Somebody else has changed the table since it was read. No row stream raises this."""


@contextmanager
def _overtaking() -> Iterator[None]:
    try:
        yield
    except CommitConflictError as error:
        raise _OvertakenError(error.message) from error


class IcebergSynchronizer:
    """Keeps tables in one namespace of an Iceberg REST catalog.

    Args:
        catalog: The namespace.
        storage_for: Opens storages.
        format_version: Of the tables it makes: 3, or 2 for readers that know no deletion vectors.
        clock: Time and ids.
    """

    def __init__(
        self,
        catalog: RestCatalog,
        storage_for: StorageFor,
        *,
        format_version: int = 3,
        clock: Clock | None = None,
    ) -> None:
        self._catalog, self._storage_for, self._format_version = catalog, storage_for, format_version
        self._engine, self._clock = DuckDBEngine(), clock or SystemClock()

    def __repr__(self) -> str:
        return f"<IcebergSynchronizer: {self._catalog.name}>"

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change; also of fields inside structs, lists and maps."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), history=True)

    def check(self) -> None:
        """Make sure that a table could be made: the catalog is asked to stage one, which stores nothing."""
        self._catalog.namespace_properties()
        self._staged(f"check_{uuid4().hex}", Schema(NestedField(1, "id", LongType(), True)))

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor that the subscription's table tells, or None before the first delivery."""
        kept = self._kept(subscription_id)
        found = self._catalog.load(kept) if kept is not None else None
        stored = _stored(found, subscription_id, kept or "")
        return stored.cursor if stored else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing; see the port."""
        check_table(delivery.table)
        name = table_name(delivery.table.name)
        for attempt in range(1, _ATTEMPTS + 1):
            kept = self._kept(delivery.subscription_id) or name
            found = self._catalog.load(kept)
            stored = _stored(found, delivery.subscription_id, kept)
            if not is_due(stored, delivery, name):
                return DeliveryResult(0, 0, already_applied=True)
            try:
                return self._deliver(delivery, name, found, stored)
            except _OvertakenError as error:
                if attempt == _ATTEMPTS:
                    raise TargetUnreachableError(
                        f"The table {name} in {self._catalog.name} was changed by others again and again: {error}",
                        hint="The delivery is repeated; what was done is not done again.",
                    ) from error
        raise AssertionError("the last attempt returns or raises")

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the rows of the table's main branch."""
        check_table(table)
        wanted = read_columns(table, columns)
        name = table_name(table.name)
        found = self._catalog.load(name)
        if found is None:
            raise TargetDriftError(f"There is no table {name} in {self._catalog.name}.", hint="Deliver it whole.")
        present = {field.name for field in found.metadata.schema.fields}
        for column in wanted:
            if stored_name(column.name) not in present:
                raise TargetDriftError(f"The table {name} in {self._catalog.name} has no column {column.name!r}.")
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in wanted])
        return pa.RecordBatchReader.from_batches(schema, self._read(found, wanted, schema, table))

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Forget a subscription and, unless ``keep_rows``, drop its table."""
        name, kept = table_name(table.name), self._kept(subscription_id)
        if kept is None:
            return
        check_kept_table(StoredState(kept, Cursor(0, 0), (), ()), subscription_id, name)
        found = self._catalog.load(name)
        if found is not None and _stored(found, subscription_id, name) is not None:
            if keep_rows:
                uuid = AssertTableUuid(found.metadata.table_uuid)
                self._catalog.commit(name, [uuid], [RemoveProperties((STATE,))])
            else:
                self._catalog.drop(name)
        self._catalog.change_namespace({}, [f"{_KEEPS}{subscription_id}"])

    def close(self) -> None:
        """Release connections and memory."""
        self._catalog.close()
        self._engine.close()

    # --- the catalog ------------------------------------------------------------------------------------------------

    def _kept(self, subscription_id: UUID) -> str | None:
        return self._catalog.namespace_properties().get(f"{_KEEPS}{subscription_id}")

    def _staged(self, name: str, schema: Schema) -> LoadedTable:
        return self._catalog.stage(name, schema, {"format-version": str(self._format_version)})

    def _io(self, found: LoadedTable) -> TableIO:
        location = found.metadata.location
        return TableIO(self._storage_for(location, found.files), self._engine, self._clock)

    # --- deliveries -------------------------------------------------------------------------------------------------

    def _deliver(
        self, delivery: Delivery, name: str, found: LoadedTable | None, stored: StoredState | None
    ) -> DeliveryResult:
        if found is not None and stored is None:
            raise TargetDriftError(
                f"There is a table {name} in {self._catalog.name} that this subscription did not make; it was left "
                "untouched.",
                hint="Choose another table name for the subscription, or rename that table.",
            )
        table = as_stored(delivery.table)
        if found is None or stored is None:
            self._catalog.change_namespace({f"{_KEEPS}{delivery.subscription_id}": name})
            return self._create(delivery, name, table)
        evolution = evolution_to(stored, replace(delivery, table=table))
        if evolution is None and not _keeps_key(stored, table):
            self._catalog.drop(name)  # identifier fields are for good: it takes another table
            return self._create(delivery, name, table)
        return self._change(delivery, name, table, found, stored)

    def _create(self, delivery: Delivery, name: str, table: TargetTable) -> DeliveryResult:
        with _overtaking():
            staged = self._staged(name, new_schema(table))
        return self._commit(delivery, name, table, staged, None, _making(staged.metadata), staged.metadata)

    def _change(
        self, delivery: Delivery, name: str, table: TargetTable, found: LoadedTable, stored: StoredState
    ) -> DeliveryResult:
        before = found.metadata
        updates = _schema_updates(before, stored, table)
        requirements: list[Requirement] = [AssertCurrentSchemaId(before.current_schema_id)]
        if updates:
            requirements.append(AssertLastAssignedFieldId(before.last_column_id))
        after = apply(updates, before, before.last_updated_ms)
        return self._commit(delivery, name, table, found, requirements, updates, after)

    def _commit(
        self,
        delivery: Delivery,
        name: str,
        table: TargetTable,
        found: LoadedTable,
        requirements: Sequence[Requirement] | None,
        updates: Sequence[Update],
        metadata: TableMetadata,
    ) -> DeliveryResult:
        """Write the files of a delivery and commit them.

        Args:
            delivery, name, table: What is delivered, and to where.
            found: The table as it is, or as it was staged.
            requirements: What the commit relies on besides rows; None for a table that is not there yet.
            updates: What comes before the rows: the schema, or all that makes a table.
            metadata: The table after these updates.
        """
        check_storable(table, metadata.format_version)
        io = self._io(found)
        journal = Journal(io.storage)
        io = io.through(journal)
        with journal.all_or_nothing():
            rows = DeliveredRows(io, metadata, delivery)
            resolved = rows.resolve(rows.write(), io.files.live(metadata.current_snapshot))
            produced = self._producer(io, metadata).produce(resolved.changes, _summary(delivery))
        state = SetProperties({STATE: state_to_text(delivery, table)})
        needed = None if requirements is None else [*requirements, *produced.requirements]
        try:
            with _overtaking():
                self._catalog.commit(name, needed, [*updates, state, *produced.updates])
        except (_OvertakenError, TerminalError):  # after others it may have been made all the same
            with suppress(CordilleraError):
                io.storage.delete(journal.written)
            raise
        return resolved.result

    def _producer(self, io: TableIO, metadata: TableMetadata) -> SnapshotProducer:
        return SnapshotProducer(io.storage, io.files, metadata, self._clock.new_id, io.now_ms())

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(
        self, found: LoadedTable, columns: Sequence[TargetColumn], schema: pa.Schema, table: TargetTable
    ) -> Iterator[pa.RecordBatch]:
        io, names = self._io(found), [stored_name(column.name) for column in columns]
        stored = found.metadata.schema
        options = ReadOptions(stored.select(*names))
        if table.current:
            held = (stored.select(IS_CURRENT), pa.array([True]))
            options = ReadOptions(stored.select(*names, IS_CURRENT), values=[held])
        try:
            for batch in io.reader.stream(io.files.live(found.metadata.current_snapshot), options):
                yield batch.select(names).rename_columns(schema.names).cast(schema)
        except CorruptDataError as error:
            raise TargetDriftError(
                f"A file of a table in {self._catalog.name} is gone or damaged: {error.message}",
                hint="Drop the table there; the next delivery brings everything anew.",
            ) from error


def _stored(found: LoadedTable | None, subscription_id: UUID, name: str) -> StoredState | None:
    return state_of(found.metadata.properties, subscription_id, name) if found is not None else None


def _keeps_key(stored: StoredState, table: TargetTable) -> bool:
    """Tell whether a table's key is what it was, and of the types that it had."""
    before = {column.field_id: column.type for column in stored.columns}
    now = {column.field_id: column.type for column in table.columns}
    ids = key_field_ids(table)
    return sorted(ids) == sorted(stored.key) and all(before[i] == now[i] for i in ids)


def _schema_updates(before: TableMetadata, stored: StoredState, table: TargetTable) -> list[Update]:
    """Return what gives a table the columns that are delivered; nothing if it has them."""
    new_id = max(schema.schema_id for schema in before.schemas) + 1
    after = evolved_schema(before.schema, before.last_column_id, new_id, stored, table)
    if after.fields == before.schema.fields:
        return []
    same = next((one.schema_id for one in before.schemas if one.fields == after.fields), None)
    return [SetCurrentSchema(same)] if same is not None else [AddSchema(after), SetCurrentSchema(new_id)]


def _making(staged: TableMetadata) -> list[Update]:
    """Return the updates that make a staged table."""
    return [
        AssignUuid(staged.table_uuid),
        UpgradeFormatVersion(staged.format_version),
        AddSchema(staged.schema),
        SetCurrentSchema(),
        AddPartitionSpec(staged.partition_spec),
        SetDefaultSpec(),
        AddSortOrder(staged.sort_order),
        SetDefaultSortOrder(),
        SetLocation(staged.location),
        SetProperties(dict(staged.properties)),
    ]


def _summary(delivery: Delivery) -> dict[str, str]:
    """Return what a snapshot tells of where its rows are from."""
    origin = delivery.origin
    return {
        "engine-name": ENGINE,
        "replication.lake": origin.lake if origin else "",
        "replication.dataset": origin.dataset if origin else "",
        "replication.snapshot": str(delivery.to_cursor.sequence_number),
        "replication.schema": str(delivery.to_cursor.schema_id),
        "replication.subscription": str(delivery.subscription_id),
    }
