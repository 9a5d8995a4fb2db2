"""Candidates, which contracts have refused: of a lake in this process, of one behind a server, and of a dataset."""

from __future__ import annotations

from cordillera.app import Application
from cordillera.client.backend import LakeBackend
from cordillera.client.connection import Connection, path
from cordillera.codec import Page
from cordillera.spec.candidate import Candidate


class LocalCandidates:
    """The part of ``LakeBackend`` that is about candidates, on the services of an application."""

    app: Application

    def candidates(self, name: str) -> list[Candidate]:
        """Return what the contract has refused and is kept, newest first."""
        return self.app.candidates.of(self.app.catalog.readable(name))

    def candidate(self, name: str, branch: str) -> Candidate:
        """Return a candidate with examples of the rows that break the contract."""
        return self.app.candidates.candidate(self.app.catalog.readable(name), branch)


class RemoteCandidates:
    """The part of ``LakeBackend`` that is about candidates, over the HTTP API."""

    _server: Connection

    def candidates(self, name: str) -> list[Candidate]:
        """Return what the contract has refused and is kept, newest first."""
        return self._server.get(Page[Candidate], path("datasets", name) + "/contract/candidates").items

    def candidate(self, name: str, branch: str) -> Candidate:
        """Return a candidate with examples of the rows that break the contract."""
        return self._server.get(Candidate, path("datasets", name, "contract", "candidates", branch))


class DatasetCandidates:
    """The part of ``Dataset`` that is about what its contract has refused."""

    _backend: LakeBackend
    name: str

    def candidates(self) -> list[Candidate]:
        """Return what its contract has refused and is kept, newest first: ``scan(as_of=candidate.branch)`` reads it."""
        return self._backend.candidates(self.name)

    def candidate(self, branch: str) -> Candidate:
        """Return a candidate with examples of the rows that break the contract, as far as they are shown to you."""
        return self._backend.candidate(self.name, branch)
