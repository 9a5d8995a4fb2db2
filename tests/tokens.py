"""Tokens for tests that are about something else than access."""

from __future__ import annotations

from uuid import uuid4

from cordillera.app import Application
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant


def administrators_token(app: Application, principal: str = "user:tester") -> str:
    """Return a token of somebody who may do everything with a lake."""
    app.grants.grant(WantedGrant(principal, Privilege.ADMINISTER, "lake"))
    return app.access.create_token(f"of {principal} {uuid4()}", principal=principal).secret
