"""Approval rules: who has to approve access requests for what has certain policy tags."""

from __future__ import annotations

from cordillera.catalog.lookup import Lookup
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import NotAllowedError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege, parse_principal
from cordillera.spec.access_request import ApprovalRule
from cordillera.spec.access_tags import describe, parse_tag_expression

_MOST_RULES = 100


class ApprovalRuleService:
    """Keeps approval rules. They hold for the whole lake, so it takes one who administers that.

    Args:
        store: Keeps them.
        lookup: Knows who administers the lake.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def add(self, tags: str, approver: str) -> ApprovalRule:
        """Have somebody approve requests for what has certain policy tags, beside those who administer it.

        Args:
            tags: A tag expression. A request for a namespace or the lake is concerned if a dataset inside is.
            approver: Who: any member, where it is a group or a role.

        Raises:
            AccessDeniedError: If whoever acts does not administer the lake.
            InvalidExpressionError, InvalidInputError: If there can be no such rule.
            NotAllowedError: If there are too many.
        """
        expression, now = describe(parse_tag_expression(tags)), self._clock.now()
        rule = ApprovalRule(expression, parse_principal(approver), current().principal, now)
        with self._store.write() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            if len(tx.approval_rules.all()) >= _MOST_RULES:
                raise NotAllowedError(
                    f"There are {_MOST_RULES} approval rules already.", hint="Put several tags into one expression."
                )
            if tx.approval_rules.put(rule):
                told = {"tags": expression, "approver": rule.approver}
                Trail(tx, now).audit("access.add_approver", "lake", "", told)
        return rule

    def remove(self, tags: str, approver: str) -> None:
        """Remove a rule.

        Raises:
            AccessDeniedError: If whoever acts does not administer the lake.
            NotFoundError: If there is no such rule.
        """
        expression, whom = describe(parse_tag_expression(tags)), parse_principal(approver)
        with self._store.write() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            if not tx.approval_rules.delete(expression, whom):
                raise NotFoundError(
                    f"{whom} does not have to approve requests where {expression}.",
                    hint="List the rules with: cordillera approver list.",
                )
            told = {"tags": expression, "approver": whom}
            Trail(tx, self._clock.now()).audit("access.remove_approver", "lake", "", told)

    def rules(self) -> list[ApprovalRule]:
        """Return the rules, at most a hundred.

        Raises:
            AccessDeniedError: If whoever asks does not administer the lake.
        """
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)
            return tx.approval_rules.all()
