"""Programs that run elsewhere act here for a while, by a token that their platform has signed for them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock

from cordillera.access.service import AccessService, AccessToken
from cordillera.catalog.trail import Trail
from cordillera.context import acting
from cordillera.errors import AuthenticationError
from cordillera.ports.clock import Clock
from cordillera.ports.identity import Workload, WorkloadProvider
from cordillera.ports.metadata import MetadataStore

_LONGEST = timedelta(hours=1)
_REMEMBERED = timedelta(minutes=5)
_MOST_REMEMBERED = 1000


class WorkloadService:
    """Exchanges the tokens of platforms that the lake trusts for its own, or takes them as they are; and keeps account.

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
        self._remembered: OrderedDict[bytes, tuple[Workload, datetime]] = OrderedDict()
        self._lock = Lock()

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
        found = self._identified(self._provider, token, now)
        until = min(now + _LONGEST, found.expires_at)
        made = self._access.create_workload_session(found.principal, until)
        self._note(found, now, token=str(made.token.id))
        return AccessToken(made.secret, int((until - now).total_seconds()))

    def claims(self, token: str) -> bool:
        """Tell whether a token says that a platform which is trusted has signed it."""
        return self._provider is not None and self._provider.claims(token)

    def identify(self, token: str) -> Workload:
        """Return the program that a platform's token is for, where it is taken as it is.

        A token that holds is remembered for five minutes, by its hash, and noted once in that time.

        Raises:
            AuthenticationError: If it is not to be trusted, or has to be exchanged; that is noted too.
            IdentityProviderError: If the platform does not tell its keys.
        """
        assert self._provider is not None, "it says that one which is trusted has signed it"
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock.now()
        with self._lock:
            remembered = self._remembered.get(digest)
        if remembered is not None and remembered[1] > now:
            return remembered[0]
        found = self._identified(self._provider, token, now, bearer=True)
        self._note(found, now)
        with self._lock:
            self._remembered[digest] = found, min(found.expires_at, now + _REMEMBERED)
            self._remembered.move_to_end(digest)
            while len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return found

    def _identified(self, provider: WorkloadProvider, token: str, now: datetime, *, bearer: bool = False) -> Workload:
        """Return the program that a token is for; it is noted if it is for none, or not to be used like this."""
        try:
            found = provider.identify(token, now)
            if bearer and not found.bearer:
                raise AuthenticationError(
                    f"Tokens of {found.issuer} are not taken as they are.",
                    hint="Exchange it for one of the lake's, at /iceberg/v1/oauth/tokens; or an administrator sets "
                    "bearer = true for that issuer.",
                    details={"reason": "bearer"},
                )
        except AuthenticationError as error:
            with self._store.write() as tx:
                refused = {"message": error.message, **error.details}
                Trail(tx, now).audit("access.workload_refused", "lake", "", refused)
            raise
        return found

    def _note(self, found: Workload, now: datetime, **more: str) -> None:
        with acting(found.principal), self._store.write() as tx:
            details = {"issuer": found.issuer, "subject": found.subject, **more}
            Trail(tx, now).audit("access.workload", "principal", found.principal, details)
