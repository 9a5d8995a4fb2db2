"""Groups and roles: who is in them. A group is a set of people, a role a set of privileges; both work alike."""

from __future__ import annotations

from datetime import datetime

from cordillera.catalog.lookup import Lookup, page_limit
from cordillera.catalog.trail import Trail
from cordillera.catalog.waking import wake_principal
from cordillera.context import current
from cordillera.errors import InvalidInputError, NotAllowedError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Membership, Privilege, check_container, parse_principal, whole_principal


class RoleService:
    """Keeps the members of groups and roles. What a member may do can reach the whole lake, so it takes one who
    administers that.

    Args:
        store: Keeps memberships.
        lookup: Knows who administers the lake.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def add(self, container: str, member: str, *, expires_at: datetime | None = None) -> Membership:
        """Put somebody, or another group or role, into a group or role, or renew that. It needs not be made first.

        Args:
            container: The group or role.
            member: Who.
            expires_at: When it ends, as for somebody who stands in for another; None for never.

        Raises:
            NotAllowedError: If the container would then be in itself.
            AccessDeniedError: If whoever acts does not administer the lake.
            InvalidInputError: If one is no principal, the container can have no members, or it would have ended.
        """
        role, who, now = parse_principal(container), parse_principal(member), self._clock.now()
        check_container(role)
        if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now):
            raise InvalidInputError(f"Nobody is in {role} until {expires_at.isoformat()}.", hint="Give a time to come.")
        membership = Membership(role, who, current().principal, now, expires_at)
        with self._store.write() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            if who == role or who in {one.container for one in tx.memberships.above(role, now)}:
                raise NotAllowedError(
                    f"{who} cannot be in {role}, which is in {who} already.", hint="Take that out first."
                )
            tx.memberships.delete(role, who)
            tx.memberships.put(membership)
            until = {"expires_at": expires_at.isoformat()} if expires_at else {}
            Trail(tx, now).audit("access.add_member", "role", role, {"member": who, **until})
            wake_principal(tx, who, self._clock, expires_at)
        return membership

    def remove(self, container: str, member: str) -> None:
        """Take somebody out of a group or role.

        Raises:
            NotFoundError: If he is not in it.
            AccessDeniedError: If whoever acts does not administer the lake.
        """
        role, who = parse_principal(container), parse_principal(member)
        with self._store.write() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            if not tx.memberships.delete(role, who):
                raise NotFoundError(f"{who} is not in {role}.", hint=f"See: cordillera role show {role}.")
            Trail(tx, self._clock.now()).audit("access.remove_member", "role", role, {"member": who})
            wake_principal(tx, who, self._clock)

    def members(self, container: str, after: str = "", limit: int = 100) -> list[Membership]:
        """Return a page of a group's or role's own members by name; those in it may see them too.

        Raises:
            AccessDeniedError: If whoever asks is not in it, and does not administer the lake.
        """
        role = parse_principal(container)
        with self._store.read() as tx:
            viewer = self._lookup.viewer(tx)
            if viewer is not None and role not in viewer.principals:
                self._lookup.lake(tx, Privilege.ADMINISTER)
            return tx.memberships.members(role, after, page_limit(limit))

    def roles(self, after: str = "", limit: int = 100) -> list[str]:
        """Return a page of the groups and roles that have members, by name: all to whoever administers the lake, to
        others those that they are in.
        """
        with self._store.read() as tx:
            if Privilege.ADMINISTER in self._lookup.authorizer.on_lake(tx):
                return tx.memberships.containers(after, page_limit(limit))
            return _own(tx, after, self._clock.now())[: page_limit(limit)]


def _own(tx: Transaction, after: str, now: datetime) -> list[str]:
    above = tx.memberships.above(whole_principal(current().principal), now)
    return sorted({one.container for one in above if one.container > after})
