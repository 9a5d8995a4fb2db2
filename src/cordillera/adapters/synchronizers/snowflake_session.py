"""Connections to Snowflake, and what its errors mean to whoever keeps tables there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from snowflake import connector
from snowflake.connector import errors
from snowflake.connector.cursor import DictCursor

from cordillera.adapters.synchronizers.iceberg_catalog import is_this_machine
from cordillera.errors import InvalidConfigurationError, TargetUnreachableError

LOGIN_TIMEOUT_S, STATEMENT_TIMEOUT_S = 30, 300
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
    """A connection whose statements are each by themselves.

    Attributes:
        connection: The connector's.
        account: What errors name.
    """

    connection: connector.SnowflakeConnection
    account: Account

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement and return the rows of its answer, by the names of their columns.

        Raises:
            RefusedError: If Snowflake does not do it.
            TargetUnreachableError: If it cannot be reached any more.
        """
        with _translated(self.account), self.connection.cursor(DictCursor) as cursor:
            cursor.execute(statement, timeout=STATEMENT_TIMEOUT_S)
            return [dict(row) for row in cursor.fetchall()]

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


def open_session(account: Account, credentials: Credentials) -> Session:
    """Connect.

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
                login_timeout=LOGIN_TIMEOUT_S,
                network_timeout=STATEMENT_TIMEOUT_S,
                session_parameters={"QUERY_TAG": "cordillera", "CLIENT_TELEMETRY_ENABLED": False},
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
