"""Programs that run elsewhere act here for a while, by a token that their platform has signed for them."""

from __future__ import annotations

from datetime import timedelta

from cordillera.access.service import AccessService, AccessToken
from cordillera.catalog.trail import Trail
from cordillera.context import acting
from cordillera.errors import AuthenticationError
from cordillera.ports.clock import Clock
from cordillera.ports.identity import WorkloadProvider
from cordillera.ports.metadata import MetadataStore

_LONGEST = timedelta(hours=1)


class WorkloadService:
    """Exchanges the tokens of platforms that the lake trusts for its own, and keeps account of it.

    Args:
        store: Keeps the audit log.
        access: Makes sessions.
        provider: Identifies programs; None where no platform is trusted.
        clock: Time.
    """

    def __init__(
        self, store: MetadataStore, access: AccessService, provider: WorkloadProvider | None, clock: Clock
    ) -> None:
        self._store, self._access, self._provider, self._clock = store, access, provider, clock

    def exchange(self, token: str) -> AccessToken:
        """Return a token for the program that a platform's token is for. It lasts no longer than that, an hour at most.

        Raises:
            AuthenticationError: If the platform's is not to be trusted; that is noted too.
            IdentityProviderError: If the platform does not tell its keys.
        """
        if self._provider is None:
            raise AuthenticationError(
                "This lake trusts no issuer of tokens for programs.", hint="An administrator can set workloads."
            )
        now = self._clock.now()
        try:
            found = self._provider.identify(token, now)
        except AuthenticationError as error:
            with self._store.write() as tx:
                refused = {"message": error.message, **error.details}
                Trail(tx, now).audit("access.workload_refused", "lake", "", refused)
            raise
        until = min(now + _LONGEST, found.expires_at)
        made = self._access.create_workload_session(found.principal, until)
        with acting(found.principal), self._store.write() as tx:
            details = {"issuer": found.issuer, "subject": found.subject, "token": str(made.token.id)}
            Trail(tx, now).audit("access.workload", "principal", found.principal, details)
        return AccessToken(made.secret, int((until - now).total_seconds()))
