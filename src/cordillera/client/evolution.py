"""Evolving a lake's datasets, in this process or behind a server."""

from __future__ import annotations

from collections.abc import Sequence

from cordillera.app import Application
from cordillera.catalog.commits import CommitResult
from cordillera.client.connection import Connection, path
from cordillera.schema_codec import change_to_plain
from cordillera.spec.schema_evolution import SchemaChange


class LocalEvolution:
    """The part of ``LakeBackend`` that changes what datasets look like, on the services of an application."""

    app: Application

    def evolve(self, name: str, changes: Sequence[SchemaChange]) -> CommitResult:
        """Change a dataset's schema."""
        return self.app.evolution.evolve(name, changes)

    def partition_by(self, name: str, terms: Sequence[str]) -> CommitResult:
        """Lay out a dataset's new files by other partitions."""
        return self.app.evolution.partition_by(name, terms)

    def sort_by(self, name: str, terms: Sequence[str]) -> CommitResult:
        """Sort the rows within a dataset's new files."""
        return self.app.evolution.sort_by(name, terms)

    def set_write_mode(self, name: str, mode: str) -> CommitResult:
        """Take rows out of a dataset's files in another way from now on."""
        return self.app.evolution.set_write_mode(name, mode)

    def bloom_filters(self, name: str) -> list[str]:
        """Return the columns of which a dataset's new files have Bloom filters."""
        return list(self.app.evolution.bloom_filters(name))

    def set_bloom_filters(self, name: str, columns: Sequence[str], *, false_positives: float = 0.01) -> CommitResult:
        """Give a dataset's new files Bloom filters of columns."""
        return self.app.evolution.set_bloom_filters(name, columns, false_positives=false_positives)


class RemoteEvolution:
    """The part of ``LakeBackend`` that changes what datasets look like, over the HTTP API."""

    _server: Connection

    def evolve(self, name: str, changes: Sequence[SchemaChange]) -> CommitResult:
        """Change a dataset's schema."""
        body = {"changes": [change_to_plain(change) for change in changes]}
        return self._server.post(CommitResult, path("datasets", name) + "/schema-changes", body)

    def partition_by(self, name: str, terms: Sequence[str]) -> CommitResult:
        """Lay out a dataset's new files by other partitions."""
        address = path("datasets", name) + "/partitioning"
        return self._server.post(CommitResult, address, {"partitioning": list(terms)}, method="PUT")

    def sort_by(self, name: str, terms: Sequence[str]) -> CommitResult:
        """Sort the rows within a dataset's new files."""
        address = path("datasets", name) + "/sort-order"
        return self._server.post(CommitResult, address, {"sort_order": list(terms)}, method="PUT")

    def set_write_mode(self, name: str, mode: str) -> CommitResult:
        """Take rows out of a dataset's files in another way from now on."""
        address = path("datasets", name) + "/write-mode"
        return self._server.post(CommitResult, address, {"write_mode": mode}, method="PUT")

    def bloom_filters(self, name: str) -> list[str]:
        """Return the columns of which a dataset's new files have Bloom filters."""
        return self._server.get(list[str], path("datasets", name) + "/bloom-filters")

    def set_bloom_filters(self, name: str, columns: Sequence[str], *, false_positives: float = 0.01) -> CommitResult:
        """Give a dataset's new files Bloom filters of columns."""
        body = {"columns": list(columns), "false_positives": false_positives}
        return self._server.post(CommitResult, path("datasets", name) + "/bloom-filters", body, method="PUT")
