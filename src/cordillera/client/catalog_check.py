"""Whether an engine with a configuration can work with a table, step by step: the first that fails is what is wrong.

It asks what an engine asks, of whatever Iceberg REST catalog, and gets at files as an engine does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
import orjson
from pyiceberg.io import FileIO, load_file_io

from cordillera.client.connection import checked_url, is_this_machine
from cordillera.errors import CordilleraError, InvalidNameError
from cordillera.operations.doctor import Finding, Verdict
from cordillera.spec.table_metadata import TableMetadata

_TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
_PATIENCE = {"s3.connect-timeout": "10", "s3.request-timeout": "30"}
_VENDED = {"X-Iceberg-Access-Delegation": "vended-credentials"}


@dataclass(frozen=True)
class EngineConfiguration:
    """What an engine is told about a catalog and a table.

    Attributes:
        uri: The catalog, what comes before ``/v1``.
        table: Namespace and name, with a dot between.
        token: A bearer token, or the secret of client credentials.
        client_id: Of client credentials, which are exchanged for a token first; empty if the token is used as it is.
        warehouse: What the engine calls the warehouse; may be empty.
        properties: Further ones of the engine's, such as keys of its own for the storage (``s3.access-key-id``).
    """

    uri: str
    table: str
    token: str = field(default="", repr=False)
    client_id: str = ""
    warehouse: str = ""
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)


class _StepError(Exception):
    """A step failed: why, and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def verify_catalog(configuration: EngineConfiguration, *, write: bool = False) -> list[Finding]:
    """Go through what an engine does to use a table.

    Args:
        configuration: What the engine is told.
        write: Try also to put a file where its data would lie; it is removed again if the credentials allow it.

    Returns:
        The steps up to the first that fails.

    Raises:
        InvalidNameError: If the table's name is none.
        InvalidConfigurationError: If the URI is none.
    """
    uri = checked_url(configuration.uri)
    with httpx2.Client(timeout=_TIMEOUT, trust_env=not is_this_machine(uri)) as client:
        steps = _Steps(configuration, client)
        return list(_until_failure(steps.all(write=write)))


def _until_failure(steps: Mapping[str, Callable[[], str]]) -> Iterator[Finding]:
    for name, step in steps.items():
        try:
            yield Finding(name, Verdict.OK, step())
        except _StepError as failure:
            yield Finding(name, Verdict.ERROR, failure.message, failure.hint)
            return


class _Steps:
    """The steps; each uses what those before have found."""

    def __init__(self, configuration: EngineConfiguration, client: httpx2.Client) -> None:
        self._given, self._client = configuration, client
        self._root = f"{configuration.uri.rstrip('/')}/v1"
        self._token, self._prefix = configuration.token, ""
        *namespace, name = configuration.table.split(".")
        if not namespace or not all((*namespace, name)):
            raise InvalidNameError(
                f"{configuration.table[:100]!r} is no name of a table.", hint="Write namespace.table."
            )
        self._path = f"namespaces/{quote(chr(31).join(namespace), safe='')}/tables/{quote(name, safe='')}"
        self._properties: dict[str, str] = {}
        self._answer = httpx2.Response(404)
        self._loaded: dict[str, Any] = {}

    def all(self, *, write: bool) -> dict[str, Callable[[], str]]:
        """Return the steps by name, in order."""
        steps = {
            "reach": self._reach,
            "auth": self._authenticate,
            "warehouse": self._find_warehouse,
            "grant": self._check_grant,
            "load": self._load,
            "vend": self._vend,
            "read": self._read,
        }
        return {**steps, "write": self._write} if write else steps

    # --- the catalog ---------------------------------------------------------------------------------------------

    def _reach(self) -> str:
        answer = self._ask("GET", f"{self._root}/config", token="")
        if not _is_catalogs(answer):
            raise _StepError(
                f"{self._root}/config answers {answer.status_code} and is no Iceberg REST catalog.",
                "The URI is what comes before /v1; a lake's is its server's address and /iceberg.",
            )
        return f"{self._given.uri} answers."

    def _authenticate(self) -> str:
        given = self._given
        if given.client_id:
            form = {"grant_type": "client_credentials", "client_id": given.client_id, "client_secret": given.token}
            answer = self._ask("POST", f"{self._root}/oauth/tokens", token="", data=form)
            if answer.status_code != 200 or "access_token" not in _json(answer):
                raise _StepError(
                    f"The client credentials of {given.client_id!r} are refused: {_told(answer)}",
                    "In a lake the client id is a token's name or id, the secret its secret.",
                )
            self._token = str(_json(answer)["access_token"])
        answer = self._ask("GET", f"{self._root}/config", params=self._of_warehouse())
        if answer.status_code == 401:
            raise _StepError(
                f"The catalog does not know who is asking: {_told(answer)}",
                "Tokens end, and can be revoked. Make one with: cordillera token create NAME.",
            )
        return "The catalog knows who is asking."

    def _find_warehouse(self) -> str:
        answer = self._ask("GET", f"{self._root}/config", params=self._of_warehouse())
        if answer.status_code != 200:
            raise _StepError(
                f"The warehouse {self._given.warehouse!r} is refused: {_told(answer)}",
                "A lake's warehouse is its name; it may be left out.",
            )
        found = _json(answer)
        self._properties = {**found.get("defaults", {}), **self._given.properties, **found.get("overrides", {})}
        prefix = self._properties.get("prefix", "")
        self._prefix = f"{quote(prefix, safe='')}/" if prefix else ""
        return f"The catalog has the warehouse {self._given.warehouse!r}." if self._given.warehouse else "There is one."

    def _check_grant(self) -> str:
        answer = self._ask("GET", self._table)
        if answer.status_code == 404:
            raise _StepError(
                f"For whoever asks there is no table {self._given.table}: {_told(answer)}",
                "Check the name; a lake also says so to those who may not discover a dataset.",
            )
        if answer.status_code in (401, 403):
            raise _StepError(
                f"Whoever asks may not read {self._given.table}: {_told(answer)}",
                f"Grant it with: cordillera access grant PRINCIPAL read dataset:{self._given.table}.",
            )
        self._answer = answer
        return f"Whoever asks may read {self._given.table}."

    def _load(self) -> str:
        answer = self._answer
        if answer.status_code != 200:
            raise _StepError(f"{self._given.table} cannot be loaded ({answer.status_code}): {_told(answer)}")
        self._loaded = _json(answer)
        try:
            metadata = TableMetadata.from_json(orjson.dumps(self._loaded.get("metadata")))
        except CordilleraError as error:
            raise _StepError(
                f"What the catalog tells of {self._given.table} is no metadata: {error.message}"
            ) from error
        version, snapshots = metadata.format_version, len(metadata.snapshots)
        return f"It is at {metadata.location}, of format version {version}, with {snapshots} snapshots."

    # --- the files -----------------------------------------------------------------------------------------------

    def _vend(self) -> str:
        if self._location.startswith(("file:", "/")):
            return "Its files are on the catalog's machine, for which there are no credentials."
        answer = self._ask("GET", self._table, headers=_VENDED)
        if answer.status_code != 200:
            raise _StepError(
                f"The catalog gives out no credentials for {self._given.table}: {_told(answer)}",
                f"Grant it with: cordillera access grant PRINCIPAL external_use dataset:{self._given.table}.",
            )
        self._loaded = _json(answer)
        credentials = self._loaded.get("storage-credentials") or []
        for one in sorted(credentials, key=lambda found: len(found["prefix"])):  # the nearest prefix has the last word
            if self._location.startswith(one["prefix"].rstrip("/")):
                self._loaded["config"] = {**self._loaded.get("config", {}), **one["config"]}
        if "s3.session-token" in self._loaded.get("config", {}):
            return "The catalog gives out credentials for its files."
        if "s3.access-key-id" in {**self._properties, **self._loaded.get("config", {})}:
            return "The catalog gives out no credentials; the engine has keys of its own."
        raise _StepError(
            f"The catalog gives out no credentials for {self._given.table}, and the engine has no keys of its own.",
            "A lake gives some out if it has a role (s3_role_arn), to those whom external_use is granted; keys of an "
            "engine's own are s3.access-key-id and s3.secret-access-key.",
        )

    def _read(self) -> str:
        read = 0
        for uri in self._files():
            try:
                with self._io().new_input(uri).open() as stream:
                    read += len(stream.read())
            except (OSError, ValueError) as error:
                raise _StepError(
                    f"The file {uri} cannot be read: {str(error)[:500]}",
                    "Look at the storage's endpoint and at what the keys are for; local files are on the server's.",
                ) from error
        return f"Its metadata can be read where it is stored ({read} bytes)."

    def _write(self) -> str:
        uri = f"{self._location}/data/verify-{uuid4()}.tmp"
        try:
            with self._io().new_output(uri).create() as stream:
                stream.write(b"")
        except (OSError, ValueError) as error:
            raise _StepError(
                f"No file can be put beside its data ({uri}): {str(error)[:500]}",
                "Credentials are for writing if whoever asks may write the dataset.",
            ) from error
        try:
            self._io().delete(uri)
        except (OSError, ValueError):  # credentials to write are not always ones to remove
            return f"Files can be put beside its data; the empty {uri} stays there, as one of no snapshot."
        return "Files can be put beside its data."

    def _files(self) -> Iterator[str]:
        yield self._loaded["metadata-location"]
        metadata = self._loaded["metadata"]
        newest = metadata.get("current-snapshot-id")
        yield from (one["manifest-list"] for one in metadata.get("snapshots", []) if one["snapshot-id"] == newest)

    def _io(self) -> FileIO:
        properties = {**_PATIENCE, **self._properties, **self._loaded.get("config", {})}
        return load_file_io(properties, self._location)

    @property
    def _location(self) -> str:
        return str(self._loaded["metadata"]["location"]).rstrip("/")

    # --- requests ------------------------------------------------------------------------------------------------

    @property
    def _table(self) -> str:
        return f"{self._root}/{self._prefix}{self._path}"

    def _of_warehouse(self) -> dict[str, str]:
        return {"warehouse": self._given.warehouse} if self._given.warehouse else {}

    def _ask(self, method: str, url: str, *, token: str | None = None, **further: Any) -> httpx2.Response:
        bearer = self._token if token is None else token
        headers = {**further.pop("headers", {}), **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        try:
            return self._client.request(method, url, headers=headers, **further)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise _StepError(
                f"{url.partition('?')[0]} cannot be reached: {error}",
                "Check the address, that the server runs, and what is between.",
            ) from error


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_catalogs(answer: httpx2.Response) -> bool:
    """Tell whether an answer to a request without a token can be a catalog's; refusals are not all of one form."""
    if answer.status_code == 200:
        return "defaults" in _json(answer) or "overrides" in _json(answer)
    error = _json(answer).get("error", {})
    return answer.status_code in (400, 401, 403) and (not isinstance(error, dict) or not error or "type" in error)


def _told(answer: httpx2.Response) -> str:
    """Return what the catalog says is wrong."""
    error = _json(answer).get("error")
    said = error.get("message") if isinstance(error, dict) else _json(answer).get("error_description") or error
    return str(said or f"HTTP {answer.status_code}")[:500]
