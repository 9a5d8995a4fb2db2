"""Rows of grants, memberships of groups and roles, and policy tags."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import Grant, Membership, PolicyTag, Privilege, SecurableKind, Viewer
from cordillera.spec.row_access import EffectiveTags


class GrantRows(Protocol):
    """Grants. There is one at most of a principal, a privilege, an object and a tag expression."""

    def put(self, grant: Grant) -> None:
        """Add a grant, or renew the one that is there."""

    def find(
        self, principal: str, privilege: Privilege, kind: SecurableKind, securable_id: UUID, tag_expression: str
    ) -> Grant | None:
        """Return the grant of a principal, a privilege, an object and a tag expression."""

    def delete(self, grant_id: UUID) -> bool:
        """Remove a grant; False if there was none."""

    def viewer(self, principal: str, now: datetime) -> Viewer:
        """Return somebody with the groups and roles that he is in, and what he holds on the lake or by tags."""

    def held(self, viewer: Viewer, securable_ids: Sequence[UUID]) -> list[Grant]:
        """Return the grants without tag expression that a viewer holds on objects."""

    def page(
        self,
        *,
        viewer: Viewer | None = None,
        principals: Collection[str] = (),
        securable_ids: Collection[UUID] = (),
        administered_ids: Collection[UUID] = (),
        after: UUID | None = None,
        limit: int,
    ) -> list[Grant]:
        """Return grants by id behind ``after``, ended ones too: of some principals, on some objects, where given.

        Args:
            viewer: He sees his own, and those on what he administers.
            principals: Whose.
            securable_ids: On which objects.
            administered_ids: On which others besides, if they are to administer those.
            after: The id of the last of the page before.
            limit: Most to return.
        """


class MembershipRows(Protocol):
    """Who is in which group or role."""

    def put(self, membership: Membership) -> bool:
        """Add a member, in the place of what has ended; False if it is one already."""

    def delete(self, container: str, member: str) -> bool:
        """Remove a member; False if it was none."""

    def delete_from(self, member: str, added_by: str) -> None:
        """Take somebody out of everything that one has put him into."""

    def above(self, principal: str, now: datetime) -> list[Membership]:
        """Return the memberships that make a principal what it is: its own, those of its containers, and so on."""

    def members(self, container: str, after: str, limit: int) -> list[Membership]:
        """Return a container's own members by name behind ``after``."""

    def containers(self, after: str, limit: int) -> list[str]:
        """Return the groups and roles that have members, by name behind ``after``."""


class PolicyTagRows(Protocol):
    """Policy tags of namespaces, datasets and their columns."""

    def put(self, tag: PolicyTag) -> None:
        """Set a tag, in the place of what was there."""

    def delete(self, kind: SecurableKind, securable_id: UUID, column: str, name: str) -> bool:
        """Remove a tag; False if there was none."""

    def of(self, kind: SecurableKind, securable_id: UUID) -> list[PolicyTag]:
        """Return an object's own tags, those of its columns too, by column and name."""

    def inherited(self, securable_ids: Sequence[UUID]) -> Mapping[str, str]:
        """Return the tags that count for an object as a whole; see ``effective``."""

    def any_named(self, name: str, dataset_id: UUID, namespaces: Sequence[str]) -> bool:
        """Tell whether a dataset, a column of it or one of some namespaces has a tag of a name."""

    def effective(self, securable_ids: Sequence[UUID]) -> EffectiveTags:
        """Return the tags that count for an object and its columns, with the masks that come with them.

        Args:
            securable_ids: The object and what it is within, the nearest first.
        """


__all__ = ["GrantRows", "MembershipRows", "PolicyTagRows"]
