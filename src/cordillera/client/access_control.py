"""Who may do what in a lake, as people set and see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from cordillera.client.backend import LakeBackend
from cordillera.spec.access import Grant, Membership, PolicyTag
from cordillera.spec.access_explanation import AccessExplanation, WhoAmI
from cordillera.spec.lake_key import LakeKey
from cordillera.spec.wanted_grant import WantedGrant


class AccessControl:
    """The part of a lake that is about access.

    Objects are named ``lake``, ``namespace:sales``, ``sales.orders`` or ``target:warehouse``; principals ``user:ana``,
    ``service:etl``, ``group:sales`` or ``role:analysts``.
    """

    backend: LakeBackend

    def whoami(self) -> WhoAmI:
        """Return in whose name you act, and the groups and roles that is in."""
        return self.backend.whoami()

    def grant(
        self,
        principal: str,
        privilege: str,
        on: str,
        *,
        tags: str = "",
        grant_option: bool = False,
        expires_at: datetime | None = None,
        reason: str = "",
        row_filter: str = "",
        masks: Mapping[str, str] | None = None,
        tag_masks: Mapping[str, str] | None = None,
    ) -> Grant:
        """Give somebody a privilege, or renew what he has.

        Args:
            principal: Who.
            privilege: discover, read, write, alter, create, external_use or administer.
            on: The object; what is inside it is covered too.
            tags: A tag expression, like ``sensitivity in (public, internal)``; then it is about the datasets inside
                that fulfil it, those to come included.
            grant_option: Whether he may grant it on.
            expires_at: When it ends; a time with its zone.
            reason: What for.
            row_filter: Of read on a dataset: SQL condition on the rows that may be read, like ``region = 'EU'``.
            masks: What is seen of its columns, by name, in the place of their values: month, year, last4, hash,
                constant, null or hidden; or clear, whatever their policy tags say.
            tag_masks: The same by tag expressions over the policy tags of columns.

        Raises:
            AccessDeniedError: If you neither administer the object, nor may grant this on.
            InvalidInputError, NotFoundError: As their names say.
        """
        wanted = WantedGrant(
            principal, privilege, on, tags=tags, grant_option=grant_option, expires_at=expires_at, reason=reason,
            row_filter=row_filter, masks=masks or {}, tag_masks=tag_masks or {},
        )  # fmt: skip
        return self.backend.grant(wanted)

    def revoke(self, principal: str, privilege: str, on: str, *, tags: str = "", reason: str = "") -> None:
        """Take a privilege back, from the next call on."""
        self.backend.revoke(principal, privilege, on, tags=tags, reason=reason)

    def grants(self, *, on: str = "", principal: str = "") -> Iterator[Grant]:
        """Yield grants, ended ones too: your own, and those on what you administer; of one principal or object."""
        after = None
        while page := self.backend.grants(on=on, principal=principal, after=after):
            yield from page
            after = page[-1].id

    def holders(self, on: str) -> Iterator[Grant]:
        """Yield the grants that reach an object: on itself, and on what it is inside of."""
        after = None
        while page := self.backend.holders(on, after=after):
            yield from page
            after = page[-1].id

    def explain_access(self, principal: str, privilege: str, on: str) -> AccessExplanation:
        """Tell whether somebody holds a privilege on an object, what gives it to him, and what nearly does."""
        return self.backend.explain_access(principal, privilege, on)

    def add_member(self, role: str, member: str, *, expires_at: datetime | None = None) -> Membership:
        """Put somebody, or another group or role, into a group or role, or renew that; it needs not be made first.

        Args:
            role: The group or role.
            member: Who.
            expires_at: When it ends; a time with its zone.
        """
        return self.backend.add_member(role, member, expires_at=expires_at)

    def remove_member(self, role: str, member: str) -> None:
        """Take somebody out of a group or role."""
        self.backend.remove_member(role, member)

    def members(self, role: str) -> Iterator[Membership]:
        """Yield the members of a group or role."""
        after = ""
        while page := self.backend.members(role, after):
            yield from page
            after = page[-1].member

    def roles(self) -> Iterator[str]:
        """Yield the groups and roles that have members."""
        after = ""
        while page := self.backend.roles(after):
            yield from page
            after = page[-1]

    def set_policy_tag(self, on: str, name: str, value: str, *, column: str = "", mask: str = "") -> PolicyTag:
        """Label a namespace, a dataset or one of its columns, for grants that name the label.

        With the label of a column may come a mask: what is seen of it by whoever has no grant that says otherwise.
        """
        return self.backend.set_policy_tag(on, name, value, column=column, mask=mask)

    def remove_policy_tag(self, on: str, name: str, *, column: str = "") -> None:
        """Remove a label."""
        self.backend.remove_policy_tag(on, name, column=column)

    def policy_tags(self, on: str) -> list[PolicyTag]:
        """Return the labels of a namespace or dataset, those that a dataset has from its namespace too."""
        return self.backend.policy_tags(on)

    def lake_keys(self) -> Iterator[LakeKey]:
        """Yield the keys that the lake signs with, without their secrets, retired ones too."""
        after = None
        while page := self.backend.lake_keys(after):
            yield from page
            after = page[-1].id

    def rotate_lake_key(self, purpose: str, *, keep_hours: int = 24) -> LakeKey:
        """Let another key sign for a purpose from now on, in every process of the lake.

        Args:
            purpose: access-tokens, request-signatures, scan-plans or sign-in.
            keep_hours: For how long what the old key has signed still holds; 0 if somebody else may have got it.

        Raises:
            AccessDeniedError: If you do not administer the lake.
            NotAllowedError: If the key has to stay, as that of hashes has.
        """
        return self.backend.rotate_lake_key(purpose, keep_hours=keep_hours)

    def retire_lake_key(self, key_id: UUID) -> LakeKey:
        """Let nothing hold any more that a key has signed before another took its place."""
        return self.backend.retire_lake_key(key_id)
