"""The history of a dataset, its branches and tags."""

from __future__ import annotations

from datetime import date

from cordillera.catalog.commits import CommitResult
from cordillera.client.backend import LakeBackend
from cordillera.spec.as_of import AsOf
from cordillera.spec.catalog import Snapshot
from cordillera.spec.manifest import Manifest
from cordillera.spec.refs import DEFAULT_RETENTION, Ref, Retention
from cordillera.spec.table_metadata import MAIN_BRANCH


class DatasetBranches:
    """The part of ``Dataset`` about snapshots, branches and tags."""

    _backend: LakeBackend
    name: str

    # --- history -------------------------------------------------------------------------------------------------

    def snapshots(self, before: int | None = None, limit: int = 100, branch: str = MAIN_BRANCH) -> list[Snapshot]:
        """Return snapshots, newest first: those that readers see or saw, or those a branch has not published yet."""
        return self._backend.snapshots(self.name, before, limit, branch)

    def manifest(self, snapshot: int | Snapshot) -> Manifest:
        """Return what a snapshot changed, file by file."""
        sequence = snapshot.sequence_number if isinstance(snapshot, Snapshot) else snapshot
        return self._backend.manifest(self.name, sequence)

    def rollback(self, to: int | date | str) -> CommitResult:
        """Give the dataset the rows it had at an earlier snapshot: a sequence number, a time or a tag.

        No row is read or written. What came since stays in the history; targets follow back.
        """
        return self._backend.rollback(self.name, to)

    def upgrade(self, format_version: int = 3) -> CommitResult:
        """Raise the Iceberg format version; files stay as they are."""
        return self._backend.upgrade(self.name, format_version)

    # --- branches and tags ---------------------------------------------------------------------------------------

    def refs(self) -> list[Ref]:
        """Return branches and tags by name."""
        return self._backend.refs(self.name)

    def create_branch(self, branch: str, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION) -> Ref:
        """Make a branch of the current rows, or of an earlier snapshot: ``write(…, branch=…)`` changes it alone."""
        return self._backend.create_ref(self.name, branch, "branch", as_of=as_of, retention=retention)

    def create_tag(self, tag: str, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION) -> Ref:
        """Give the current snapshot, or an earlier one, a name that stays: ``scan(as_of=tag)`` reads it."""
        return self._backend.create_ref(self.name, tag, "tag", as_of=as_of, retention=retention)

    def drop_ref(self, ref: str) -> None:
        """Remove a branch or tag."""
        self._backend.drop_ref(self.name, ref)

    def retain_ref(self, ref: str, retention: Retention) -> Ref:
        """Change how long snapshot expiry keeps a branch or tag."""
        return self._backend.retain_ref(self.name, ref, retention)

    def publish(self, branch: str, *, completes: str | date | None = None) -> CommitResult:
        """Make everything committed to a branch visible at once.

        Raises:
            NotAllowedError: If the dataset has been written to meanwhile; the hint names the snapshots to cherry-pick.
        """
        return self._backend.fast_forward(self.name, MAIN_BRANCH, branch, completes=completes)

    def fast_forward(self, branch: str, to: str = MAIN_BRANCH) -> CommitResult:
        """Move a branch on to another one that was made from it, by default to what readers see."""
        return self._backend.fast_forward(self.name, branch, to)

    def cherry_pick(self, snapshot: int | Snapshot, branch: str = MAIN_BRANCH) -> CommitResult:
        """Do to the dataset, or to another branch, what a snapshot of a branch did to it.

        Raises:
            NotAllowedError, DuplicateKeyError: If the same rows have been changed otherwise.
        """
        sequence = snapshot.sequence_number if isinstance(snapshot, Snapshot) else snapshot
        return self._backend.cherry_pick(self.name, sequence, branch=branch)
