"""Grants: giving privileges, taking them back, and seeing who has which."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.access.narrowing import Narrowing, checked_masks
from cordillera.access.requests import note_revoked
from cordillera.access.securables import FoundSecurable, Securables
from cordillera.access.telling import told
from cordillera.catalog.lookup import page_limit
from cordillera.catalog.trail import Trail
from cordillera.catalog.waking import wake_principal
from cordillera.context import current
from cordillera.errors import AccessDeniedError, CordilleraError, InvalidInputError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import (
    Grant,
    Privilege,
    Securable,
    SecurableKind,
    check_grantable,
    implied_by,
    parse_principal,
    parse_privilege,
    parse_securable,
    whole_principal,
)
from cordillera.spec.access_tags import describe, parse_tag_expression
from cordillera.spec.masks import Mask
from cordillera.spec.texts import check_texts
from cordillera.spec.wanted_grant import WantedGrant


class GrantService:
    """Gives privileges and takes them back.

    Args:
        store: Keeps grants.
        securables: Finds what they are on.
        authorizer: Knows who holds what.
        narrowing: Knows which rows and columns there are.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        securables: Securables,
        authorizer: GrantAuthorizer,
        narrowing: Narrowing,
        clock: Clock,
    ) -> None:
        self._store, self._securables, self._authorizer = store, securables, authorizer
        self._narrowing, self._clock = narrowing, clock

    def grant(self, wanted: WantedGrant) -> Grant:
        """Give somebody a privilege, or renew what he has.

        Raises:
            AccessDeniedError: If whoever acts does not administer the object, and may not grant this on; or somebody
                else gave the grant that he would renew.
            InvalidInputError: If there can be no such grant.
            UnknownColumnError: If the dataset has no column of a name.
            InvalidExpressionError: If the tag expression cannot be read.
            NotFoundError: If there is no such object.
        """
        whom, now = parse_principal(wanted.principal), self._clock.now()
        privilege, on = parse_privilege(wanted.privilege), parse_securable(wanted.on)
        check_grantable(privilege, on)
        check_texts("grant on", str(on), purpose=wanted.reason)
        expression = _checked_tags(wanted.tags, on, wanted.grant_option)
        masks, tag_masks = checked_masks(wanted.masks, wanted.tag_masks)
        ends = wanted.expires_at
        if ends is not None and (ends.tzinfo is None or ends <= now):
            raise InvalidInputError(f"A grant cannot end at {ends.isoformat()}.", hint="Give a time to come.")
        with self._store.write() as tx:
            found = self._securables.find(tx, on)
            grant = Grant(
                self._clock.new_id(), whom, privilege, on.kind, found.id, on.name, expression, wanted.grant_option,
                current().principal, now, ends, wanted.reason, wanted.row_filter, masks, tag_masks,
            )  # fmt: skip
            if grant.narrowed:
                self._narrowing.check(tx, found, grant)
            given = replace(grant, expires_at=self._end_of(tx, found, grant))
            tx.grants.put(given)
            stored = tx.grants.find(whom, privilege, on.kind, found.id, expression)
            assert stored is not None, "it has just been put"
            Trail(tx, now).audit("access.grant", on.kind, on.name, told(stored))
            wake_principal(tx, whom, self._clock, stored.expires_at)
        return stored

    def revoke(self, principal: str, privilege: Privilege, on: Securable, *, tags: str = "", reason: str = "") -> None:
        """Take a privilege back. What its holder granted on stays, until it is taken back itself.

        Args:
            principal: From whom.
            privilege: Which.
            on: The object that it was granted on.
            tags: The tag expression that it was granted with.
            reason: Why.

        Raises:
            AccessDeniedError: If whoever acts neither administers the object, nor gave the privilege, nor has it.
            NotFoundError: If there is no such grant, or no such object.
        """
        whom, expression = parse_principal(principal), _checked_tags(tags, on, grant_option=False)
        check_texts("grant on", str(on), purpose=reason)
        now = self._clock.now()
        with self._store.write() as tx:
            found = self._securables.find(tx, on)
            same = (whom, privilege, on.kind, found.id, expression)
            stored, viewer = tx.grants.find(*same), self._authorizer.viewer(tx)
            givers = () if stored is None else (stored.principal, *(stored.deputy_of or (stored.granted_by,)))
            concerned = whole_principal(current().principal) in map(whole_principal, givers)
            if not concerned and viewer is not None:
                self._securables.require(tx, found, Privilege.ADMINISTER)
            if stored is None or not tx.grants.delete(stored.id):
                condition = f" where {expression}" if expression else ""
                raise NotFoundError(
                    f"{whom} has no grant of {privilege} on {on}{condition}.",
                    hint=f"See which there are with: cordillera access list --on {on}.",
                )
            Trail(tx, now).audit("access.revoke", on.kind, on.name, told(replace(stored, reason=reason)))
            note_revoked(tx, stored, now, reason)
            wake_principal(tx, whom, self._clock)

    def page(
        self,
        *,
        on: Securable | None = None,
        principal: str = "",
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[Grant]:
        """Return a page of grants, ended ones too: one's own, and those on what one administers.

        Args:
            on: Only those on this very object.
            principal: Only those of this very principal.
            after: The id of the last grant of the page before.
            limit: Most grants to return.
        """
        whom = {parse_principal(principal)} if principal else set()
        with self._store.read() as tx:
            ids = {self._securables.find(tx, on).id} if on else set()
            return tx.grants.page(
                viewer=self._authorizer.viewer(tx),
                principals=whom,
                securable_ids=ids,
                after=after,
                limit=page_limit(limit),
            )

    def holders(self, on: Securable, *, after: UUID | None = None, limit: int = 100) -> list[Grant]:
        """Return a page of the grants that reach an object: on itself, and on what it is inside of.

        Raises:
            AccessDeniedError: If whoever asks does not administer it.
        """
        with self._store.read() as tx:
            found = self._securables.find(tx, on)
            self._securables.require(tx, found, Privilege.ADMINISTER)
            return tx.grants.page(
                securable_ids=found.outside, administered_ids=found.administered, after=after, limit=page_limit(limit)
            )

    def note_denied(self, error: AccessDeniedError) -> None:
        """Write into the audit log that somebody was refused; that a database is busy makes it no other error."""
        refused: Mapping[str, Any] = error.details
        kind, _, name = str(refused.get("on", "")).partition(":")
        with suppress(CordilleraError), self._store.write() as tx:
            details = {"privilege": refused.get("privilege", "")}
            Trail(tx, self._clock.now()).audit("access.denied", kind, name, details)

    def _end_of(self, tx: Transaction, found: FoundSecurable, wanted: Grant) -> datetime | None:
        """Return when a grant ends that whoever acts may give: no later than what he grants on."""
        viewer = self._authorizer.viewer(tx)
        if viewer is None or Privilege.ADMINISTER in self._securables.held(tx, viewer, found):
            return wanted.expires_at
        mine = [
            one
            for one in tx.grants.held(viewer, found.outside)
            if one.grant_option and wanted.privilege in implied_by(one.privilege)
        ]
        stored = tx.grants.find(
            wanted.principal, wanted.privilege, wanted.kind, wanted.securable_id, wanted.tag_expression
        )
        others = stored is not None and (stored.granted_by != wanted.granted_by or bool(stored.deputy_of))
        unmasks = Mask.CLEAR in (*wanted.masks.values(), *wanted.tag_masks.values())
        if (
            not mine or others or unmasks
        ):  # whoever may grant on could end, by renewing it, what others gave; or undo masks
            self._securables.require(tx, found, Privilege.ADMINISTER)
        if any(one.expires_at is None for one in mine):
            return wanted.expires_at
        latest = max(one.expires_at for one in mine if one.expires_at is not None)
        return latest if wanted.expires_at is None else min(latest, wanted.expires_at)


def _checked_tags(tags: str, on: Securable, grant_option: bool) -> str:
    if not tags:
        return ""
    if on.kind not in (SecurableKind.LAKE, SecurableKind.NAMESPACE, SecurableKind.DATASET):
        raise InvalidInputError(f"T{on.described[1:]} has no policy tags.", hint="Grant it without a tag expression.")
    if grant_option:
        raise InvalidInputError(
            "What is granted by tags cannot be granted on.", hint="Leave out the grant option, or the tag expression."
        )
    return describe(parse_tag_expression(tags))
