"""Credentials for one folder of a bucket: the lake's role, narrowed by a session policy (AWS STS, AssumeRole).

AWS and services that speak its protocol (SeaweedFS, MinIO) enforce the policy: what both the role and the policy allow
is possible, until the session ends.
"""

from __future__ import annotations

import re
from typing import Any

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cordillera.adapters.storage.s3 import ATTEMPTS, CONNECT_TIMEOUT, READ_TIMEOUT, S3Config
from cordillera.errors import InvalidConfigurationError, StorageUnavailableError
from cordillera.ports.credentials import StorageCredentials

_READ = ("s3:GetObject",)
_WRITE = (*_READ, "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_NOT_IN_NAMES = re.compile(r"[^\w+=,.@-]", re.ASCII)
_PATTERNS = frozenset("*?$")
_TRY_AGAIN = frozenset({"Throttling", "ThrottlingException", "ServiceUnavailable", "InternalFailure", "InternalError"})


class S3CredentialVendor:
    """Assumes a role for every request. See :class:`cordillera.ports.credentials.CredentialVendor`.

    Args:
        config: How the lake itself reaches its bucket; the same identity assumes the role.
        role_arn: The role.
        endpoint: ``http(s)://host[:port]`` of the token service; by default that of the bucket, or AWS's own.
        seconds: How long credentials last.
    """

    def __init__(self, config: S3Config, role_arn: str, endpoint: str | None, seconds: int) -> None:
        self._role_arn, self._seconds = role_arn, seconds
        session = boto3.Session(
            aws_access_key_id=config.access_key,
            aws_secret_access_key=config.secret_key,
            aws_session_token=config.session_token,
        )
        where = endpoint or config.endpoint
        self._partition = role_arn.split(":")[1] if role_arn.count(":") >= 5 else "aws"
        self._client: Any = session.client(
            "sts",
            region_name=config.region or session.region_name or "us-east-1",
            endpoint_url=where,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            ),
        )

    def vend(self, prefix: str, holder: str, *, write: bool) -> StorageCredentials:
        """Return credentials for the objects of a folder."""
        try:
            answer = self._client.assume_role(
                RoleArn=self._role_arn,
                RoleSessionName=f"cordillera-{_NOT_IN_NAMES.sub('-', holder)}"[:64],
                Policy=self._policy(prefix, write=write),
                DurationSeconds=self._seconds,
            )
        except ClientError as error:
            code, message = (error.response.get("Error", {}).get(name, "") for name in ("Code", "Message"))
            if code in _TRY_AGAIN:
                raise StorageUnavailableError(f"The token service is busy: {code}.", hint="Try again.") from error
            raise InvalidConfigurationError(
                f"The token service does not let the lake assume the role {self._role_arn}: {code}, {message}",
                hint="Check the role's trust policy, its longest session, and the settings s3_role_arn and "
                "s3_sts_endpoint.",
            ) from error
        except BotoCoreError as error:
            raise StorageUnavailableError(
                f"The token service does not answer: {type(error).__name__}.",
                hint="Check the setting s3_sts_endpoint, and try again.",
            ) from error
        given = answer["Credentials"]
        return StorageCredentials(
            prefix, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], given["Expiration"]
        )

    def _policy(self, prefix: str, *, write: bool) -> str:
        """Return the policy under which a session can use one folder: its objects, and their names."""
        if set(prefix) & _PATTERNS:
            raise InvalidConfigurationError(
                f"No credentials can be made for {prefix}: what a policy takes for a pattern is in its name.",
                hint="Move the lake to a storage root without *, ? and $.",
            )
        bucket, _, folder = prefix.removeprefix("s3://").rstrip("/").partition("/")
        resource = f"arn:{self._partition}:s3:::{bucket}"
        objects = {
            "Effect": "Allow",
            "Action": list(_WRITE if write else _READ),
            "Resource": [f"{resource}/{folder}/*"],
        }
        listing = {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [resource],
            "Condition": {"StringLike": {"s3:prefix": [f"{folder}/*"]}},
        }
        return orjson.dumps({"Version": "2012-10-17", "Statement": [objects, listing]}).decode()
