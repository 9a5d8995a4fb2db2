"""The lake's own keys, in this process or behind a server."""

from __future__ import annotations

from uuid import UUID

from cordillera.app import Application
from cordillera.client.connection import Connection
from cordillera.codec import Page
from cordillera.spec.lake_key import LakeKey, parse_key_purpose

_ADDRESS = "/lake/keys"


class LocalLakeKeys:
    """The part of ``LakeBackend`` that is about the lake's own keys, on the services of an application."""

    app: Application

    def lake_keys(self, after: UUID | None = None, limit: int = 100) -> list[LakeKey]:
        """Return a page of the lake's own keys, without their secrets."""
        return self.app.lake_keys.page(after, limit)

    def rotate_lake_key(self, purpose: str, *, keep_hours: int = 24) -> LakeKey:
        """Let another key sign for a purpose."""
        return self.app.lake_keys.rotate(parse_key_purpose(purpose), keep_hours=keep_hours)

    def retire_lake_key(self, key_id: UUID) -> LakeKey:
        """Let nothing hold any more that a key has signed."""
        return self.app.lake_keys.retire(key_id)


class RemoteLakeKeys:
    """The part of ``LakeBackend`` that is about the lake's own keys, over the HTTP API."""

    _server: Connection

    def lake_keys(self, after: UUID | None = None, limit: int = 100) -> list[LakeKey]:
        """Return a page of the lake's own keys, without their secrets."""
        return self._server.get(Page[LakeKey], _ADDRESS, after=after, limit=limit).items

    def rotate_lake_key(self, purpose: str, *, keep_hours: int = 24) -> LakeKey:
        """Let another key sign for a purpose."""
        return self._server.post(LakeKey, f"{_ADDRESS}/rotate", {"purpose": purpose, "keep_hours": keep_hours})

    def retire_lake_key(self, key_id: UUID) -> LakeKey:
        """Let nothing hold any more that a key has signed."""
        return self._server.post(LakeKey, f"{_ADDRESS}/{key_id}/retire")
