"""A view as people work with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from cordillera.client.backend import LakeBackend, ViewDetails


class View:
    """A view of a lake, by name: a query that is read like a dataset. Nothing is fetched until something is asked.

    Args:
        backend: The lake.
        name: ``namespace.view``.
    """

    def __init__(self, backend: LakeBackend, name: str) -> None:
        self._backend, self.name = backend, name

    def details(self) -> ViewDetails:
        """Return its columns, its SQL and everything else that the catalog knows of it."""
        return self._backend.view(self.name)

    def read(self) -> pa.RecordBatchReader:
        """Run its query and stream the rows."""
        return self._backend.query(f"SELECT * FROM {self.name}")

    def replace(
        self, sql: str, *, dialects: Mapping[str, str] | None = None, description: str | None = None
    ) -> ViewDetails:
        """Give it another definition; see ``Lake.create_view``."""
        return self._backend.create_view(self.name, sql, dialects=dialects, description=description, replace=True)

    def rename(self, name: str) -> View:
        """Call it otherwise, or move it to another namespace; queries that name it have to be written anew."""
        self._backend.rename_view(self.name, name)
        return View(self._backend, name)

    def drop(self) -> None:
        """Remove it. The datasets that it reads stay as they are."""
        self._backend.drop_view(self.name)

    def __repr__(self) -> str:
        return f"View({self.name!r})"


def views_of(backend: LakeBackend, namespace: str | None) -> Iterator[View]:
    """Yield the views of a namespace, or of all, by name."""
    after = ""
    while page := backend.views(namespace, after):
        yield from (View(backend, found.full_name) for found in page)
        after = page[-1].full_name
