"""What errors of S3 clients mean in Cordillera's error tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CordilleraError,
    CorruptDataError,
    InvalidConfigurationError,
    InvalidInputError,
    StorageFullError,
    StorageUnavailableError,
)

_RETRY_HINT = "Try again; if it stays, look at the service and the network."
_MISSING = {"NoSuchKey", "NotFound", "404"}
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "507"}
_PASSING = {
    "ConditionalRequestConflict",  # somebody else is writing the same key at this moment
    "NoSuchUpload",  # a lifecycle rule or an operator ended the upload
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "TooManyRequests",
}
_DENIED = {"AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
_MISCONFIGURED = (
    ConfigNotFound,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

# pyarrow reports every S3 failure as an OSError with a text like "… AWS Error ACCESS_DENIED during GetObject
# operation: …".
_PYARROW_ERROR = re.compile(r"AWS Error (?P<kind>\w+)")
_PYARROW_MISSING = {"NO_SUCH_KEY", "RESOURCE_NOT_FOUND"}
_PYARROW_DENIED = {
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "SIGNATURE_DOES_NOT_MATCH",
}


def error_code(error: ClientError) -> str:
    """Return S3's name of the error; answers without a body (to HEAD) only carry the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_status(error: ClientError) -> int:
    """Return the HTTP status of the answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Raise errors of boto3 as Cordillera's own."""
    try:
        yield
    except ClientError as error:
        raise coded_error(uri, error_code(error), error_status(error)) from error
    except _MISCONFIGURED as error:
        raise InvalidConfigurationError(
            f"No request for {uri!r} could be made: {error}",
            hint="Give access_key and secret_key, or set up the AWS credentials of the environment.",
        ) from error
    except BotoCoreError as error:
        raise StorageUnavailableError(
            f"S3 did not answer for {uri!r} ({type(error).__name__}).", hint=_RETRY_HINT
        ) from error


@contextmanager
def stream_translated(uri: str) -> Iterator[None]:
    """Raise errors of pyarrow's S3 streams as Cordillera's own; what else goes wrong in the block passes unchanged."""
    try:
        yield
    except OSError as error:
        matched = _PYARROW_ERROR.search(str(error))
        if not matched:
            raise
        raise _pyarrow_error(uri, matched["kind"]) from error


def coded_error(uri: str, code: str, status: int = 0) -> CordilleraError:
    """Return the error for what S3 answered about ``uri``. S3's message is left out: it may quote keys."""
    answer = f"{status} {code}".strip()
    if code in _FULL or status == 507:
        return StorageFullError(
            f"S3 has no room for {uri!r} ({answer}).", hint="Free or add space, or raise the quota, then try again."
        )
    if code in _PASSING or status >= 500 or status in {408, 409, 429} or code == "InternalError":
        return StorageUnavailableError(f"S3 could not serve {uri!r} now ({answer}).", hint=_RETRY_HINT)
    if code == "NoSuchBucket":
        return InvalidConfigurationError(
            f"The bucket of {uri!r} does not exist.", hint="Create it, or correct the URI."
        )
    if code in _MISSING or status == 404:
        return missing_error(uri)
    if status == 412:
        return AlreadyExistsError(f"{uri!r} exists already; objects are never overwritten.")
    if code in _DENIED or status in {401, 403}:
        return _denied_error(uri, answer)
    if code == "KeyTooLongError":
        return InvalidInputError(f"{uri!r} is too long for an S3 key.")
    return InvalidConfigurationError(
        f"S3 refused the request for {uri!r} ({answer}).",
        hint="Check endpoint, region, path_style and, for temporary credentials, the session token.",
    )


def missing_error(uri: str) -> CorruptDataError:
    """Return the error for an object that should be there."""
    return CorruptDataError(
        f"The object {uri!r} does not exist.",
        hint="Restore it from a backup or an earlier object version; cordillera doctor tells what else is wrong.",
    )


def _denied_error(uri: str, answer: str) -> AccessDeniedError:
    return AccessDeniedError(
        f"S3 refuses access to {uri!r} ({answer}).",
        hint="Check the access key, its secret, the session token's expiry and the bucket's policy.",
    )


def _pyarrow_error(uri: str, kind: str) -> CordilleraError:
    if kind in _PYARROW_MISSING:
        return missing_error(uri)
    if kind in _PYARROW_DENIED:
        return _denied_error(uri, kind)
    return StorageUnavailableError(f"S3 stopped serving {uri!r} ({kind}).", hint=_RETRY_HINT)
