"""Why somebody may do something, or may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.access.securables import FoundSecurable, Securables
from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import (
    Grant,
    Privilege,
    Securable,
    SecurableKind,
    Viewer,
    parse_principal,
    sufficient_for,
    whole_principal,
)
from cordillera.spec.access_explanation import AccessExplanation, AccessReason
from cordillera.spec.access_tags import fulfils, parse_tag_expression
from cordillera.spec.catalog import Dataset, Namespace
from cordillera.spec.masks import Mask
from cordillera.spec.row_access import EffectiveTags, GrantedRows

_MOST_GRANTS = 1000


class ExplanationService:
    """Explains decisions.

    Args:
        store: Keeps grants.
        securables: Finds objects.
        authorizer: Decides.
        clock: Says which grants have ended.
    """

    def __init__(self, store: MetadataStore, securables: Securables, authorizer: GrantAuthorizer, clock: Clock) -> None:
        self._store, self._securables, self._authorizer, self._clock = store, securables, authorizer, clock

    def explain(self, principal: str, privilege: Privilege, on: Securable) -> AccessExplanation:
        """Tell whether somebody holds a privilege on an object, what gives it to him, and what nearly does.

        Raises:
            AccessDeniedError: If whoever asks is another, and does not administer the object.
            NotFoundError: If there is no such object.
        """
        whom = parse_principal(principal)
        with self._store.read() as tx:
            found = self._securables.find(tx, on)
            if whom != whole_principal(current().principal):
                self._securables.require(tx, found, Privilege.ADMINISTER)
            viewer = self._authorizer.viewer_of(tx, whom)
            held = privilege in self._securables.held(tx, viewer, found)
            narrowed = not held and privilege is Privilege.READ and self._reads_rows(tx, viewer, found)
            allowed, tags = held or narrowed, self._tags(tx, found)
            known = self._knows_dataset(tx, viewer, found)
            reasons = list(_Reasons(tx, whom, viewer, found, privilege, tags, self._clock.now(), known=known).all())
        if allowed and not any(one.holds for one in reasons):
            inside = "a dataset in it may be discovered"
            reasons.append(AccessReason(True, (whom,), Privilege.DISCOVER, str(on), "", None, inside))
        ordered = sorted(reasons, key=lambda one: not one.holds)
        return AccessExplanation(whom, privilege, str(on), allowed, narrowed, tags.dataset, tuple(ordered))

    def _reads_rows(self, tx: Transaction, viewer: Viewer, found: FoundSecurable) -> bool:
        if not isinstance(found.object, Dataset):
            return False
        rows = self._authorizer.rows_shown(tx, viewer, found.object, found.version)
        return rows is not None and bool(rows.granted)

    def _knows_dataset(self, tx: Transaction, viewer: Viewer, found: FoundSecurable) -> bool:
        """Tell whether somebody may discover what a subscription follows, if it is one."""
        dataset, one = found.followed, found.version
        if dataset is None or one is None:
            return True
        held = self._authorizer.held_on_versions(tx, viewer, dataset, dataset.namespace, [one])
        return Privilege.DISCOVER in held[one.id]

    def _tags(self, tx: Transaction, found: FoundSecurable) -> EffectiveTags:
        if not isinstance(found.object, Namespace) and found.dataset is None:
            return EffectiveTags()
        return tx.policy_tags.effective(tuple(reversed(found.within)))


class _Reasons:
    """Finds what gives somebody a privilege on an object, or nearly does."""

    def __init__(
        self,
        tx: Transaction,
        principal: str,
        viewer: Viewer,
        found: FoundSecurable,
        wanted: Privilege,
        tags: EffectiveTags,
        now: datetime,
        *,
        known: bool,
    ) -> None:
        self._known = known
        self._tx, self._principal, self._viewer, self._found = tx, principal, viewer, found
        self._wanted, self._tags, self._now = wanted, tags, now
        self._above = {one.container: one.member for one in reversed(tx.memberships.above(principal, now))}

    def all(self) -> Iterator[AccessReason]:
        """Yield them."""
        for on, owner in self._found.owners:
            if self._viewer.owns(owner):
                via, problem = self._via(whole_principal(owner)), self._unknown(on.kind)
                yield AccessReason(not problem, via, Privilege.ADMINISTER, str(on), "", None, problem or "owns it")
        principals, ids = self._viewer.principals, self._found.within
        for grant in self._tx.grants.page(principals=principals, securable_ids=ids, limit=_MOST_GRANTS):
            problem = self._problem(grant)
            as_deputy = f", as a deputy of {', '.join(grant.deputy_of)}" if grant.deputy_of else ""
            note = problem or f"granted by {grant.granted_by}{as_deputy}{f': {grant.reason}' if grant.reason else ''}"
            shown = self._shown(grant)
            yield AccessReason(
                not problem,
                self._via(grant.principal),
                grant.privilege,
                grant.on,
                grant.tag_expression,
                grant.expires_at,
                note,
                grant.row_filter,
                shown,
            )
        if self._wanted is Privilege.ADMINISTER:
            yield from self._deputed()

    def _deputed(self) -> Iterator[AccessReason]:
        """Yield for whom he decides, which is not to administer."""
        for one in self._tx.deputies.acting(self._viewer.principals, self._now):
            if one.securable_id in self._found.within:
                duties = " and ".join(duty.replace("_", " ") for duty in one.duties)
                note = f"a deputy of {one.owner} decides about {duties} as far as that one does, and nothing else"
                yield AccessReason(False, self._via(one.deputy), Privilege.ADMINISTER, one.on, "", one.ends_at, note)

    def _shown(self, grant: Grant) -> Mapping[str, str]:
        """Return what a grant to read shows of columns in the place of their values; ``*`` is every other one."""
        if grant.privilege is not Privilege.READ or not isinstance(self._found.object, Dataset):
            return {}
        rows = GrantedRows.by(grant, self._tags)
        masks = {**rows.tagged, **rows.named, **({"*": rows.others} if rows.others is not Mask.CLEAR else {})}
        return {column: mask.value for column, mask in masks.items() if mask is not Mask.CLEAR}

    def _problem(self, grant: Grant) -> str:
        """Return why a grant does not give the privilege; empty if it does."""
        if grant.expires_at is not None and grant.expires_at <= self._now:
            return f"it ended on {grant.expires_at:%Y-%m-%d %H:%M} UTC"
        if grant.privilege not in sufficient_for(self._wanted):
            return f"{grant.privilege} does not include {self._wanted}"
        if grant.securable_id in self._found.administered and grant.privilege is not Privilege.ADMINISTER:
            return "only to administer reaches the subscriptions inside"
        if not grant.tag_expression:
            return self._unknown(grant.kind)
        if self._found.dataset is None:
            return "it is about the datasets inside with certain tags"
        fulfilled = fulfils(self._tags.dataset, parse_tag_expression(grant.tag_expression))
        return "" if fulfilled else "the dataset's policy tags do not fulfil it"

    def _unknown(self, kind: SecurableKind) -> str:
        """Return why what somebody has on a subscription or its target counts for nothing; empty if it counts."""
        counts = self._known or kind not in (SecurableKind.SUBSCRIPTION, SecurableKind.TARGET)
        return "" if counts else "he may not discover the dataset that it follows"

    def _via(self, holder: str) -> tuple[str, ...]:
        """Return the way from the principal to a group or role that he is in."""
        way = [holder]
        while way[0] != self._principal and way[0] in self._above and len(way) <= len(self._above):
            way.insert(0, self._above[way[0]])
        return tuple(way)
