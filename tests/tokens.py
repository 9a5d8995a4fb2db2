"""Tokens for tests that are about something else than access."""

from __future__ import annotations

from uuid import uuid4

from cordillera.app import Application
from cordillera.spec.access import THE_LAKE, Privilege


def administrators_token(app: Application, principal: str = "user:tester") -> str:
    """Return a token of somebody who may do everything with a lake."""
    app.grants.grant(principal, Privilege.ADMINISTER, THE_LAKE)
    return app.access.create_token(f"of {principal} {uuid4()}", principal=principal).secret
