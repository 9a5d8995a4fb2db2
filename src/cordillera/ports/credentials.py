"""Keys to a part of the storage, for engines that read and write a table's files themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cordillera.spec.s3_request import S3Request


@dataclass(frozen=True, slots=True)
class StorageCredentials:
    """Keys that open one folder of the storage until they expire.

    Attributes:
        prefix: The folder's URI; every object below it, and nothing else, can be reached.
        access_key, secret_key, session_token: As S3 wants them.
        expires_at: When they end.
    """

    prefix: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that the storage takes for the lake's, for some minutes."""

    uri: str
    headers: Mapping[str, tuple[str, ...]] = field(repr=False)


class RequestSigner(Protocol):
    """Signs requests of clients that have no keys, if they stay in a folder."""

    def sign(self, request: S3Request, folder: str, *, write: bool) -> SignedRequest | None:
        """Return a request with its signature; None if it writes and may not.

        Args:
            request: What a client is about to ask of the storage.
            folder: The only folder that it may touch.
            write: Whether it may store or delete objects there.

        Raises:
            AccessDeniedError: If it touches something else, or is of an unknown kind.
            InvalidInputError: If it names no possible object.
        """


class CredentialVendor(Protocol):
    """Makes credentials that open a folder and nothing else."""

    def vend(self, prefix: str, holder: str, *, write: bool) -> StorageCredentials:
        """Return credentials for the objects of a folder.

        Args:
            prefix: The folder's URI.
            holder: Who gets them, as the storage's own log is to show it.
            write: Whether objects may be stored and deleted, besides being read and listed.

        Raises:
            StorageUnavailableError: If the service that makes them does not answer.
            InvalidConfigurationError: If it refuses the lake.
        """
