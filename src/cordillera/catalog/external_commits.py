"""Commits by other engines: what they ask for, checked and described, so that it takes the same way as our own.

An engine sends metadata updates and has written its files already. What the updates do to rows is read from the files'
manifests; who may refuse a write of ours may refuse this one, with its rows as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from pyiceberg.schema import Schema

from cordillera.catalog.commits import CommitRequest, CommitService
from cordillera.catalog.lines import Lines
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.new_table import check_external_layout, check_external_properties
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.errors import CommitConflictError, CorruptDataError, InvalidInputError, NotAllowedError
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.commit import (
    AddPartitionSpec,
    AddSchema,
    AddSnapshot,
    RemovePartitionSpecs,
    RemoveSnapshotRef,
    SetCurrentSchema,
    SetDefaultSpec,
    SetSnapshotRef,
    Update,
    apply,
)
from cordillera.spec.last_added import settled
from cordillera.spec.manifest import TableOperation
from cordillera.spec.metadata_updates import AddSortOrder, RemoveStatistics, SetDefaultSortOrder, SetStatistics
from cordillera.spec.partitioning import check_partitioning
from cordillera.spec.refs import RefKind, ancestors, check_ref_name
from cordillera.spec.requirements import (
    AssertCurrentSchemaId,
    AssertDefaultSortOrderId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    AssertLastAssignedPartitionId,
    AssertLastSequenceNumber,
    AssertPartitionSpec,
    AssertRefSnapshot,
    AssertTableUuid,
    Requirement,
    check,
)
from cordillera.spec.schema_successor import check_successor
from cordillera.spec.sort_order import check_sort_order, sort_sources
from cordillera.spec.table_metadata import MAIN_BRANCH, IcebergSnapshot, TableMetadata
from cordillera.table.branching import tombstones_update
from cordillera.table.external_manifests import check_place
from cordillera.table.external_snapshot import ExternalSnapshot
from cordillera.table.partitions import file_of_spec
from cordillera.table.tombstones import tombstones_as_of

_ATTEMPTS = 5
"""How often a commit is tried that others overtake without making its requirements untrue."""


_SPARE_ROW_IDS = 2**32
"""So many row ids a commit may use up: DuckDB's are not without gaps."""

_LAID_OUT_OTHERWISE = (SetCurrentSchema, SetDefaultSpec, SetDefaultSortOrder)
"""Updates after which new files may have other columns, partitions or orders."""

_Part: TypeAlias = tuple[ResolvedDataset, CommitRequest]


@dataclass(frozen=True, slots=True)
class TableChange:
    """What an engine asks for.

    Attributes:
        name: The dataset.
        requirements: What it believes about the table.
        updates: What is to change.
    """

    name: str
    requirements: tuple[Requirement, ...]
    updates: tuple[Update, ...]


class ExternalCommitService:
    """Commits what other engines have written.

    Args:
        store: Knows requests that were made before.
        catalog: Resolves names.
        tables: Loads table metadata and reads what engines have written.
        commits: Makes changes visible.
    """

    def __init__(
        self, store: MetadataStore, catalog: CatalogService, tables: TableService, commits: CommitService
    ) -> None:
        self._store, self._catalog, self._tables, self._commits = store, catalog, tables, commits
        self._lines = Lines()

    def commit(
        self, changes: Sequence[TableChange], *, idempotency_key: str | None = None, request_hash: str = ""
    ) -> list[ResolvedDataset]:
        """Commit changes to one table, or to several together: all of them or none.

        Returns:
            The datasets as they are then, in the order of the changes.

        Raises:
            CommitConflictError: If a requirement does not hold.
            CordilleraError: One of its kinds, if a change may not be; what an engine has written stays where it is.
        """
        if self._replayed(changes, idempotency_key, request_hash):
            return [self._catalog.dataset(change.name, Privilege.READ) for change in changes]
        with self._lines.wait(change.name for change in changes):
            for attempt in range(1, _ATTEMPTS + 1):
                parts = [list(self._parts(change, idempotency_key, request_hash)) for change in changes]
                try:
                    whole = [part for some in parts for part in some]
                    outcomes = self._commits.committed(whole, looked_up_now=True)
                    break
                except CommitConflictError:
                    if attempt == _ATTEMPTS:
                        raise
        left = {dataset.version.id: dataset for dataset, _ in outcomes}
        return [
            left[some[0][0].version.id] if some else self._catalog.dataset(change.name, Privilege.READ)
            for change, some in zip(changes, parts, strict=True)
        ]

    def created(self, version_id: UUID, idempotency_key: str, request_hash: str) -> bool:
        """Tell whether a dataset version was made by the same request before."""
        request = CommitRequest(idempotency_key=idempotency_key, request_hash=request_hash)
        with self._store.read() as tx:
            version = tx.dataset_versions.get(version_id)
            return version is not None and self._commits.replay(tx, version, request) is not None

    def _replayed(self, changes: Sequence[TableChange], key: str | None, request_hash: str) -> bool:
        """Tell whether the same was committed before: what it believed about the tables is not true any more."""
        if key is None:
            return False
        request = CommitRequest(idempotency_key=key, request_hash=request_hash)
        targets = [self._catalog.dataset(change.name, Privilege.READ) for change in changes]
        with self._store.read() as tx:
            return bool(self._commits.replay_all(tx, [(target.version, request) for target in targets]))

    def _parts(self, change: TableChange, key: str | None, request_hash: str) -> Iterator[_Part]:
        """Yield the requests that a change consists of, one for each snapshot; the first stands for all in receipts."""
        target = self._catalog.dataset(change.name, Privilege.READ)
        state = self._tables.load(target.version)
        target = target.needing(*_needed(change.updates, state))
        check(change.requirements, state)
        requirements: tuple[Requirement, ...] = (AssertTableUuid(state.table_uuid), *change.requirements)
        request: CommitRequest | None = None
        for updates in steps(settled(change.updates, state)):
            if request is not None:
                state, requirements, key = apply(request.updates, state, self._tables.io.now_ms()), (), None
            check_numbers(target.name, state, updates)
            request = self.request(target.name, state, updates)
            request = replace(request, requirements=(*requirements, *request.requirements))
            yield target, replace(request, idempotency_key=key, request_hash=request_hash if key else "")

    def request(self, name: str, metadata: TableMetadata, updates: Sequence[Update]) -> CommitRequest:
        """Return updates, with one new snapshot at most, as a request that may be committed.

        Args:
            name: The dataset's name, for messages.
            metadata: The table.
            updates: What an engine asks for.
        """
        self._check_updates(name, metadata, updates)
        after = apply(updates, metadata, self._tables.io.now_ms())
        if after.current_schema_id != metadata.current_schema_id:
            _check_schema(metadata, after.schema)
        if any(isinstance(one, _LAID_OUT_OTHERWISE) for one in updates):
            check_external_layout(after)
        check_external_properties(metadata.properties, after.properties, after.schema)
        branches = [u for u in updates if isinstance(u, SetSnapshotRef) and u.type == RefKind.BRANCH]
        _check_branches(name, metadata, after, branches)
        pinned = (
            *_pins(metadata, updates),
            *(AssertRefSnapshot(one.ref, _head(metadata, one.ref)) for one in branches),
        )
        extra = [u for one in branches if one.ref not in metadata.refs for u in _as_of_branch(metadata, after, one)]
        added = next((update.snapshot for update in updates if isinstance(update, AddSnapshot)), None)
        branch = next((one.ref for one in branches), MAIN_BRANCH)
        request = CommitRequest(pinned, (*updates, *extra), branch=branch, action="dataset.external_commit")
        if added is None:
            return request
        external = ExternalSnapshot(self._tables.io, after, added, name, metadata.next_row_id or 0)
        request = _with_snapshot(request, external, added, name)
        only_adds = all(isinstance(one, AddSnapshot | SetSnapshotRef) for one in updates)
        follows = all(_head(metadata, one.ref) == added.parent_snapshot_id for one in branches)
        return _as_compaction(request) if external.moves_rows and only_adds and follows else request

    def _check_updates(self, name: str, metadata: TableMetadata, updates: Sequence[Update]) -> None:
        schemas = [metadata.schema, *(update.schema for update in updates if isinstance(update, AddSchema))]
        for update in updates:
            match update:
                case AddSchema(schema):
                    _check_schema(metadata, schema)
                case AddPartitionSpec(spec):
                    check_partitioning(spec, schemas[-1])
                case AddSortOrder(order):
                    check_sort_order(order, schemas[-1])
                case RemovePartitionSpecs(spec_ids):
                    self._check_unused(name, metadata, spec_ids)
                case SetStatistics():
                    check_place(update.path, metadata, name)
                case SetSnapshotRef(ref) if ref not in metadata.refs:
                    check_ref_name(ref)
                case RemoveSnapshotRef(ref) if ref == MAIN_BRANCH:
                    raise NotAllowedError(f"The branch main of {name} is what everybody reads and cannot be dropped.")
                case _:
                    pass

    def _check_unused(self, name: str, metadata: TableMetadata, spec_ids: frozenset[int]) -> None:
        """Nobody can read files without knowing how they are laid out."""
        if used := file_of_spec(self._tables.io, metadata, spec_ids):
            snapshot, manifest = used
            raise NotAllowedError(
                f"The partition spec {manifest.partition_spec_id} of {name} is that of files of snapshot "
                f"{snapshot.sequence_number}.",
                hint="Rewrite them with compact --rewrite-all, and expire the snapshots that have them.",
            )


def _needed(updates: Sequence[Update], metadata: TableMetadata) -> tuple[Privilege, ...]:
    """Return the privileges that changes need: to write, for rows on a branch there is; to alter, for anything else.

    Whoever commits gets the table's metadata back, and so has to be one who may read.
    """
    branches = {MAIN_BRANCH, *(name for name, ref in metadata.refs.items() if ref.get("type") == RefKind.BRANCH)}
    added = {update.snapshot.snapshot_id for update in updates if isinstance(update, AddSnapshot)}
    rows = [
        isinstance(one, AddSnapshot | SetStatistics | RemoveStatistics)
        or (isinstance(one, SetSnapshotRef) and one.ref in branches and one.snapshot_id in added)
        for one in updates
    ]
    needed = [Privilege.READ]
    if not updates or any(isinstance(one, AddSnapshot) for one in updates):
        needed.append(Privilege.WRITE)
    if not all(rows) or Privilege.WRITE not in needed:
        needed.append(Privilege.ALTER)
    return tuple(needed)


def steps(updates: Sequence[Update]) -> Iterator[list[Update]]:
    """Cut updates into parts that add one snapshot at most."""
    step: list[Update] = []
    for update in updates:
        if isinstance(update, AddSnapshot) and any(isinstance(one, AddSnapshot) for one in step):
            yield step
            step = []
        step.append(update)
    if step:
        yield step


def _with_snapshot(
    request: CommitRequest, external: ExternalSnapshot, added: IcebergSnapshot, name: str
) -> CommitRequest:
    """Return a request with its snapshot checked and described."""
    try:
        external.check()
        whole, manifest = AddSnapshot(external.with_totals()), external.manifest
    except CorruptDataError as error:
        raise InvalidInputError(
            f"The snapshot {added.snapshot_id} of {name} cannot be read: {error.message}",
            hint=error.hint or "Write its files, manifests and manifest list before committing it.",
        ) from error
    return replace(
        request,
        requirements=(*request.requirements, *map(AssertPartitionSpec, external.partition_specs)),
        updates=tuple(whole if isinstance(update, AddSnapshot) else update for update in request.updates),
        manifest=manifest,
        details={"engine": _engine(added.summary)},
    )


def _as_compaction(request: CommitRequest) -> CommitRequest:
    """Return a request whose snapshot moves rows and does nothing else, which readers need not look at."""
    assert request.manifest is not None, "it has a snapshot"
    manifest = replace(request.manifest, operation=TableOperation.COMPACT, rows_inserted=0, rows_deleted=0)
    return replace(request, manifest=manifest)


def check_numbers(name: str, metadata: TableMetadata, updates: Sequence[Update]) -> None:
    """Refuse a new snapshot that takes numbers far beyond those that are next: they would run out.

    Raises:
        InvalidInputError: If they are too high; that they are too low is a conflict with others, and found later.
    """
    for one in (update.snapshot for update in updates if isinstance(update, AddSnapshot)):
        first, added = one.first_row_id or 0, one.added_rows or 0
        for what, said, wanted, spare in (
            ("sequence number", one.sequence_number, metadata.last_sequence_number + 1, 0),
            ("first row id", first, metadata.next_row_id or 0, _SPARE_ROW_IDS),
            ("number of added rows", added, 0, _SPARE_ROW_IDS),
        ):
            if said > wanted + spare:
                raise InvalidInputError(
                    f"The snapshot {one.snapshot_id} of {name} has the {what} {said}, far beyond the next, {wanted}.",
                    hint="Count on from the numbers in the table's metadata.",
                )


def _check_schema(metadata: TableMetadata, schema: Schema) -> None:
    current = metadata.schema
    sources = {part.source_id for part in metadata.partition_spec.fields}
    check_successor(
        schema,
        [*(one for one in metadata.schemas if one is not current), current],
        last_column_id=metadata.last_column_id,
        fixed_ids=metadata.semantics.fixed_field_ids(current) | sources | sort_sources(metadata),
        has_rows=bool(metadata.snapshots),
    )


def _pins(metadata: TableMetadata, updates: Sequence[Update]) -> Iterator[Requirement]:
    """Yield what has to stay as it is until the updates are made: they have been checked against it."""
    if any(isinstance(one, (AddSchema, AddPartitionSpec, AddSortOrder, *_LAID_OUT_OTHERWISE)) for one in updates):
        yield AssertCurrentSchemaId(metadata.current_schema_id)
        yield AssertLastAssignedFieldId(metadata.last_column_id)
        yield AssertLastAssignedPartitionId(metadata.last_partition_id)
        yield AssertDefaultSpecId(metadata.default_spec_id)
        yield AssertDefaultSortOrderId(metadata.default_sort_order_id)
    if any(isinstance(one, RemovePartitionSpecs) for one in updates):
        yield AssertLastSequenceNumber(metadata.last_sequence_number)


def _check_branches(
    name: str, metadata: TableMetadata, after: TableMetadata, branches: Sequence[SetSnapshotRef]
) -> None:
    """Refuse to take commits off a branch: those who follow it go from one snapshot to the next."""
    for one in branches:
        head = _head(metadata, one.ref)
        if head is None or any(found.snapshot_id == head for found in ancestors(after, one.snapshot_id)):
            continue
        if after.snapshot_by_id(one.snapshot_id) not in metadata.snapshots:
            raise CommitConflictError(
                f"The branch {one.ref} of {name} has moved on: the new snapshot does not follow snapshot {head}.",
                hint="Read the table again and retry.",
            )
        raise NotAllowedError(
            f"The branch {one.ref} of {name} cannot go back to another snapshot as it is.",
            hint=f"Use: cordillera dataset rollback {name}; it commits the earlier rows as a new snapshot.",
        )


def _as_of_branch(metadata: TableMetadata, after: TableMetadata, ref: SetSnapshotRef) -> tuple[Update, ...]:
    """Return what gives a new branch the tombstones that its snapshot had."""
    snapshot = after.snapshot_by_id(ref.snapshot_id)
    if ref.ref == MAIN_BRANCH or snapshot is None:
        return ()
    return tombstones_update(metadata.with_changes(branch=ref.ref), tombstones_as_of(metadata, snapshot))


def _head(metadata: TableMetadata, ref: str) -> int | None:
    found = metadata.refs.get(ref)
    return None if found is None else int(found["snapshot-id"])


def _engine(summary: Mapping[str, str]) -> str:
    names = ("engine-name", "app-name", "created-by")
    name = next((summary[one] for one in names if one in summary), "")
    return f"{name} {summary.get('engine-version', '')}".strip()
