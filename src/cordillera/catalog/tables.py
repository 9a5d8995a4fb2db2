"""The tables behind dataset versions: their metadata files, commits, reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from uuid import UUID

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.schema import Schema

from cordillera.catalog.lake_keys import lake_key
from cordillera.errors import SnapshotNotFoundError
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.scan_observer import ScanObserver
from cordillera.ports.storage import Storage
from cordillera.spec import sql
from cordillera.spec.as_of import AsOf, last_moment, read_as_of
from cordillera.spec.catalog import Column, Dataset, DatasetVersion
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.lake_key import KeyPurpose
from cordillera.spec.narrowed import marked
from cordillera.spec.partitioning import describe_partitioning
from cordillera.spec.refs import RefKind, commits_between, find_ref
from cordillera.spec.row_access import RowAccess, RowView
from cordillera.spec.sort_order import describe_sort_order
from cordillera.spec.table_metadata import MAIN_BRANCH, IcebergSnapshot, TableMetadata, metadata_number
from cordillera.table.change_feed import ChangeFeed
from cordillera.table.changes import SnapshotChanges
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile, LruCache
from cordillera.table.metadata_encoding import PLAIN, MetadataEncoder
from cordillera.table.reader import ReadOptions
from cordillera.table.row_view import ShownRows
from cordillera.table.scan import Scan, check_selection, filtered, plan, stream, stream_candidates
from cordillera.table.scan_report import ScanReporter

_METADATA_FILES_PROPERTY = "write.metadata.previous-versions-max"
METADATA_FILES_KEPT = 100
"""Earlier metadata files that stay readable by path, for engines that hold an older pointer, unless the table's
property ``write.metadata.previous-versions-max`` says otherwise."""
_REMOVED_PART = 10
"""Of as many as are kept a tenth is removed at once: to remove a file durably takes a fifth of a commit's time."""
_SNAPSHOTS = 60_000
"""How many snapshots the table metadata kept in memory have together; about 2 kB each, and half of it is shared."""
_CHANGES = 30_000
"""How many kilobytes are kept of changes that several subscriptions to a dataset are brought, one after the other."""
_ENCODED_BYTES = 64_000_000
"""How much table metadata is kept in memory the way engines get it."""


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """A metadata file and what it says."""

    location: str
    metadata: TableMetadata


class TableService:
    """Loads and stores table metadata, and reads rows.

    Args:
        store: Knows the snapshots by time.
        io: Access to the tables' files.
        observer: Is told of the scans that somebody asked for.
    """

    def __init__(self, store: MetadataStore, io: TableIO, observer: ScanObserver) -> None:
        self._store, self.io, self._observer = store, io, observer
        self.reporter = ScanReporter(io.files)
        self._loaded: LruCache[str, TableMetadata] = LruCache(_SNAPSHOTS, lambda metadata: len(metadata.snapshots) + 1)
        self._encoded: LruCache[tuple[str, bool], bytes] = LruCache(_ENCODED_BYTES, len)
        self._changes: LruCache[object, SnapshotChanges] = LruCache(_CHANGES, lambda changes: changes.weight)
        self._encoder = MetadataEncoder()

    # --- metadata files ------------------------------------------------------------------------------------------

    def new_location(self, dataset: Dataset, version_id: UUID) -> str:
        """Return where the table of a new dataset version lives; never used before, even by a dataset of that name."""
        return f"{self.io.storage.root}/{dataset.namespace}/{dataset.name}/{version_id}"

    def make_folders(self, location: str) -> None:
        """Let other engines, which may expect the folders of a table to be there, write into them."""
        for name in ("data", "metadata"):
            self.io.storage.make_folder(f"{location}/{name}")

    def load(self, version: DatasetVersion) -> TableMetadata:
        """Return the table metadata that a dataset version points at."""
        location = version.metadata_location
        return self._loaded.get(location, lambda: TableMetadata.from_json(self.io.storage.read(location), location))

    def encoded(self, version: DatasetVersion, *, named_only: bool = False) -> bytes:
        """Return the table metadata that a dataset version points at as JSON, the way engines get it.

        Args:
            version: The dataset version.
            named_only: Tell of no other snapshots than those that branches and tags name.
        """

        def encode() -> bytes:
            metadata = self.load(version)
            return (_with_named_snapshots(metadata) if named_only else metadata).to_json()

        return self._encoded.get((version.metadata_location, named_only), encode)

    def write_metadata(self, metadata: TableMetadata, counter: int, storage: Storage | None = None) -> str:
        """Write a metadata file and return its location.

        Args:
            metadata: What it says.
            counter: Sorts the files of a table for the human eye.
            storage: The view to write it through, if it becomes durable together with others.
        """
        content, ending = self._encoder.encode(metadata)
        location = f"{metadata.location}/metadata/{counter:05d}-{self.io.clock.new_id()}.{ending}"
        (storage or self.io.storage).write(location, content)
        self._loaded.put(location, metadata)
        if ending == PLAIN:
            self._encoded.put((location, False), content)
        return location

    def write_successor(
        self, before: MetadataFile, after: TableMetadata, storage: Storage
    ) -> tuple[MetadataFile, tuple[str, ...]]:
        """Write the metadata file that follows ``before``, through a view of the storage that is still to be settled.

        Returns:
            The new file, and the locations of files that have become too old to keep.
        """
        entry = {"metadata-file": before.location, "timestamp-ms": before.metadata.last_updated_ms}
        log = (*before.metadata.metadata_log, entry)
        most = _files_kept(after.properties)
        removed = 0 if len(log) <= most else len(log) - most + most // _REMOVED_PART
        metadata = after.with_changes(metadata_log=log[removed:])
        counter = metadata_number(before.location) + 1
        written = MetadataFile(self.write_metadata(metadata, counter, storage), metadata)
        if before.metadata.metadata_log:  # who lost to ``before`` may still work with what was before it, nobody longer
            self._loaded.forget(str(before.metadata.metadata_log[-1]["metadata-file"]))
        for named_only in (False, True):
            self._encoded.forget((before.location, named_only))
        return written, tuple(str(old["metadata-file"]) for old in log[:removed])

    def forget_metadata(self, location: str) -> None:
        """Remove a metadata file whose commit did not happen."""
        self.io.storage.delete([location])

    def remove_files(self, location: str) -> None:
        """Remove everything under a table's location, for good."""
        self.io.storage.delete(found.uri for found in self.io.storage.list(location))

    # --- reading -------------------------------------------------------------------------------------------------

    def snapshot(self, name: str, version: DatasetVersion, as_of: AsOf) -> IcebergSnapshot | None:
        """Return the snapshot that ``as_of`` means; None for an empty table.

        Raises:
            SnapshotNotFoundError: If there is no such snapshot, or it has expired.
            InvalidInputError: If ``as_of`` is no moment.
        """
        metadata, moment = self.load(version), read_as_of(as_of)
        if moment is None or moment == MAIN_BRANCH:
            return metadata.current_snapshot
        if isinstance(moment, str):
            return metadata.snapshot_by_id(find_ref(metadata, moment, name).snapshot_id)
        if not isinstance(moment, int) and not metadata.snapshots and last_moment(moment) >= version.created_at:
            return None  # it was empty then, and still is
        found = metadata.snapshot_by_sequence(self._sequence(version, moment))
        if found is None:
            first = metadata.snapshots[0].sequence_number if metadata.snapshots else None
            raise SnapshotNotFoundError(
                f"{name} has no snapshot as of {as_of}.",
                hint=f"Its snapshots are {first} to {metadata.last_sequence_number}."
                if first is not None
                else "It has no snapshot at all.",
            )
        return found

    def scan(
        self,
        name: str,
        version: DatasetVersion,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        as_of: AsOf = None,
        rows: RowAccess | None = None,
    ) -> pa.RecordBatchReader:
        """Stream rows in bounded memory.

        Args:
            name: The dataset's name, for messages.
            version: What to read.
            columns: Columns in the order wanted; None for all.
            where: SQL condition on the rows.
            as_of: The moment to read the table as of; it is read under the schema it had then. A branch has the
                current schema.
            rows: What is shown to whoever asks; None for all.

        Raises:
            UnknownColumnError, InvalidExpressionError, SnapshotNotFoundError, InvalidInputError: As their names say.
            AccessDeniedError: If what is shown cannot be told.
        """
        metadata = self.load(version)
        snapshot = self.snapshot(name, version, as_of)
        schema = self.schema_then(name, version, as_of)
        if rows is not None:
            view = self.view(version, rows, schema)
            row_filter = parse_row_filter(where, view.schema, view.clear_schema) if where else None
            chosen = check_selection(columns, view.schema, name)
            needed = tuple(dict.fromkeys((*chosen, *(row_filter.columns if row_filter else ()))))
            pruning, used = (row_filter.pruning, row_filter.columns) if row_filter else (AlwaysTrue(), ())
            shown_rows = self.candidates(name, version, needed, pruning, used, as_of, view)
            return marked(filtered(self.io, shown_rows, chosen, row_filter), view.narrowed(name, schema))
        row_filter = parse_row_filter(where, schema) if where else None
        scan = Scan(metadata, snapshot, schema, check_selection(columns, schema, name), row_filter)
        files = plan(self.io, scan)
        pruning, used = (row_filter.pruning, row_filter.columns) if row_filter else (AlwaysTrue(), ())
        self.count_scan(version, snapshot, schema, pruning, used, files)
        return stream(self.io, scan, files)

    def schema(self, name: str, version: DatasetVersion, as_of: AsOf = None) -> pa.Schema:
        """Return the Arrow schema that rows have, now or as of a sequence number or time."""
        return ReadOptions(self.schema_then(name, version, as_of)).arrow_schema()

    def schema_then(self, name: str, version: DatasetVersion, as_of: AsOf) -> Schema:
        """Return the schema a read sees: today's, or for a read of the past the one it was written under."""
        metadata, snapshot = self.load(version), self.snapshot(name, version, as_of)
        if snapshot is None or as_of is None:
            return metadata.schema
        on_a_branch = isinstance(as_of, str) and metadata.refs.get(as_of, {}).get("type") == RefKind.BRANCH
        return metadata.schema if on_a_branch else metadata.schema_by_id(snapshot.schema_id)

    def candidates(
        self,
        name: str,
        version: DatasetVersion,
        columns: Sequence[str],
        pruning: BooleanExpression,
        used: Sequence[str],
        as_of: AsOf = None,
        view: RowView | None = None,
    ) -> pa.RecordBatchReader:
        """Stream the rows that statistics do not rule out for an expression; others may be among them.

        Args:
            name: The dataset's name, for messages.
            version: What to read.
            columns: Columns wanted.
            pruning: What statistics can decide of the condition.
            used: The columns that the condition uses.
            as_of: The moment to read the table as of.
            view: What is shown of the rows to whoever asks; then no others are among them.
        """
        schema, snapshot = self.schema_then(name, version, as_of), self.snapshot(name, version, as_of)
        read = columns
        if view is not None:
            read, pruning = tuple(dict.fromkeys((*columns, *view.columns))), And(view.pruning, pruning)
            used = [one for one in used if one in view.clear]
        scan = Scan(self.load(version), snapshot, schema, tuple(read))
        files = plan(self.io, scan, pruning)
        self.count_scan(version, snapshot, schema, pruning, used, files)
        found = stream_candidates(self.io, scan, pruning, files)
        return found if view is None else self.shown(name, view).of(self.io, found, columns)

    def view(self, version: DatasetVersion, rows: RowAccess, schema: Schema) -> RowView:
        """Return what is shown of rows that are read under a schema.

        Raises:
            AccessDeniedError: If that cannot be told: grants name columns that are not there.
        """
        return rows.of(self.load(version).schemas, schema)

    def shown(self, name: str, view: RowView) -> ShownRows:
        """Return what makes the rows of a view, hashed with the lake's key where they are masked so."""
        return ShownRows(view, lake_key(self._store, self.io.clock, KeyPurpose.HASHES).secret, name)

    def count_scan(
        self,
        version: DatasetVersion,
        snapshot: IcebergSnapshot | None,
        schema: Schema,
        pruning: BooleanExpression,
        used: Sequence[str],
        files: Sequence[LiveFile],
    ) -> None:
        """Take note of a scan that somebody asked for; see ``ScanReporter.report``."""
        self._observer.scanned(version.id, lambda: self.reporter.report(snapshot, schema, pruning, used, files))

    def scan_metadata(
        self, name: str, metadata: TableMetadata, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream the current rows of table metadata that need not be committed yet."""
        chosen = check_selection(columns, metadata.schema, name)
        return stream(self.io, Scan(metadata, metadata.current_snapshot, metadata.schema, chosen))

    def changes(
        self,
        name: str,
        metadata: TableMetadata,
        after: int | None,
        upto: int,
        columns: Sequence[str],
        row_filter: str = "",
        view: RowView | None = None,
    ) -> SnapshotChanges | None:
        """Return what changed between two snapshots, given by sequence number; None if one of them has expired.

        Args:
            name: The dataset's name, for messages.
            metadata: The table; rows are read under its current schema.
            after: The earlier snapshot; None, or 0, for the empty table before the first.
            upto: The later one; 0 for the empty table.
            columns: Columns of changed rows.
            row_filter: Condition that rows have to satisfy to count.
            view: What is shown of the rows to whoever asks; None for all.
        """
        earlier = metadata.snapshot_by_sequence(after) if after else None
        later = metadata.snapshot_by_sequence(upto) if upto else None
        if (after and earlier is None) or (upto and later is None):
            return None
        if view is None and not row_filter:  # what is shown to one is kept for nobody
            ends = tuple(one.snapshot_id if one else None for one in (earlier, later))
            wanted = (metadata.table_uuid, metadata.current_schema_id, metadata.semantics.key, *ends, *columns)
            return self._changes.get(wanted, lambda: SnapshotChanges(self.io, metadata, earlier, later, columns))
        visible = metadata.schema if view is None else view.schema
        condition = parse_row_filter(row_filter, visible) if row_filter else None
        return SnapshotChanges(
            self.io,
            metadata,
            earlier,
            later,
            columns,
            condition.sql if condition else sql.EVERY_ROW,
            condition.columns if condition else (),
            None if view is None else self.shown(name, view),
        )

    def change_feed(
        self,
        name: str,
        version: DatasetVersion,
        *,
        after: AsOf = None,
        upto: AsOf = None,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        net: bool = True,
        rows: RowAccess | None = None,
        schema: Schema | None = None,
    ) -> pa.RecordBatchReader:
        """Stream what changed between two moments, with images of both sides.

        Args:
            name: The dataset's name, for messages.
            version: What to read.
            after: The moment to begin from; None, or 0, for the empty table before the first snapshot.
            upto: The moment to end with; None means now.
            columns: Columns in the order wanted; None for all.
            where: SQL condition on the rows.
            net: One change for each row that differs; else those of every commit, one commit after the other.
            rows: What is shown to whoever asks; None for all. A row that is not shown any more is a delete.
            schema: What the rows are read under; by default the schema of the later moment.

        Raises:
            UnknownColumnError, InvalidExpressionError, SnapshotNotFoundError, InvalidInputError: As their names say.
            AccessDeniedError: If what is shown cannot be told.
            NotAllowedError: If every commit is wanted, and no chain of commits leads from one to the other.
        """
        metadata, schema = self.load(version), schema or self.schema_then(name, version, upto)
        earlier, later = self._beginning(name, version, after), self.snapshot(name, version, upto)
        view = self.view(version, rows, schema) if rows is not None else None
        visible, told = (schema, schema) if view is None else (view.schema, view.clear_schema)
        row_filter = parse_row_filter(where, visible, told) if where else None
        scan = Scan(metadata, later, schema, check_selection(columns, visible, name), row_filter)
        feed = ChangeFeed(self.io, scan, earlier, None if view is None else self.shown(name, view))
        self._observer.read(version.id)
        found = feed.net() if net else feed.commit_by_commit(commits_between(metadata, earlier, later, name))
        return found if view is None else marked(found, view.narrowed(name, schema))

    def _beginning(self, name: str, version: DatasetVersion, after: AsOf) -> IcebergSnapshot | None:
        """Return the snapshot to begin from; None if the table was empty then."""
        moment, snapshots = read_as_of(after), self.load(version).snapshots
        if moment in (None, 0):
            return None
        if isinstance(moment, date) and snapshots and snapshots[0].parent_snapshot_id is None:
            first = datetime.fromtimestamp(snapshots[0].timestamp_ms / 1000, UTC)
            if last_moment(moment) < first:
                return None
        return self.snapshot(name, version, after)

    def _sequence(self, version: DatasetVersion, moment: int | date) -> int:
        if isinstance(moment, int):
            return moment
        with self._store.read() as tx:
            found = tx.snapshots.at(version.id, last_moment(moment))
        return found.sequence_number if found else -1


def _with_named_snapshots(metadata: TableMetadata) -> TableMetadata:
    named = {ref["snapshot-id"] for ref in metadata.refs.values()}
    return metadata.with_changes(snapshots=tuple(one for one in metadata.snapshots if one.snapshot_id in named))


def columns_of(schema: Schema) -> tuple[Column, ...]:
    """Return a schema's top-level columns as the catalog keeps them."""
    return tuple(
        Column(field.field_id, position, field.name, str(field.field_type), field.required, field.doc or "")
        for position, field in enumerate(schema.fields)
    )


def with_state(version: DatasetVersion, file: MetadataFile, now: datetime) -> DatasetVersion:
    """Return a dataset version as it is after a commit that wrote a metadata file."""
    metadata = file.metadata
    snapshot = metadata.current_snapshot
    return replace(
        version,
        metadata_location=file.location,
        format_version=metadata.format_version,
        key=metadata.semantics.key,
        sequence_column=metadata.semantics.sequence,
        partitioning=describe_partitioning(metadata.partition_spec, metadata.schema),
        sort_order=describe_sort_order(metadata),
        write_mode=metadata.semantics.write_mode,
        schema_id=metadata.current_schema_id,
        sequence_number=snapshot.sequence_number if snapshot else 0,
        rows=rows_in(snapshot),
        bytes=_total(snapshot, "files-size"),
        files=_total(snapshot, "data-files"),
        updated_at=now,
    )


def _files_kept(properties: Mapping[str, str]) -> int:
    """Return how many earlier metadata files a table keeps; always one, which readers may just be reading."""
    declared = properties.get(_METADATA_FILES_PROPERTY, "")
    return max(1, int(declared)) if declared.isdigit() else METADATA_FILES_KEPT


def rows_in(snapshot: IcebergSnapshot | None) -> int:
    """Return how many rows a snapshot has, as its summary says."""
    return _total(snapshot, "records") - _total(snapshot, "position-deletes")


def _total(snapshot: IcebergSnapshot | None, what: str) -> int:
    return int(snapshot.summary.get(f"total-{what}", 0)) if snapshot else 0
