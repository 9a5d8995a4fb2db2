"""Objects in an S3 bucket, on AWS or anything that speaks its protocol.

Two clients share the work and the credentials. boto3 does what has to be exact: conditional creation, which
keeps objects write-once and which pyarrow cannot ask for, aborting, bulk deletion, listing. pyarrow's native
client does random-access reads, which Parquet readers issue from many threads and which must not wait for
Python's interpreter lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import islice
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from cordillera.errors import InvalidConfigurationError, MissingExtraError
from cordillera.ports.storage import StoredObject, UnfinishedObject
from cordillera.spec.object_uri import check_range, folder_key, is_object_key, object_key

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError, NoCredentialsError
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "Storage on S3 needs boto3, which is not installed.", hint="pip install 'cordillera[s3]'"
    ) from error

from cordillera.adapters.storage.s3_errors import (
    coded_error,
    error_status,
    missing_error,
    stream_translated,
    translated,
)
from cordillera.adapters.storage.s3_upload import PartSenders, Upload

SCHEME = "s3"
CONNECT_TIMEOUT = 5
"""Seconds to wait for a connection."""
READ_TIMEOUT = 30
"""Seconds without a byte of an answer."""
ATTEMPTS = 3
"""How often a request is made, counting the first."""

_STREAM_BUFFER = 1024 * 1024
_DELETE_BATCH = 1_000  # the most that DeleteObjects takes


@dataclass(frozen=True, slots=True)
class S3Config:
    """How to reach a bucket. What is not given comes from the AWS configuration of the environment.

    Attributes:
        endpoint: ``http(s)://host[:port]`` of an S3-compatible store; None for AWS itself.
        region: The bucket's region. With an endpoint, ``us-east-1`` unless given here or by the environment.
        access_key: With ``secret_key`` and, for temporary credentials, ``session_token``.
        path_style: Address buckets as ``endpoint/bucket`` instead of ``bucket.endpoint``. Only matters with
            an endpoint.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    path_style: bool = True

    def __post_init__(self) -> None:
        if (self.access_key is None) != (self.secret_key is None):
            raise InvalidConfigurationError("For S3, access_key and secret_key go together; one of them is missing.")
        if self.session_token is not None and self.access_key is None:
            raise InvalidConfigurationError("For S3, a session_token needs its access_key and secret_key.")
        if self.endpoint is not None:
            _check_endpoint(self.endpoint)

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> S3Config:
        """Build a configuration from settings, named like the attributes.

        Raises:
            InvalidConfigurationError: If an option is unknown or has a value that cannot work.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InvalidConfigurationError(
                f"S3 storage has no option {', '.join(map(repr, unknown))}.",
                hint=f"Known are {', '.join(known)}.",
            )
        values: dict[str, Any] = dict(options)
        if "path_style" in values:
            values["path_style"] = _boolean("path_style", values["path_style"])
        return cls(**values)


class S3Storage:
    """A bucket or a folder in one as root. See :class:`cordillera.ports.storage.Storage` for the methods.

    Writing is write-once as far as the store keeps S3's promise that a conditional request is atomic.
    (SeaweedFS 4.48 does for objects below one part, not for two multipart uploads of one key that complete at
    the same moment.)

    When the answer to the last request of a write is lost for good, ``StorageUnavailableError`` is raised
    though the object may appear: nothing names it, so it is an orphan like any other.

    Args:
        root: ``s3://bucket`` or ``s3://bucket/folder``, taken literally (nothing is percent-decoded).
        config: How to reach it.

    Raises:
        InvalidConfigurationError: If the URI names no bucket, or no region is known.
    """

    def __init__(self, root: str, config: S3Config | None = None) -> None:
        self._config = config or S3Config()
        self._bucket, self._root = _bucket_and_root(root)
        with translated(self._root):
            self._session = boto3.Session(
                aws_access_key_id=self._config.access_key,
                aws_secret_access_key=self._config.secret_key,
                aws_session_token=self._config.session_token,
            )
            self._region = _region(self._config, self._session, self._root)
            self._client = _client(self._config, self._session, self._region)
        self._senders = PartSenders()
        self._lock = Lock()
        self._reader: tuple[tuple[str | None, ...], fs.S3FileSystem] | None = None

    @property
    def root(self) -> str:
        """The root as an ``s3://`` URI."""
        return self._root

    def __repr__(self) -> str:
        return f"S3Storage({self._root!r}, {self._config!r})"

    def read(self, uri: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of an object, or exactly ``length`` of them from ``offset``."""
        check_range(uri, offset, length)
        target = self._target(uri)
        if length == 0:  # S3 has no empty ranges
            check_range(uri, offset, length, self._size(uri))
            return b""
        last = "" if length is None else offset + length - 1
        wanted = {"Range": f"bytes={offset}-{last}"} if offset or length is not None else {}
        with translated(uri):
            try:
                found: bytes = self._client.get_object(**target, **wanted)["Body"].read()
            except ClientError as error:
                if error_status(error) != 416:  # Range Not Satisfiable: it begins at the end of the object, or after it
                    raise
                check_range(uri, offset, length, self._size(uri))
                return b""
        check_range(uri, offset, length, offset + len(found))
        return found

    def write(self, uri: str, data: bytes) -> None:
        """Create an object."""
        with self._upload(uri) as upload:
            upload.write(data)

    @contextmanager
    def open_input(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open an object for random access."""
        target = self._target(uri)
        with translated(uri):
            reader = self._native_reader()
        with stream_translated(uri):
            try:
                file = reader.open_input_file(f"{target['Bucket']}/{target['Key']}")
            except FileNotFoundError as error:
                raise missing_error(uri) from error
            with file:
                yield file

    @contextmanager
    def open_output(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open a new object for streaming; a name that is taken is refused when the block ends."""
        with (
            self._upload(uri) as upload,
            pa.BufferedOutputStream(pa.PythonFile(upload, "w"), _STREAM_BUFFER) as file,
        ):
            try:
                yield file
            except BaseException:
                upload.abort()  # before the stream is closed, which hands on what it has buffered
                raise

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object at ``uri``."""
        with translated(uri):
            return self._head(self._target(uri)) is not None

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects, a thousand with each request."""
        pending = iter(uris)
        while batch := list(islice(pending, _DELETE_BATCH)):
            objects = [{"Key": self._target(uri)["Key"]} for uri in batch]
            with translated(batch[0]):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            for failed in answer.get("Errors", []):
                if failed["Code"] != "NoSuchKey":
                    raise coded_error(f"{SCHEME}://{self._bucket}/{failed['Key']}", failed["Code"])

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects under the folder ``prefix``."""
        folder_key(self._root, prefix)
        folder = self._key(f"{prefix.removesuffix('/')}/")
        return self._pages(prefix, folder)

    def _pages(self, prefix: str, folder: str) -> Iterator[StoredObject]:
        paginator = self._client.get_paginator("list_objects_v2")
        with translated(prefix):
            for page in paginator.paginate(Bucket=self._bucket, Prefix=folder):
                for found in page.get("Contents", []):
                    if is_object_key(found["Key"]):  # else a folder marker, or not ours
                        uri = f"{SCHEME}://{self._bucket}/{found['Key']}"
                        yield StoredObject(uri, found["Size"], found["LastModified"])

    def make_folder(self, prefix: str) -> None:
        """Do nothing but check the name: a bucket has no folders."""
        folder_key(self._root, prefix)

    def list_unfinished(self, prefix: str) -> Iterator[UnfinishedObject]:
        """Yield the multipart uploads under the folder ``prefix`` that have not ended."""
        folder_key(self._root, prefix)
        return self._uploads(prefix, self._key(f"{prefix.removesuffix('/')}/"))

    def discard(self, unfinished: Iterable[UnfinishedObject]) -> None:
        """Abort multipart uploads."""
        for one in unfinished:
            with translated(one.uri), _unless_ended():
                self._client.abort_multipart_upload(**self._target(one.uri), UploadId=one.upload_id)

    def together(self) -> S3Storage:
        """Return itself: objects are durable at once."""
        return self

    def settle(self) -> None:
        """Do nothing."""

    def _uploads(self, prefix: str, folder: str) -> Iterator[UnfinishedObject]:
        paginator = self._client.get_paginator("list_multipart_uploads")
        with translated(prefix):
            for page in paginator.paginate(Bucket=self._bucket, Prefix=folder):
                for found in page.get("Uploads", []):
                    if is_object_key(found["Key"]):
                        with _unless_ended():
                            yield self._upload_so_far(found)

    def _upload_so_far(self, found: Mapping[str, Any]) -> UnfinishedObject:
        target = {"Bucket": self._bucket, "Key": found["Key"]}
        pages = self._client.get_paginator("list_parts").paginate(**target, UploadId=found["UploadId"])
        parts = [part for page in pages for part in page.get("Parts", [])]
        latest = max([found["Initiated"], *(part["LastModified"] for part in parts)])
        uri = f"{SCHEME}://{self._bucket}/{found['Key']}"
        return UnfinishedObject(uri, sum(part["Size"] for part in parts), latest, found["UploadId"])

    @contextmanager
    def _upload(self, uri: str) -> Iterator[Upload]:
        """Yield an upload that becomes the object ``uri`` when the block ends well."""
        target = self._target(uri)
        upload = Upload(self._client, self._senders, uri, target)
        try:
            yield upload
            upload.publish()
        except BaseException:
            upload.abort()
            raise

    def _key(self, uri: str) -> str:
        return uri.removeprefix(f"{SCHEME}://{self._bucket}/")

    def _target(self, uri: str) -> dict[str, str]:
        object_key(self._root, uri)
        return {"Bucket": self._bucket, "Key": self._key(uri)}

    def _head(self, target: dict[str, str]) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.head_object(**target)
        except ClientError as error:
            if error_status(error) == 404:
                return None
            raise
        return found

    def _size(self, uri: str) -> int:
        with translated(uri):
            found = self._head(self._target(uri))
        if found is None:
            raise missing_error(uri)
        return int(found["ContentLength"])

    def _native_reader(self) -> fs.S3FileSystem:
        """Return pyarrow's client, a new one whenever boto3 has renewed the credentials both act under."""
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        frozen = credentials.get_frozen_credentials()
        key = (frozen.access_key, frozen.secret_key, frozen.token)
        with self._lock:
            if self._reader is None or self._reader[0] != key:
                self._reader = (key, _file_system(self._config, self._region, key))
            return self._reader[1]


@contextmanager
def _unless_ended() -> Iterator[None]:
    """Pass over a multipart upload that was completed or aborted meanwhile."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchUpload":
            raise


def _bucket_and_root(root: str) -> tuple[str, str]:
    bucket, _, folder = root.removeprefix(f"{SCHEME}://").rstrip("/").partition("/")
    if not root.startswith(f"{SCHEME}://") or not bucket:
        raise InvalidConfigurationError(f"{root!r} names no bucket.", hint="Write s3://bucket or s3://bucket/folder.")
    if folder and not is_object_key(folder):
        raise InvalidConfigurationError(f"{root!r} names no folder.", hint="Avoid empty and dot segments.")
    return bucket, f"{SCHEME}://{bucket}/{folder}".rstrip("/")


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.username:
        raise InvalidConfigurationError(
            "The S3 endpoint is not of the form http(s)://host[:port].",
            hint="For example http://127.0.0.1:8333.",
        )


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise InvalidConfigurationError(f"The option {name} is {value!r}.", hint="Write true or false.")
    return value.lower() == "true"


def _region(config: S3Config, session: Any, root: str) -> str:
    region = config.region or session.region_name or ("us-east-1" if config.endpoint else None)
    if region is None:
        raise InvalidConfigurationError(
            f"No region is known for {root!r}.", hint="Set the option region, or AWS_DEFAULT_REGION."
        )
    return str(region)


def _client(config: S3Config, session: Any, region: str) -> Any:
    style = "auto" if config.endpoint is None else "path" if config.path_style else "virtual"
    return session.client(
        "s3",
        region_name=region,
        endpoint_url=config.endpoint,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            s3={"addressing_style": style},
        ),
    )


def _file_system(config: S3Config, region: str, credentials: tuple[str | None, ...]) -> fs.S3FileSystem:
    access_key, secret_key, session_token = credentials
    endpoint = urlsplit(config.endpoint or "https://")
    return fs.S3FileSystem(
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        region=region,
        scheme=endpoint.scheme,
        endpoint_override=endpoint.netloc or None,
        force_virtual_addressing=not config.path_style,
        connect_timeout=CONNECT_TIMEOUT,
        request_timeout=READ_TIMEOUT,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
