"""Signatures under other people's requests to S3, made with the lake's own keys (AWS Signature Version 4)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from cordillera.adapters.storage.s3 import S3Config
from cordillera.errors import InvalidConfigurationError
from cordillera.ports.credentials import SignedRequest
from cordillera.spec.s3_request import BucketAddress, S3Request, check_s3_request

_HASH = "x-amz-content-sha256"
_UNSIGNED = "UNSIGNED-PAYLOAD"


class _GivenPayloadAuth(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs for a body that somebody else sends: by the hash that he names, or leaving it open."""

    def payload(self, request: Any) -> str:
        return str(request.headers.get(_HASH, _UNSIGNED))


class S3RequestSigner:
    """Signs requests to one bucket. See :class:`cordillera.ports.credentials.RequestSigner`.

    Args:
        root: The storage's root.
        config: How the lake itself reaches its bucket.
    """

    def __init__(self, root: str, config: S3Config) -> None:
        session = boto3.Session(
            aws_access_key_id=config.access_key,
            aws_secret_access_key=config.secret_key,
            aws_session_token=config.session_token,
        )
        self._region = config.region or session.region_name or "us-east-1"
        self._session = session
        self._address = _address(root.removeprefix("s3://").partition("/")[0], config.endpoint, self._region)

    def sign(self, request: S3Request, folder: str, *, write: bool) -> SignedRequest | None:
        """Return a request with its signature; None if it writes and may not."""
        if check_s3_request(request, self._address, folder) and not write:
            return None
        credentials = self._session.get_credentials()
        if credentials is None:
            raise InvalidConfigurationError("The lake has no keys to sign requests with.", hint="Set s3_access_key.")
        headers = {name: ",".join(values) for name, values in request.headers.items() if name != "authorization"}
        signed = AWSRequest(request.method, request.uri, headers={**headers, "host": urlsplit(request.uri).netloc})
        _GivenPayloadAuth(credentials.get_frozen_credentials(), "s3", self._region).add_auth(signed)
        return SignedRequest(request.uri, {name: (value,) for name, value in signed.headers.items()})


def _address(bucket: str, endpoint: str | None, region: str) -> BucketAddress:
    if endpoint is None:
        hosts = {f"s3.{region}.amazonaws.com", "s3.amazonaws.com"}
        scheme = "https"
    else:
        scheme, hosts = urlsplit(endpoint).scheme, {urlsplit(endpoint).netloc}
    own = frozenset(f"{bucket}.{host}" for host in hosts)
    return BucketAddress(bucket, frozenset(hosts), own, frozenset({scheme}))
