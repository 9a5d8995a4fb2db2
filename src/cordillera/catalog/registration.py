"""Tables that lie in the lake's storage and belong to no dataset: found by a metadata file, and made one.

What is in such a file is believed no more than what an engine commits: its snapshots are checked one by one, as commits
are, and recorded, so that time travel, row counts and subscriptions work as if they had been committed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from pyiceberg.table.sorting import SortOrder

from cordillera.catalog.commit_records import CommitRecords
from cordillera.catalog.deletion import DeletionService
from cordillera.catalog.external_commits import ExternalCommitService
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.new_table import external_table
from cordillera.catalog.requests import CommitRequest
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import MetadataFile, TableService, with_state
from cordillera.commit_codec import updates_from_plain
from cordillera.context import current
from cordillera.errors import AccessDeniedError, CorruptDataError, InvalidInputError
from cordillera.ports.metadata import Transaction
from cordillera.spec.catalog import DatasetVersion, Lifecycle
from cordillera.spec.commit import AddSnapshot, SetSnapshotRef, Update, apply
from cordillera.spec.object_uri import canonical, object_key
from cordillera.spec.refs import RefKind, ancestors
from cordillera.spec.schema_successor import check_columns_of
from cordillera.spec.table_metadata import MAIN_BRANCH, TableMetadata

_FOLDERS = 3
"""A table's folder is named by namespace, dataset and the dataset version's id."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One snapshot, and the table before and after it."""

    request: CommitRequest
    before: TableMetadata
    after: TableMetadata
    at: datetime


class RegistrationService:
    """Makes datasets of tables that belong to none.

    Args:
        catalog: Records datasets.
        deletion: Knows whose a table is, and restores what was deleted.
        tables: Reads and writes table metadata.
        external: Checks what engines have written.
    """

    def __init__(
        self, catalog: CatalogService, deletion: DeletionService, tables: TableService, external: ExternalCommitService
    ) -> None:
        self._catalog, self._deletion, self._tables, self._external = catalog, deletion, tables, external

    def register(self, name: str, metadata_location: str) -> ResolvedDataset:
        """Make a table a dataset. One that was deleted, and whose files are there yet, is restored.

        Args:
            name: The dataset.
            metadata_location: The table's metadata file.

        Raises:
            AccessDeniedError: If the file lies where no table of this lake can, or a file of the table elsewhere.
            NotAllowedError: If the table is a dataset's, or it was deleted in a later state than the file's.
            InvalidInputError: If the file cannot be read, or contradicts itself.
            AlreadyExistsError, NamespaceNotFoundError, InvalidNameError, InvalidSchemaError: As their names say.
            CordilleraError: One of its kinds, if what is in the table may not be.
        """
        dataset, metadata_location = self._catalog.new_dataset(name), canonical(metadata_location)
        location, version_id = self._place(metadata_location)
        if self._deletion.has_version(version_id):
            return self._deletion.restore_table(version_id, metadata_location, name)
        found = self._read(metadata_location, location)
        empty = external_table(_emptied(found))
        steps = list(self._steps(name, found, empty))
        state = _completed(steps[-1].after if steps else empty, found, metadata_location)
        context = current()

        def record(tx: Transaction, version: DatasetVersion) -> None:
            target = ResolvedDataset(dataset, version)
            for step in steps:
                at = with_state(version, MetadataFile(version.metadata_location, step.after), step.at)
                CommitRecords(tx, target, at, step.request, step.before, step.after, context, step.at).write()

        version = self._catalog.insert_version(dataset, version_id, 1, Lifecycle.ACTIVE, state, also=record)
        return ResolvedDataset(dataset, version)

    def _place(self, metadata_location: str) -> tuple[str, UUID]:
        """Return the folder of a metadata file's table, and the id of the dataset version that it was made for."""
        root = self._tables.io.storage.root
        folders = object_key(root, metadata_location).split("/")
        try:
            version_id = UUID(folders[_FOLDERS - 1])
        except (IndexError, ValueError):
            version_id = None
        named = metadata_location.endswith((".metadata.json", ".metadata.json.gz", ".gz.metadata.json"))
        whole = len(folders) == _FOLDERS + 2 and folders[_FOLDERS] == "metadata" and named
        if version_id is None or not whole or str(version_id) != folders[_FOLDERS - 1]:
            raise AccessDeniedError(
                f"No table of this lake can have its metadata at {metadata_location[:300]!r}.",
                hint=f"Tables lie in {root}/namespace/dataset/id, and their metadata in the folder metadata there.",
            )
        return f"{root}/{'/'.join(folders[:_FOLDERS])}", version_id

    def _read(self, metadata_location: str, location: str) -> TableMetadata:
        try:
            found = TableMetadata.from_json(self._tables.io.storage.read(metadata_location), metadata_location)
            metadata = _checked(found)
        except (CorruptDataError, StopIteration, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidInputError(
                f"The metadata file {metadata_location} cannot be read: {str(error)[:300]}",
                hint="Register a table by a metadata file that is whole.",
            ) from error
        if metadata.location.rstrip("/") != location:
            raise AccessDeniedError(
                f"The metadata file {metadata_location} is that of a table at {metadata.location[:300]!r}.",
                hint="Register a table by a metadata file in its own folder.",
            )
        return metadata

    def _steps(self, name: str, found: TableMetadata, state: TableMetadata) -> Iterator[_Step]:
        """Yield the snapshots of a table, oldest first, each checked on top of the one before."""
        now_ms, latest_ms = self._tables.io.now_ms(), 0
        for updates in _parts(found):
            request = replace(self._external.request(name, state, updates), action="dataset.register")
            after = apply(request.updates, state, now_ms)
            stated = max((one.snapshot.timestamp_ms for one in updates if isinstance(one, AddSnapshot)), default=0)
            latest_ms = min(max(latest_ms, stated), now_ms)
            yield _Step(request, state, after, datetime.fromtimestamp(latest_ms / 1000, UTC))
            state = after


def _parts(found: TableMetadata) -> Iterator[list[Update]]:
    """Yield the updates that add a table's snapshots, one each time, and at last those that set its refs."""
    homes, known = _homes(found), {None, *(snapshot.snapshot_id for snapshot in found.snapshots)}
    for snapshot in found.snapshots:
        # What a parent that has expired had is not known: all that is there counts as added.
        expired = snapshot.parent_snapshot_id not in known
        summary = {**snapshot.summary, "operation": "overwrite"} if expired else snapshot.summary
        updates: list[Update] = [AddSnapshot(replace(snapshot, summary=summary))]
        if snapshot.snapshot_id in homes:
            updates.append(SetSnapshotRef(homes[snapshot.snapshot_id], snapshot.snapshot_id))
        yield updates
    if found.refs:
        yield [*_refs(found)]


def _homes(found: TableMetadata) -> dict[int, str]:
    """Return the branch that each snapshot is on; ``main`` where it is on several."""
    branches = [one for one in _refs(found) if one.type == RefKind.BRANCH]
    homes: dict[int, str] = {}
    for branch in sorted(branches, key=lambda one: one.ref != MAIN_BRANCH):
        for snapshot in ancestors(found, branch.snapshot_id):
            homes.setdefault(snapshot.snapshot_id, branch.ref)
    return homes


def _refs(found: TableMetadata) -> list[SetSnapshotRef]:
    plain = [{**ref, "action": "set-snapshot-ref", "ref-name": name} for name, ref in sorted(found.refs.items())]
    return [update for update in updates_from_plain(plain) if isinstance(update, SetSnapshotRef)]


def _emptied(found: TableMetadata) -> TableMetadata:
    """Return a table as it was before its first snapshot, with the columns that it has now."""
    return found.with_changes(
        location=found.location.rstrip("/"),
        snapshots=(),
        refs={},
        current_snapshot_id=None,
        snapshot_log=(),
        metadata_log=(),
        last_sequence_number=0,
        next_row_id=0 if found.format_version >= 3 else None,
        extra={},  # statistics too: nobody has checked where their files lie
    )


def _completed(state: TableMetadata, found: TableMetadata, metadata_location: str) -> TableMetadata:
    """Return a table with what its snapshots do not tell: the numbers given out, and when readers saw what."""
    shown = [
        {"snapshot-id": one.snapshot_id, "timestamp-ms": one.timestamp_ms}
        for one in reversed(list(ancestors(state, state.current_snapshot_id)))
    ]
    next_row_id = None if state.next_row_id is None else max(state.next_row_id, found.next_row_id or 0)
    return state.with_changes(
        last_sequence_number=max(state.last_sequence_number, found.last_sequence_number),
        next_row_id=next_row_id,
        snapshot_log=tuple(shown),
        metadata_log=({"metadata-file": metadata_location, "timestamp-ms": found.last_updated_ms},),
    )


def _checked(found: TableMetadata) -> TableMetadata:
    """Return metadata in the form that ours has, snapshots in the order of their numbers.

    Raises:
        ValueError and the like: If a part of it is not what it should be, or contradicts another.
    """
    UUID(found.table_uuid)
    for schema in found.schemas:
        check_columns_of(schema)
    plain = [{"action": "add-snapshot", "snapshot": one.to_dict()} for one in found.snapshots]
    snapshots = [update.snapshot for update in updates_from_plain(plain) if isinstance(update, AddSnapshot)]
    _check_numbers(found)
    schemas, specs = {one.schema_id for one in found.schemas}, {one.spec_id for one in found.partition_specs}
    if found.current_schema_id not in schemas or found.default_spec_id not in specs:
        raise ValueError("its current columns or partitions are none of those that it has.")
    for part in found.partition_spec.fields:
        found.schema.find_field(part.source_id)
    if not all(isinstance(text, str) for pair in found.properties.items() for text in pair):
        raise TypeError("a property is no text.")
    current, refs = found.current_snapshot_id, dict(found.refs)
    if current is not None:  # metadata without refs has the branch main nevertheless
        refs.setdefault(MAIN_BRANCH, {"snapshot-id": current, "type": "branch"})
    if refs.get(MAIN_BRANCH, {}).get("snapshot-id") != current:
        raise ValueError(f"its current snapshot is {current}, and the branch main is at another.")
    ids = {snapshot.snapshot_id for snapshot in snapshots}
    if astray := [one.ref for one in _refs(found) if one.snapshot_id not in ids]:
        raise ValueError(f"there is no snapshot that {astray[0]!r} could mean.")
    return found.with_changes(
        snapshots=tuple(sorted(snapshots, key=lambda one: one.sequence_number)),
        refs=refs,
        sort_orders=tuple(
            SortOrder.model_validate(one).model_dump(mode="json", by_alias=True) for one in found.sort_orders
        ),
    )


def _check_numbers(found: TableMetadata) -> None:
    """Make sure that what is never given out twice is above all that was."""
    parts = [part.field_id for spec in found.partition_specs for part in spec.fields]
    for what, last, used in (
        ("the last column id", found.last_column_id, [schema.highest_field_id for schema in found.schemas]),
        ("the last partition id", found.last_partition_id, parts),
        ("the last sequence number", found.last_sequence_number, [one.sequence_number for one in found.snapshots]),
        ("the time of the last change", found.last_updated_ms, []),
        ("the next row id", found.next_row_id or 0, []),
    ):
        if not isinstance(last, int) or max(used, default=0) > last:
            raise ValueError(f"{what} is {last}, and {max(used, default=0)} is in use.")
