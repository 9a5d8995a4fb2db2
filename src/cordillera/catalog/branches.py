"""Branches, tags and what moves them: publishing, rolling back, cherry-picking; and the upgrade of the format.

All of it changes metadata only, by a commit like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

from cordillera.catalog.candidates import is_kept
from cordillera.catalog.commits import REFUSALS, CommitRequest, CommitResult, CommitService
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService, rows_in
from cordillera.errors import AlreadyExistsError, NotAllowedError, SnapshotNotFoundError
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.as_of import AsOf
from cordillera.spec.commit import (
    RemoveProperties,
    RemoveSnapshotRef,
    SetSnapshotRef,
    Update,
    UpgradeFormatVersion,
)
from cordillera.spec.manifest import Manifest
from cordillera.spec.refs import (
    DEFAULT_RETENTION,
    Ref,
    RefKind,
    Retention,
    ancestors,
    check_ref_name,
    find_ref,
    head_of,
    on_branch,
    refs_of,
)
from cordillera.spec.requirements import AssertRefSnapshot, AssertTableUuid
from cordillera.spec.table_metadata import MAIN_BRANCH, IcebergSnapshot, TableMetadata
from cordillera.table.branching import BranchWriter, tombstones_update
from cordillera.table.prepared_write import PreparedWrite
from cordillera.table.tombstones import tombstones_as_of

_PICKING = (Privilege.WRITE, Privilege.READ)


class BranchService:
    """Branches and tags of datasets.

    Args:
        store: Knows what snapshots changed.
        catalog: Resolves names.
        tables: Loads table metadata.
        commits: Makes changes visible.
    """

    def __init__(
        self, store: MetadataStore, catalog: CatalogService, tables: TableService, commits: CommitService
    ) -> None:
        self._store, self._catalog, self._tables, self._commits = store, catalog, tables, commits

    # --- branches and tags ---------------------------------------------------------------------------------------

    def refs(self, name: str) -> tuple[Ref, ...]:
        """Return the branches and tags of a dataset by name."""
        return refs_of(self._tables.load(self._catalog.dataset(name, Privilege.DISCOVER).version))

    def create(
        self, name: str, ref: str, kind: RefKind, *, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION
    ) -> Ref:
        """Give a snapshot a name.

        Args:
            name: The dataset.
            ref: The new branch or tag.
            kind: Which of them.
            as_of: The snapshot; by default the current one.
            retention: How long snapshot expiry keeps it.

        Raises:
            InvalidNameError: If the name breaks the naming rules.
            AlreadyExistsError: If it is taken.
            SnapshotNotFoundError: If there is no such snapshot.
        """
        check_ref_name(ref)

        def request(target: ResolvedDataset, metadata: TableMetadata) -> CommitRequest:
            if ref in (MAIN_BRANCH, *metadata.refs):
                raise AlreadyExistsError(
                    f"{target.name} has a branch or tag {ref!r} already.", hint="Drop it first, or choose another name."
                )
            snapshot = self._tables.snapshot(target.name, target.version, as_of)
            options = retention.options()
            details = {"ref": ref, "kind": kind}
            if snapshot is None:
                return self._on_nothing(target, metadata, ref, kind, options)
            updates: tuple[Update, ...] = (SetSnapshotRef(ref, snapshot.snapshot_id, kind.value, options),)
            if kind is RefKind.BRANCH:
                branch = metadata.with_changes(branch=ref)
                updates += tombstones_update(branch, tombstones_as_of(metadata, snapshot))
            requirements = (AssertTableUuid(metadata.table_uuid), AssertRefSnapshot(ref, None))
            return CommitRequest(requirements, updates, action="dataset.create_ref", details=details)

        self._commit(name, request)
        return self._ref(name, ref)

    def drop(self, name: str, ref: str) -> None:
        """Remove a branch or tag; snapshots that nothing else names go when snapshots expire.

        Raises:
            SnapshotNotFoundError: If there is none of that name.
            NotAllowedError: If it is ``main``.
        """
        if ref == MAIN_BRANCH:
            raise NotAllowedError(f"The branch main of {name} is what everybody reads and cannot be dropped.")

        def request(target: ResolvedDataset, metadata: TableMetadata) -> CommitRequest:
            found = find_ref(metadata, ref, target.name)
            leftover = RemoveProperties((metadata.with_changes(branch=ref).tombstones_property,))
            details = {"ref": ref, "kind": found.kind, "sequence_number": found.sequence_number}
            return CommitRequest(
                (AssertRefSnapshot(ref, found.snapshot_id),),
                (RemoveSnapshotRef(ref), leftover),
                action="dataset.drop_ref",
                details=details,
            )

        self._commit(name, request)

    def retain(self, name: str, ref: str, retention: Retention) -> Ref:
        """Change how long snapshot expiry keeps a branch or tag."""

        def request(target: ResolvedDataset, metadata: TableMetadata) -> CommitRequest:
            found = find_ref(metadata, ref, target.name)
            options = retention.options()
            return CommitRequest(
                (AssertRefSnapshot(ref, found.snapshot_id),),
                (SetSnapshotRef(ref, found.snapshot_id, found.kind.value, options),),
                action="dataset.retain_ref",
                details={"ref": ref, **options},
            )

        self._commit(name, request)
        return self._ref(name, ref)

    # --- moving them ---------------------------------------------------------------------------------------------

    def fast_forward(self, name: str, branch: str, to: str, *, completes: str | date | None = None) -> CommitResult:
        """Move a branch on to the snapshot of another branch or tag that was made from it.

        With ``main`` as the branch this publishes the other one: all its commits become visible at once.

        Args:
            name: The dataset.
            branch: The branch to move.
            to: Where to.
            completes: A partition that is complete with it.

        Raises:
            NotAllowedError: If the branch has snapshots that the other has not; its hint names those to cherry-pick.
        """

        def request(target: ResolvedDataset, metadata: TableMetadata) -> CommitRequest:
            view = on_branch(metadata, branch, target.name)
            goal = (
                metadata.current_snapshot_id if to == MAIN_BRANCH else find_ref(metadata, to, target.name).snapshot_id
            )
            mine, theirs = _history(metadata, view.current_snapshot_id), _history(metadata, goal)
            if mine == theirs:
                return CommitRequest(completes=completes, branch=branch)
            _check_follows(target.name, branch, to, mine, theirs)
            assert goal is not None, "what has a history has a snapshot"
            forward = _forward(metadata, view, goal)
            return replace(
                forward,
                requirements=(*forward.requirements, AssertRefSnapshot(to, goal)),
                completes=completes,
                action="dataset.publish" if branch == MAIN_BRANCH else "dataset.fast_forward",
                details={"to": to},
            )

        return self._commit(name, request, Privilege.WRITE)

    def rollback(self, name: str, to: AsOf) -> CommitResult:
        """Give a dataset the rows it had at an earlier snapshot, without reading or writing a row.

        Everything since stays in the history, and can be rolled back to in its turn. Completions stay as declared.

        Args:
            name: The dataset.
            to: The earlier snapshot: a sequence number, a time, or a tag.

        Raises:
            NotAllowedError: If the snapshot is none of ``main``'s.
            CommitConflictError: If somebody commits meanwhile, whose commit would be undone unseen.
        """
        target = self._catalog.dataset(name, Privilege.WRITE)
        metadata = self._tables.load(target.version)
        earlier = self._tables.snapshot(target.name, target.version, to)
        if earlier is None:
            raise SnapshotNotFoundError(f"{name} has no snapshot yet to roll back to.", hint="Write rows first.")
        if not self._was_on_main(target, earlier):
            raise NotAllowedError(
                f"Snapshot {earlier.sequence_number} of {name} was never on main.",
                hint="Publish its branch, or cherry-pick it.",
            )
        if earlier.snapshot_id == metadata.current_snapshot_id:
            return CommitResult(earlier.sequence_number, snapshot_committed=False)
        writer = BranchWriter(self._tables.io, target.name)
        details = {"to": earlier.sequence_number}
        return self._try(
            target, writer.rollback(metadata, earlier), CommitRequest(action="dataset.rollback", details=details)
        )

    def _was_on_main(self, target: ResolvedDataset, snapshot: IcebergSnapshot) -> bool:
        """Tell whether a snapshot was committed to main or published, which its table need not know any more.

        There each snapshot names the one before it, and the chain ends at one that has expired, behind which tags may
        keep others.
        """
        with self._store.read() as tx:
            found = tx.snapshots.get(target.version.id, snapshot.sequence_number)
        return found is not None and found.branch == MAIN_BRANCH

    def cherry_pick(self, name: str, sequence_number: int, *, branch: str = MAIN_BRANCH) -> CommitResult:
        """Do to a branch what a snapshot of another branch did to its own.

        An append is taken over as it is. Other commits are checked: the rows they changed have to be there unchanged,
        and keys they added must not have been added otherwise.

        Args:
            name: The dataset.
            sequence_number: The snapshot.
            branch: The branch that takes it over.

        Raises:
            SnapshotNotFoundError: If there is no such snapshot.
            NotAllowedError: If the branch has it already, or changed the same rows.
            DuplicateKeyError: If keys that it added are there.
        """
        with self._commits.attempts(self._catalog.dataset(name, *_PICKING).version.id) as attempts:
            for attempt in attempts:
                with attempt:
                    target = self._catalog.dataset(name, *_PICKING)
                    view = on_branch(self._tables.load(target.version), branch, target.name)
                    picked = self._tables.snapshot(target.name, target.version, sequence_number)
                    assert picked is not None, "a sequence number means a snapshot, or is refused"
                    details = {"picked": sequence_number}
                    request = CommitRequest(branch=branch, action="dataset.cherry_pick", details=details)
                    result = self._pick(target, view, picked, request)
        return result

    def _pick(
        self, target: ResolvedDataset, view: TableMetadata, picked: IcebergSnapshot, request: CommitRequest
    ) -> CommitResult:
        if picked.parent_snapshot_id == view.current_snapshot_id:
            forward = _forward(self._tables.load(target.version), view, picked.snapshot_id)
            full = replace(request, requirements=forward.requirements, updates=forward.updates)
            return self._commits.commit(target, full)
        writer = BranchWriter(self._tables.io, target.name)
        return self._try(target, writer.cherry_pick(view, picked, self._manifest(target, picked)), request)

    # --- format version ------------------------------------------------------------------------------------------

    def upgrade(self, name: str, format_version: int = 3) -> CommitResult:
        """Raise the Iceberg format version of a dataset; files stay as they are.

        Rows get their ids with the first commit afterwards; snapshots from before it have none.

        Raises:
            InvalidInputError: If there is no such version, or the dataset has a higher one.
        """

        def request(_: ResolvedDataset, metadata: TableMetadata) -> CommitRequest:
            if metadata.format_version == format_version:
                return CommitRequest()
            return CommitRequest(
                (AssertTableUuid(metadata.table_uuid),),
                (UpgradeFormatVersion(format_version),),
                action="dataset.upgrade",
                details={"from": metadata.format_version, "to": format_version},
            )

        return self._commit(name, request)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _commit(
        self,
        name: str,
        request: Callable[[ResolvedDataset, TableMetadata], CommitRequest],
        needed: Privilege = Privilege.ALTER,
    ) -> CommitResult:
        """Work a request out against the table as it is, and commit it, while other writers are faster."""
        with self._commits.attempts(self._catalog.dataset(name, needed).version.id) as attempts:
            for attempt in attempts:
                with attempt:
                    target = self._catalog.dataset(name, needed)
                    wanted = request(target, self._tables.load(target.version))
                    result = self._commit_once(target, wanted)
        return result

    def _commit_once(self, target: ResolvedDataset, request: CommitRequest) -> CommitResult:
        if request.updates or request.completes is not None:
            return self._commits.commit(target, request)
        head = head_of(self._tables.load(target.version), request.branch)
        return CommitResult(head.sequence_number if head else 0, snapshot_committed=False)

    def _try(self, target: ResolvedDataset, prepared: PreparedWrite, request: CommitRequest) -> CommitResult:
        full = replace(
            request, requirements=prepared.requirements, updates=prepared.updates, manifest=prepared.manifest
        )
        try:
            return self._commits.commit(target, full)
        except REFUSALS as error:
            if not is_kept(error, target):
                self._tables.io.storage.delete(prepared.written)
            raise

    def _on_nothing(
        self, target: ResolvedDataset, metadata: TableMetadata, ref: str, kind: RefKind, options: dict[str, int]
    ) -> CommitRequest:
        """Return what makes a branch of a dataset without snapshots: it begins with one that has no rows."""
        if kind is RefKind.TAG:
            raise SnapshotNotFoundError(f"{target.name} has no snapshot yet to tag.", hint="Write rows first.")
        prepared = BranchWriter(self._tables.io, target.name).first(metadata.with_changes(branch=ref))
        assert prepared.snapshot is not None, "it is a snapshot that was prepared"
        return CommitRequest(
            prepared.requirements,
            (*prepared.updates, SetSnapshotRef(ref, prepared.snapshot.snapshot_id, options=options)),
            prepared.manifest,
            action="dataset.create_ref",
            details={"ref": ref, "kind": kind},
            branch=ref,
        )

    def _manifest(self, target: ResolvedDataset, snapshot: IcebergSnapshot) -> Manifest | None:
        with self._store.read() as tx:
            return tx.snapshots.manifest(target.version.id, snapshot.sequence_number)

    def _ref(self, name: str, ref: str) -> Ref:
        return find_ref(self._tables.load(self._catalog.dataset(name, Privilege.DISCOVER).version), ref, name)


def _forward(metadata: TableMetadata, view: TableMetadata, snapshot_id: int) -> CommitRequest:
    """Return what moves the branch that ``view`` sees to a later snapshot of ``metadata``, with its tombstones."""
    snapshot = metadata.snapshot_by_id(snapshot_id)
    assert snapshot is not None, "whatever a branch is moved to exists"
    return CommitRequest(
        (AssertTableUuid(metadata.table_uuid), AssertRefSnapshot(view.branch, view.current_snapshot_id)),
        (
            SetSnapshotRef(view.branch, snapshot_id, options=_retention(metadata, view.branch)),
            *tombstones_update(view, tombstones_as_of(metadata, snapshot)),
        ),
        branch=view.branch,
    )


def _retention(metadata: TableMetadata, branch: str) -> dict[str, int]:
    found = next((ref for ref in refs_of(metadata) if ref.name == branch), None)
    return found.retention.options() if found else {}


def _check_follows(
    name: str, branch: str, to: str, mine: Sequence[IcebergSnapshot], theirs: Sequence[IcebergSnapshot]
) -> None:
    """Refuse to move a branch to a snapshot that was not made from its own."""
    if not mine or mine[0] in theirs:
        return
    missing = sorted(snapshot.sequence_number for snapshot in theirs if snapshot not in mine)
    if not missing:
        raise NotAllowedError(
            f"The branch {branch} of {name} has everything that {to!r} has, and more.",
            hint="Nothing is left to do; go back with rollback, if that is what you want.",
        )
    raise NotAllowedError(
        f"The branch {branch} of {name} has moved on since {to!r} was made from it.",
        hint=f"Cherry-pick its snapshots onto {branch}: {', '.join(map(str, missing))}.",
        details={"cherry_pick": missing},
    )


def _history(metadata: TableMetadata, snapshot_id: int | None) -> list[IcebergSnapshot]:
    """Return a snapshot and those it was made from, newest first, without a beginning that holds nothing.

    That is what a branch of a dataset without snapshots starts from: it has this in common with every other branch.
    """
    snapshots = list(ancestors(metadata, snapshot_id))
    first = snapshots[-1] if snapshots else None
    if first is not None and first.parent_snapshot_id is None and not rows_in(first):
        return snapshots if tombstones_as_of(metadata, first) else snapshots[:-1]
    return snapshots
