"""Who relies on datasets: asked of a lake in this process, of one behind a server, and of a dataset."""

from __future__ import annotations

from cordillera.app import Application
from cordillera.client.backend import LakeBackend
from cordillera.client.connection import Connection, path
from cordillera.spec.consumer import Consumers


class LocalConsumption:
    """The part of ``LakeBackend`` that is about consumers, on the services of an application."""

    app: Application

    def consumers(self, name: str) -> Consumers:
        """Return who relies on a dataset version, and how far each has moved to the next."""
        return self.app.consumption.consumers(name)


class RemoteConsumption:
    """The part of ``LakeBackend`` that is about consumers, over the HTTP API."""

    _server: Connection

    def consumers(self, name: str) -> Consumers:
        """Return who relies on a dataset version, and how far each has moved to the next."""
        return self._server.get(Consumers, path("datasets", name) + "/consumers")


class DatasetConsumption:
    """The part of ``Dataset`` that is about those who rely on it."""

    _backend: LakeBackend
    name: str

    def consumers(self) -> Consumers:
        """Return who relies on it, as far as you may know, and how far each has moved to the next dataset version."""
        return self._backend.consumers(self.name)
