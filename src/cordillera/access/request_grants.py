"""The grants that approved requests lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from cordillera.access.telling import told
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import NotAllowedError
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Grant, Privilege, whole_principal
from cordillera.spec.access_request import AccessRequest


def grant_approved(tx: Transaction, request: AccessRequest, now: datetime, new_id: Callable[[], UUID]) -> None:
    """Give what was approved; what somebody has for longer stays as it is.

    Raises:
        NotAllowedError: If he is shown some rows and columns only, others than were approved, and one cannot give way.
    """
    name = tx.access_requests.object_name(request) or request.securable_name
    for privilege in request.granted:
        same = (request.requester, privilege, request.kind, request.securable_id, "")
        stored = tx.grants.find(*same)
        live = stored is not None and (stored.expires_at is None or stored.expires_at > now)
        assert request.expires_at is not None, "what is approved ends"
        grant = grant_of(request, privilege, name, now, new_id())
        if stored is not None and live:
            lasts = stored.expires_at is None or stored.expires_at >= request.expires_at
            if stored.narrowed and _shown(stored) != _shown(grant) and (lasts or not grant.narrowed):
                raise _others_shown(request)
            if lasts:
                continue
            grant = replace(grant, grant_option=stored.grant_option)
        tx.grants.put(grant)
        Trail(tx, now).audit("access.grant", request.kind, name, {**told(grant), "request": str(request.id)})


def _shown(grant: Grant) -> tuple[str, dict[str, str], dict[str, str]]:
    return grant.row_filter, dict(grant.masks), dict(grant.tag_masks)


def _others_shown(request: AccessRequest) -> NotAllowedError:
    """Return why neither is done: to show more than an approver may know of, or to call that approved which is not."""
    return NotAllowedError(
        f"{request.requester} has a grant to read {request.on} that shows some rows and columns only, others than this "
        "approval does.",
        hint="Approve it with the row filter and masks of that grant; or have that grant revoked first.",
    )


def grant_of(request: AccessRequest, privilege: Privilege, name: str, now: datetime, new_id: UUID) -> Grant:
    """Return the grant of one of the privileges of a request, as far as it has been approved."""
    made = Grant(
        id=new_id, principal=request.requester, privilege=privilege, kind=request.kind,
        securable_id=request.securable_id, securable_name=name, tag_expression="", grant_option=False,
        granted_by=whole_principal(current().principal), granted_at=now, expires_at=request.expires_at,
        reason=request.purpose, deputy_of=current().deputy_of,
    )  # fmt: skip
    if privilege is not Privilege.READ:
        return made
    return replace(made, row_filter=request.row_filter, masks=request.masks, tag_masks=request.tag_masks)
