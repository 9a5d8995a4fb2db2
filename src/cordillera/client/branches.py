"""Branches and tags of a lake's datasets, in this process or behind a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date

from cordillera.app import Application
from cordillera.catalog.requests import CommitResult
from cordillera.client.connection import Connection, path
from cordillera.codec import Page
from cordillera.errors import InvalidInputError
from cordillera.spec.as_of import AsOf, as_of_to_text
from cordillera.spec.refs import DEFAULT_RETENTION, Ref, RefKind, Retention
from cordillera.spec.table_metadata import MAIN_BRANCH


class LocalBranches:
    """Implements the part of ``LakeBackend`` about branches and tags on the services of an application."""

    app: Application

    def refs(self, name: str) -> list[Ref]:
        """Return the branches and tags of a dataset."""
        return list(self.app.branches.refs(name))

    def create_ref(
        self, name: str, ref: str, kind: str, *, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION
    ) -> Ref:
        """Give a snapshot a name."""
        return self.app.branches.create(name, ref, _kind(kind), as_of=as_of, retention=retention)

    def drop_ref(self, name: str, ref: str) -> None:
        """Remove a branch or tag."""
        self.app.branches.drop(name, ref)

    def retain_ref(self, name: str, ref: str, retention: Retention) -> Ref:
        """Change how long snapshot expiry keeps a branch or tag."""
        return self.app.branches.retain(name, ref, retention)

    def fast_forward(self, name: str, branch: str, to: str, *, completes: str | date | None = None) -> CommitResult:
        """Move a branch on to a snapshot made from its own."""
        return self.app.branches.fast_forward(name, branch, to, completes=completes)

    def rollback(self, name: str, to: int | date | str) -> CommitResult:
        """Give a dataset the rows it had at an earlier snapshot."""
        return self.app.branches.rollback(name, to)

    def cherry_pick(self, name: str, sequence_number: int, *, branch: str = MAIN_BRANCH) -> CommitResult:
        """Do to a branch what a snapshot of another branch did to its own."""
        return self.app.branches.cherry_pick(name, sequence_number, branch=branch)

    def upgrade(self, name: str, format_version: int = 3) -> CommitResult:
        """Raise the Iceberg format version of a dataset."""
        return self.app.branches.upgrade(name, format_version)


class RemoteBranches(ABC):
    """Implements the part of ``LakeBackend`` about branches and tags over the HTTP API."""

    _server: Connection

    @abstractmethod
    def _label(self, name: str, partition: str | date) -> str:
        """Return a partition of a dataset as completions name it."""

    def refs(self, name: str) -> list[Ref]:
        """Return the branches and tags of a dataset."""
        return self._server.get(Page[Ref], path("datasets", name) + "/refs").items

    def create_ref(
        self, name: str, ref: str, kind: str, *, as_of: AsOf = None, retention: Retention = DEFAULT_RETENTION
    ) -> Ref:
        """Give a snapshot a name."""
        moment = None if as_of is None else as_of_to_text(as_of)
        body = {"name": ref, "kind": kind, "as_of": moment, "retention": _fields(retention)}
        return self._server.post(Ref, path("datasets", name) + "/refs", body)

    def drop_ref(self, name: str, ref: str) -> None:
        """Remove a branch or tag."""
        self._server.request("DELETE", path("datasets", name, "refs", ref))

    def retain_ref(self, name: str, ref: str, retention: Retention) -> Ref:
        """Change how long snapshot expiry keeps a branch or tag."""
        return self._server.post(Ref, path("datasets", name, "refs", ref), _fields(retention), method="PUT")

    def fast_forward(self, name: str, branch: str, to: str, *, completes: str | date | None = None) -> CommitResult:
        """Move a branch on to a snapshot made from its own."""
        label = None if completes is None else self._label(name, completes)
        body = {"branch": branch, "to": to, "completes": label}
        return self._server.post(CommitResult, path("datasets", name) + "/fast-forward", body)

    def rollback(self, name: str, to: int | date | str) -> CommitResult:
        """Give a dataset the rows it had at an earlier snapshot."""
        return self._server.post(CommitResult, path("datasets", name) + "/rollback", {"to": as_of_to_text(to)})

    def cherry_pick(self, name: str, sequence_number: int, *, branch: str = MAIN_BRANCH) -> CommitResult:
        """Do to a branch what a snapshot of another branch did to its own."""
        body = {"sequence_number": sequence_number, "branch": branch}
        return self._server.post(CommitResult, path("datasets", name) + "/cherry-pick", body)

    def upgrade(self, name: str, format_version: int = 3) -> CommitResult:
        """Raise the Iceberg format version of a dataset."""
        body = {"format_version": format_version}
        return self._server.post(CommitResult, path("datasets", name) + "/upgrade", body)


def _kind(text: str) -> RefKind:
    try:
        return RefKind(text)
    except ValueError:
        raise InvalidInputError(
            f"A snapshot cannot be named by a {text[:40]!r}.", hint=f"Use one of: {', '.join(RefKind)}."
        ) from None


def _fields(retention: Retention) -> dict[str, int | None]:
    return {
        "max_ref_age_ms": retention.max_ref_age_ms,
        "max_snapshot_age_ms": retention.max_snapshot_age_ms,
        "min_snapshots_to_keep": retention.min_snapshots_to_keep,
    }
