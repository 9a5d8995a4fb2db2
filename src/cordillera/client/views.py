"""Views of a lake, in this process or behind a server."""

from __future__ import annotations

from collections.abc import Mapping

from cordillera.app import Application
from cordillera.catalog.tables import columns_of
from cordillera.catalog.views import ResolvedView
from cordillera.client.backend import ViewDetails
from cordillera.client.connection import Connection, path
from cordillera.codec import Page
from cordillera.spec.catalog import View


class LocalViews:
    """Implements the part of ``LakeBackend`` about views on the services of an application."""

    app: Application

    def create_view(
        self,
        name: str,
        sql: str,
        *,
        dialects: Mapping[str, str] | None = None,
        description: str | None = None,
        owner: str = "",
        replace: bool = False,
    ) -> ViewDetails:
        """Create a view, or give one another definition."""
        made = self.app.view_definitions.define(
            name, sql, dialects=dialects, description=description, owner=owner, replace=replace
        )
        return _details(made)

    def view(self, name: str) -> ViewDetails:
        """Return a view with what it stands for."""
        return _details(self.app.views.view(name))

    def views(self, namespace: str | None = None, after: str = "", limit: int = 100) -> list[View]:
        """Return a page of views."""
        return self.app.views.views(namespace, after, limit)

    def rename_view(self, name: str, new_name: str) -> View:
        """Call a view otherwise."""
        return self.app.views.rename(name, new_name)

    def drop_view(self, name: str) -> View:
        """Remove a view."""
        return self.app.views.drop(name)


class RemoteViews:
    """Implements the part of ``LakeBackend`` about views over the HTTP API."""

    _server: Connection

    def create_view(
        self,
        name: str,
        sql: str,
        *,
        dialects: Mapping[str, str] | None = None,
        description: str | None = None,
        owner: str = "",
        replace: bool = False,
    ) -> ViewDetails:
        """Create a view, or give one another definition."""
        body = {"name": name, "sql": sql, "dialects": dict(dialects or {}), "description": description, "owner": owner}
        return self._server.post(ViewDetails, "/views", {**body, "replace": replace})

    def view(self, name: str) -> ViewDetails:
        """Return a view with what it stands for."""
        return self._server.get(ViewDetails, path("views", name))

    def views(self, namespace: str | None = None, after: str = "", limit: int = 100) -> list[View]:
        """Return a page of views."""
        return self._server.get(Page[View], "/views", namespace=namespace, after=after, limit=limit).items

    def rename_view(self, name: str, new_name: str) -> View:
        """Call a view otherwise."""
        return self._server.post(View, path("views", name) + "/rename", {"new_name": new_name})

    def drop_view(self, name: str) -> View:
        """Remove a view."""
        return self._server.post(View, path("views", name), None, method="DELETE")


def _details(found: ResolvedView) -> ViewDetails:
    current = found.metadata.current
    return ViewDetails(
        found.view,
        columns_of(found.metadata.schema),
        dict(current.sql),
        found.metadata.properties.get("comment", ""),
        current.version_id,
        tuple(version.version_id for version in found.metadata.versions),
    )
