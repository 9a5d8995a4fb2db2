"""Grants as the audit log has them."""

from __future__ import annotations

from typing import Any

from cordillera.spec.access import Grant


def told(grant: Grant) -> dict[str, Any]:
    """Return a grant as the audit log has it."""
    told = {
        "principal": grant.principal,
        "privilege": grant.privilege,
        "tags": grant.tag_expression,
        "grant_option": grant.grant_option,
        "expires_at": grant.expires_at.isoformat() if grant.expires_at else "",
        "reason": grant.reason,
        "row_filter": grant.row_filter,
        "masks": dict(grant.masks),
        "tag_masks": dict(grant.tag_masks),
        "deputy_of": list(grant.deputy_of),
    }
    return {name: value for name, value in told.items() if value}
