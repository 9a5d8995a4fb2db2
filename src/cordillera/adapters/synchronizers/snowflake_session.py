"""Connections to Snowflake, and what its errors mean to whoever keeps tables there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from snowflake import connector
from snowflake.connector import errors
from snowflake.connector.cursor import DictCursor

from cordillera.adapters.synchronizers.deliveries import REPAIR_HINT
from cordillera.adapters.synchronizers.iceberg_catalog import is_this_machine
from cordillera.errors import (
    CordilleraError,
    InvalidConfigurationError,
    NotAllowedError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)

LOGIN_TIMEOUT_S, STATEMENT_TIMEOUT_S = 30, 300
LOCK_TIMEOUT_S = 30
FETCH_ROWS = 16_384
_PARAMETERS = {  # what statements mean is no matter of an account's settings
    "QUERY_TAG": "cordillera",
    "CLIENT_TELEMETRY_ENABLED": False,
    "AUTOCOMMIT": True,
    "TIMEZONE": "UTC",
    "LOCK_TIMEOUT": LOCK_TIMEOUT_S,
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "DATE_INPUT_FORMAT": "AUTO",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
}
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_PORTS = {"https": 443, "http": 80}

Credentials = Callable[[], dict[str, Any]]
"""Reads the secret when a connection is opened, and returns what the connector is told of it."""


class RefusedError(Exception):
    """Snowflake does not do what it is asked for.

    Attributes:
        number: The number of its error.
        told: What it says.
    """

    def __init__(self, number: int, told: str) -> None:
        super().__init__(number, told)
        self.number, self.told = number, told


_NUMBERS: dict[type[CordilleraError], frozenset[int]] = {
    # No warehouse that runs, no right, a suspended account, no current database or schema.
    InvalidConfigurationError: frozenset({606, 3001, 390913, 90105, 90106, 90073}),
    # Waiting for a lock, cancelled, timed out; a transaction that has been ended, too many that wait.
    TargetUnreachableError: frozenset({604, 625, 628, 630, 8501, 90090}),
    # There already, or not there; no such column; a column that is there already.
    TargetDriftError: frozenset({904, 1430, 2002, 2003, 2043, 2040}),
}
_VALUES = range(100_000, 101_000)
"""Snowflake's errors about values, whose words quote them."""
_MEANING_HINTS: dict[type[CordilleraError], str] = {
    InvalidConfigurationError: "Check the rights of the target's role, and its warehouse.",
    TargetDriftError: REPAIR_HINT,
    TypeMismatchError: "Leave the column out of the subscription, or deliver the whole content anew.",
    NotAllowedError: "Remove what restricts the table in Snowflake.",
}


def meaning_of(refused: RefusedError, at: str) -> CordilleraError:
    """Return what it means to a synchronizer of native tables that Snowflake refuses a statement.

    Args:
        refused: What Snowflake said.
        at: What the target is called.
    """
    if refused.number in _VALUES:
        return TypeMismatchError(
            f"{at}: a value does not fit into its column (error {refused.number:06d}).",
            hint=_MEANING_HINTS[TypeMismatchError],
        )
    kind = next((kind for kind, numbers in _NUMBERS.items() if refused.number in numbers), NotAllowedError)
    told = " ".join(refused.told[:500].split())
    return kind(f"{at}: {told} (error {refused.number:06d}).", hint=_MEANING_HINTS.get(kind, ""))


@dataclass(frozen=True, slots=True)
class Account:
    """Whose Snowflake it is, and who asks there.

    Attributes:
        name: The account's identifier, such as ``company-analytics``.
        user: Who connects.
        role: As what.
        warehouse: What computes; empty for the user's own. To read catalogs, and to have tables read files, none does.
        endpoint: Where the account is found; empty for Snowflake's public address.

    Raises:
        InvalidConfigurationError: If there can be no such account or endpoint.
    """

    name: str
    user: str
    role: str
    warehouse: str = ""
    endpoint: str = ""

    def __post_init__(self) -> None:
        if not _ACCOUNT.fullmatch(self.name):
            raise InvalidConfigurationError(
                f"There can be no account {self.name[:60]!r} of Snowflake.",
                hint="Give its identifier, what comes before .snowflakecomputing.com, such as company-analytics.",
            )
        parts = urlsplit(self.endpoint)
        if self.endpoint and (parts.scheme not in _PORTS or not parts.hostname or parts.username or parts.query):
            raise InvalidConfigurationError(
                "The endpoint of a snowflake target is no address of a service.",
                hint="Leave it out for Snowflake's own, or write it as https://company.privatelink.example.com.",
            )
        if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
            raise InvalidConfigurationError(
                f"The endpoint {self.endpoint} would get credentials unencrypted.", hint="Use https."
            )

    def __str__(self) -> str:
        return f"Snowflake account {self.name}"

    def address(self) -> dict[str, Any]:
        """Return what the connector is told of where the account is."""
        if not self.endpoint:
            return {"account": self.name}
        parts = urlsplit(self.endpoint)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
        return {"account": self.name, "host": host, "port": port, "protocol": parts.scheme}


@dataclass(frozen=True, slots=True)
class Session:
    """A connection whose statements are each by themselves, but for those of a ``transaction``.

    All of its methods raise ``RefusedError`` if Snowflake does not do what is asked for, and ``TargetUnreachableError``
    if it cannot be reached any more.

    Attributes:
        connection: The connector's.
        account: What errors name.
    """

    connection: connector.SnowflakeConnection
    account: Account

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement with bound values (``?``) and return the rows of its answer, by the names of their columns.

        It is given up after some minutes.
        """
        with _translated(self.account), self.connection.cursor(DictCursor) as cursor:
            cursor.execute(statement, values or None, timeout=STATEMENT_TIMEOUT_S)
            return [dict(row) for row in cursor.fetchall()]

    def run(self, statement: str, *values: Any) -> int:
        """Run a statement with bound values, however long it takes, and return how many rows it changed."""
        with _translated(self.account), self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.rowcount or 0

    def put(self, statement: str, file: IO[bytes]) -> None:
        """Send a file to a stage."""
        with _translated(self.account), self.connection.cursor() as cursor:
            cursor.execute(statement, file_stream=file)

    def stream(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query some at a time, in the types that the connector gives them."""
        with _translated(self.account), self.connection.cursor() as cursor:
            cursor.execute(query)
            for part in cursor.fetch_arrow_batches():
                yield from part.to_batches(max_chunksize=FETCH_ROWS)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does when it ends, or undo it if it fails. No statement of DDL may be in it."""
        self.run("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(RefusedError, TargetUnreachableError):  # a session that ends undoes it too
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    def close(self) -> None:
        """End the connection."""
        with suppress(errors.Error):
            self.connection.close()


def key_pair(pem: str) -> dict[str, Any]:
    """Return what the connector is told of a private key.

    Raises:
        InvalidConfigurationError: If the text is no private key by which Snowflake lets people in.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        key = None  # the error could quote it
    if not isinstance(key, RSAPrivateKey):
        raise InvalidConfigurationError(
            "What private_key_env names is no private key of RSA that can be read.",
            hint="Give the whole PEM file, unencrypted: openssl genrsa 2048 | openssl pkcs8 -topk8 -nocrypt",
        )
    return {"authenticator": "SNOWFLAKE_JWT", "private_key": key}


def access_token(token: str) -> dict[str, Any]:
    """Return what the connector is told of a programmatic access token."""
    return {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": token}


def open_session(account: Account, credentials: Credentials, schema: tuple[str, str] | None = None) -> Session:
    """Connect.

    Args:
        account: Where Snowflake is, and who asks.
        credentials: What that one shows.
        schema: The database and the schema in which names are looked for that say neither.

    Raises:
        TargetUnreachableError: If there is nobody.
        InvalidConfigurationError: If Snowflake refuses user or role.
    """
    told = credentials()
    try:
        with _translated(account):
            connection = connector.connect(
                **account.address(),
                **told,
                user=account.user,
                role=account.role,
                warehouse=account.warehouse or None,
                **({} if schema is None else {"database": schema[0], "schema": schema[1]}),
                login_timeout=LOGIN_TIMEOUT_S,
                network_timeout=STATEMENT_TIMEOUT_S,
                session_parameters=dict(_PARAMETERS),  # the connector adds its own
                paramstyle="qmark",
                arrow_number_to_decimal=True,
                log_imported_packages_in_telemetry=False,
                platform_detection_timeout_seconds=0.0,  # it would ask the cloud's metadata service who we are
            )
    except RefusedError as refused:
        raise InvalidConfigurationError(
            f"{account} refuses the user {account.user}: {refused.told[:500]}",
            hint="Check account, user and role, and the key or token that the settings name.",
        ) from None
    return Session(connection, account)


@contextmanager
def _translated(account: Account) -> Iterator[None]:
    try:
        yield
    except (errors.ForbiddenError, errors.DatabaseError) as error:
        if isinstance(error, (errors.OperationalError, errors.InternalError)):
            raise _unreachable(account, error) from None
        raise RefusedError(error.errno or 0, str(error.raw_msg or error.msg or "")) from None
    except errors.Error as error:
        raise _unreachable(account, error) from None


def _unreachable(account: Account, error: errors.Error) -> TargetUnreachableError:
    return TargetUnreachableError(
        f"{account} cannot be reached: {str(error.msg)[:500]}",
        hint="Check the network and the account's name; deliveries go on from where they were.",
    )
