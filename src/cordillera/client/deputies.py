"""Deputies of owners, in this process or behind a server, and as people name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from cordillera.app import Application
from cordillera.client.backend import LakeBackend
from cordillera.client.connection import Connection
from cordillera.codec import Page, to_plain
from cordillera.spec.deputy import Deputy, WantedDeputy, parse_duties

_ADDRESS = "/access/deputies"


class LocalDeputies:
    """The part of ``LakeBackend`` that is about deputies, on the services of an application."""

    app: Application

    def add_deputy(self, wanted: WantedDeputy) -> Deputy:
        """Have somebody stand in for an owner."""
        return self.app.deputies.add(wanted)

    def end_deputy(self, deputy_id: UUID) -> Deputy:
        """Let somebody stand in no more."""
        return self.app.deputies.end(deputy_id)

    def deputies(
        self, *, owner: str = "", deputy: str = "", after: UUID | None = None, limit: int = 100
    ) -> list[Deputy]:
        """Return a page of deputies."""
        return self.app.deputies.page(owner=owner, deputy=deputy, after=after, limit=limit)


class RemoteDeputies:
    """The part of ``LakeBackend`` that is about deputies, over the HTTP API."""

    _server: Connection

    def add_deputy(self, wanted: WantedDeputy) -> Deputy:
        """Have somebody stand in for an owner."""
        return self._server.post(Deputy, _ADDRESS, to_plain(wanted))

    def end_deputy(self, deputy_id: UUID) -> Deputy:
        """Let somebody stand in no more."""
        return self._server.post(Deputy, f"{_ADDRESS}/{deputy_id}/end", {})

    def deputies(
        self, *, owner: str = "", deputy: str = "", after: UUID | None = None, limit: int = 100
    ) -> list[Deputy]:
        """Return a page of deputies."""
        return self._server.get(Page[Deputy], _ADDRESS, owner=owner, deputy=deputy, after=after, limit=limit).items


class Deputies:
    """The part of a lake that is about deputies. Objects and principals are named as in ``AccessControl``."""

    backend: LakeBackend

    def add_deputy(
        self,
        deputy: str,
        ends_at: datetime,
        *,
        owner: str = "",
        duties: Sequence[str] = (),
        on: str = "lake",
        starts_at: datetime | None = None,
        reason: str = "",
    ) -> Deputy:
        """Have somebody decide for you while you are away; or for another owner, if you administer the lake.

        Args:
            deputy: Who.
            ends_at: Until when; a time with its zone, in a year at most.
            owner: For whom; for you by default.
            duties: access_requests, contract_proposals, contract_overrides; all by default.
            on: The object inside of which: ``namespace:sales`` or ``sales.orders``; by default everything.
            starts_at: From when; from now on by default.
            reason: Why.

        Raises:
            AccessDeniedError: If it is for another, and you do not administer the lake.
            InvalidInputError, NotAllowedError, NotFoundError: As their names say.
        """
        return self.backend.add_deputy(
            WantedDeputy(deputy, ends_at, owner, parse_duties(duties), on, starts_at, reason)
        )

    def end_deputy(self, deputy_id: UUID) -> Deputy:
        """Let somebody stand in no more, from the next call on: your deputy, or you for somebody else."""
        return self.backend.end_deputy(deputy_id)

    def deputies(self, *, owner: str = "", deputy: str = "") -> Iterator[Deputy]:
        """Yield deputies, those whose time is over too: yours, and those that you are; of one owner or deputy."""
        after = None
        while page := self.backend.deputies(owner=owner, deputy=deputy, after=after):
            yield from page
            after = page[-1].id
