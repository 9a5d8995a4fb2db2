"""The part of the Iceberg REST protocol that keeping tables in somebody else's catalog needs.

What the catalog refuses for certain comes out as another error than what may have happened all the same: only after
the former may files be removed that were written for a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import orjson
from pyiceberg.schema import Schema

from cordillera.adapters.synchronizers.iceberg_wire import CREATE, requirement_to_plain, update_to_plain
from cordillera.errors import (
    CommitConflictError,
    InvalidConfigurationError,
    NotAllowedError,
    StorageFullError,
    TargetUnreachableError,
)
from cordillera.spec.commit import Update
from cordillera.spec.requirements import Requirement
from cordillera.spec.table_metadata import TableMetadata

_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_VENDED = {"X-Iceberg-Access-Delegation": "vended-credentials"}
_LEVEL_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Access:
    """Where a catalog is and who asks it.

    Attributes:
        uri: What comes before ``/v1``.
        warehouse: What the catalog calls the warehouse; may be empty.
        token: Returns a bearer token, or nothing.
        credential: Returns ``client_id:client_secret``, which are exchanged for a token first, or nothing.
    """

    uri: str
    warehouse: str = ""
    token: Callable[[], str] = field(default=lambda: "", repr=False)
    credential: Callable[[], str] = field(default=lambda: "", repr=False)


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table as a catalog tells of it.

    Attributes:
        metadata: The table, with the snapshots that branches and tags point at.
        files: How to get at its files, in the words of Iceberg's file access (``s3.endpoint`` …).
    """

    metadata: TableMetadata
    files: Mapping[str, str] = field(repr=False)


class RestCatalog:
    """One namespace of an Iceberg REST catalog.

    Args:
        access: Where it is, and who asks.
        namespace: The namespace, levels with dots between.

    Raises:
        InvalidConfigurationError: If the address is none, or would send a secret in clear over a network.
    """

    def __init__(self, access: Access, namespace: str) -> None:
        self._access, self.name = access, f"{access.uri.rstrip('/')} ({namespace})"
        self.is_local = _checked_uri(access.uri)
        self._levels = namespace.split(".")
        self._root = f"{access.uri.rstrip('/')}/v1"
        self._client = httpx2.Client(
            timeout=_TIMEOUT,
            trust_env=not self.is_local,  # no proxy leads back to this machine
            headers={"User-Agent": "cordillera"},
        )
        self._token: str | None = None
        self._properties: dict[str, str] | None = None

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    # --- the namespace ----------------------------------------------------------------------------------------------

    def namespace_properties(self) -> dict[str, str]:
        """Return the namespace's properties.

        Raises:
            InvalidConfigurationError: If there is no such namespace, for whoever asks.
        """
        answer = self._ask("GET", "")
        if answer.status_code == 404:
            raise InvalidConfigurationError(
                f"There is no namespace {'.'.join(self._levels)} in the catalog {self._access.uri}.",
                hint="Create it there, and let whoever the token is for create tables in it.",
            )
        self._check(answer)
        return dict(answer.json().get("properties") or {})

    def change_namespace(self, updates: Mapping[str, str], removals: Sequence[str] = ()) -> None:
        """Set and remove properties of the namespace."""
        self._check(self._ask("POST", "/properties", json={"updates": dict(updates), "removals": list(removals)}))

    # --- tables -----------------------------------------------------------------------------------------------------

    def load(self, table: str) -> LoadedTable | None:
        """Return a table, or None if there is none of that name."""
        answer = self._ask("GET", f"/tables/{quote(table, safe='')}", params={"snapshots": "refs"}, headers=_VENDED)
        if answer.status_code == 404:
            return None
        self._check(answer)
        return self._loaded(answer.json(), table)

    def stage(self, table: str, schema: Schema, properties: Mapping[str, str]) -> LoadedTable:
        """Return what a table would be, and where; nothing is stored.

        Raises:
            CommitConflictError: If there is one of that name.
        """
        wanted = {
            "name": table,
            "schema": orjson.loads(schema.model_dump_json()),
            "stage-create": True,
            "properties": dict(properties),
        }
        answer = self._ask("POST", "/tables", json=wanted, headers=_VENDED)
        self._check(answer)
        return self._loaded(answer.json(), table)

    def commit(self, table: str, requirements: Sequence[Requirement] | None, updates: Sequence[Update]) -> None:
        """Commit to a table; with no requirements at all, create it.

        Raises:
            CommitConflictError: If a requirement does not hold, or there is a table already.
            TargetUnreachableError: If it is not known whether the commit was made.
        """
        body = {
            "identifier": {"namespace": self._levels, "name": table},
            "requirements": [CREATE] if requirements is None else [requirement_to_plain(one) for one in requirements],
            "updates": [update_to_plain(one) for one in updates],
        }
        self._check(self._ask("POST", f"/tables/{quote(table, safe='')}", json=body))

    def drop(self, table: str) -> None:
        """Drop a table; there need be none."""
        answer = self._ask("DELETE", f"/tables/{quote(table, safe='')}")
        if answer.status_code != 404:
            self._check(answer)

    # --- requests ---------------------------------------------------------------------------------------------------

    def _loaded(self, found: dict[str, Any], table: str) -> LoadedTable:
        metadata = TableMetadata.from_json(orjson.dumps(found["metadata"]), f"the table {table} in {self.name}")
        files = {**self._configuration(), **(found.get("config") or {})}
        credentials = found.get("storage-credentials") or []
        for one in sorted(credentials, key=lambda one: len(one["prefix"])):  # the nearest prefix has the last word
            if metadata.location.startswith(one["prefix"].rstrip("/")):
                files |= one["config"]
        return LoadedTable(metadata, files)

    def _configuration(self) -> dict[str, str]:
        if self._properties is None:
            params = {"warehouse": self._access.warehouse} if self._access.warehouse else {}
            answer = self._send("GET", f"{self._root}/config", params=params)
            self._check(answer)
            found = answer.json()
            self._properties = {**(found.get("defaults") or {}), **(found.get("overrides") or {})}
        return self._properties

    def _ask(self, method: str, path: str, **further: Any) -> httpx2.Response:
        prefix = self._configuration().get("prefix", "")
        place = f"{self._root}/{quote(prefix, safe='')}" if prefix else self._root
        return self._send(
            method, f"{place}/namespaces/{quote(_LEVEL_SEPARATOR.join(self._levels), safe='')}{path}", **further
        )

    def _send(self, method: str, url: str, **further: Any) -> httpx2.Response:
        answer = self._once(method, url, **further)
        if answer.status_code in (401, 419) and self._access.credential():  # tokens end
            self._token = None
            answer = self._once(method, url, **further)
        return answer

    def _once(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> httpx2.Response:
        if self._token is None:
            self._token = self._exchanged() or self._access.token()
        bearer = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return self._request(method, url, headers={**bearer, **(headers or {})}, **more)

    def _exchanged(self) -> str:
        """Return a token for the client credentials; empty if there are none."""
        client_id, _, secret = self._access.credential().partition(":")
        if not client_id:
            return ""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": "catalog"}
        answer = self._request("POST", f"{self._root}/oauth/tokens", data=form)
        if answer.status_code != 200:
            self._check_reachable(answer)
            raise InvalidConfigurationError(f"The catalog {self._access.uri} refuses the target's client credentials.")
        return str(answer.json()["access_token"])

    def _request(self, method: str, url: str, **further: Any) -> httpx2.Response:
        try:
            return self._client.request(method, url, **further)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise TargetUnreachableError(
                f"The catalog {self._access.uri} cannot be reached: {type(error).__name__}: {error}",
                hint="Check the address and what is between; deliveries go on from where they were.",
            ) from error

    def _check(self, answer: httpx2.Response) -> None:
        """Raise the error that an answer means."""
        status = answer.status_code
        if status < 300:
            return
        self._check_reachable(answer)
        said = f"The catalog {self.name} answers {status}: {_told(answer)}"
        if status == 409:
            raise CommitConflictError(said, hint="Somebody else changed the table; it is read again.")
        if status in (401, 403, 419):
            raise InvalidConfigurationError(
                f"{said}", hint="See that the token is valid, and what whoever it is for may do in the namespace."
            )
        if status in (404, 507):
            raise (StorageFullError if status == 507 else InvalidConfigurationError)(said)
        raise NotAllowedError(said)

    def _check_reachable(self, answer: httpx2.Response) -> None:
        if answer.status_code in (408, 425, 429) or (answer.status_code >= 500 and answer.status_code != 507):
            raise TargetUnreachableError(
                f"The catalog {self.name} answers {answer.status_code}: {_told(answer)}",
                hint="The delivery is repeated; what was done is not done again.",
            )


def is_this_machine(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_uri(uri: str) -> bool:
    """Return whether a catalog is on this machine, having made sure that its address is one."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InvalidConfigurationError(
            "The uri of an iceberg target is no address of a catalog.",
            hint="Write what comes before /v1, such as https://lake.example.com/iceberg, without a user or password.",
        )
    local = is_this_machine(parts.hostname)
    if parts.scheme == "http" and not local:
        raise InvalidConfigurationError(
            f"The catalog {uri} would get the token and the files' credentials unencrypted.", hint="Use https."
        )
    return local


def _told(answer: httpx2.Response) -> str:
    """Return what the catalog says is wrong."""
    try:
        error = answer.json().get("error", {})
        return str(error.get("message") if isinstance(error, dict) else error)[:500]
    except (ValueError, AttributeError):
        return answer.text[:200]
