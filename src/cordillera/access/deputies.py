"""Deputies: owners say who decides for them while they are away."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from cordillera.access.securables import Securables
from cordillera.catalog.lookup import Lookup, page_limit
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import NotAllowedError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege, parse_principal, parse_securable, whole_principal
from cordillera.spec.deputy import Deputy, WantedDeputy, check_wanted, parse_duties
from cordillera.spec.texts import check_texts

_MOST_DEPUTIES = 20


class DeputyService:
    """Keeps deputies. Everybody names his own; those of others, of groups and roles too, who administers the lake.

    Args:
        store: Keeps them.
        securables: Finds what they are about.
        lookup: Knows who administers the lake.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, securables: Securables, lookup: Lookup, clock: Clock) -> None:
        self._store, self._securables, self._lookup, self._clock = store, securables, lookup, clock

    def add(self, wanted: WantedDeputy) -> Deputy:
        """Have somebody stand in for an owner.

        Raises:
            AccessDeniedError: If it is for another than whoever acts, and he does not administer the lake.
            NotFoundError: If there is no such object that he may discover.
            InvalidInputError: If there can be no such deputy.
            NotAllowedError: If the owner has too many.
        """
        now, me = self._clock.now(), whole_principal(current().principal)
        owner, deputy = parse_principal(wanted.owner or me), parse_principal(wanted.deputy)
        on, starts_at = parse_securable(wanted.on), wanted.starts_at or now
        check_wanted(owner, deputy, on, starts_at, wanted.ends_at, now)
        check_texts("deputy of", owner, reason=wanted.reason)
        with self._store.write() as tx:
            if owner != me:
                self._lookup.lake(tx, Privilege.ADMINISTER)
            found = self._securables.find(tx, on)
            if tx.deputies.lasting(owner, now) >= _MOST_DEPUTIES:
                raise NotAllowedError(
                    f"{owner} has {_MOST_DEPUTIES} deputies already.",
                    hint="End some with: cordillera deputy end ID; or make a group the deputy.",
                )
            made = Deputy(
                self._clock.new_id(), owner, deputy, parse_duties(wanted.duties), on.kind, found.id, on.name,
                starts_at, wanted.ends_at, wanted.reason, me, now,
            )  # fmt: skip
            tx.deputies.insert(made)
            self._leave_trail(tx, made, now, "add_deputy")
        return made

    def end(self, deputy_id: UUID) -> Deputy:
        """Let nobody stand in any more, from the next call on: the owner, the deputy himself, or who administers the
        lake says so.

        Raises:
            NotFoundError: If there is no such deputy.
            AccessDeniedError: If whoever acts is neither.
            NotAllowedError: If the deputy's time is over.
        """
        now, me = self._clock.now(), whole_principal(current().principal)
        with self._store.write() as tx:
            found = tx.deputies.get(deputy_id, viewer=self._lookup.viewer(tx))
            if found is None:
                raise NotFoundError(f"There is no deputy {deputy_id}.", hint="See: cordillera deputy list.")
            if me not in (found.owner, found.deputy):
                self._lookup.lake(tx, Privilege.ADMINISTER)
            if found.ends_at <= now:
                raise NotAllowedError(f"{found.deputy} was a deputy of {found.owner} until {found.ends_at:%Y-%m-%d}.")
            tx.deputies.end(deputy_id, now)
            self._leave_trail(tx, found, now, "end_deputy")
            ended = tx.deputies.get(deputy_id, viewer=self._lookup.viewer(tx))
            assert ended is not None, "who may end it may see it"
        return ended

    def page(self, *, owner: str = "", deputy: str = "", after: UUID | None = None, limit: int = 100) -> list[Deputy]:
        """Return a page of deputies, those whose time is over too: one's own, and those that one is; everybody's to who
        administers the lake.

        Args:
            owner: Only those of this very owner.
            deputy: Only what this very principal is.
            after: The id of the last deputy of the page before.
            limit: Most to return.
        """
        of, who = (parse_principal(one) if one else "" for one in (owner, deputy))
        with self._store.read() as tx:
            viewer = self._lookup.viewer(tx)
            return tx.deputies.page(viewer=viewer, owner=of, deputy=who, after=after, limit=page_limit(limit))

    def _leave_trail(self, tx: Transaction, deputy: Deputy, now: datetime, action: str) -> None:
        told = {
            "deputy": deputy.deputy,
            "duties": list(deputy.duties),
            "on": deputy.on,
            "starts_at": deputy.starts_at.isoformat(),
            "ends_at": deputy.ends_at.isoformat(),
            "reason": deputy.reason,
        }
        Trail(tx, now).audit(f"access.{action}", "principal", deputy.owner, told)
