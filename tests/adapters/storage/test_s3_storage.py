from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cordillera.adapters.storage import build_storage, s3
from cordillera.adapters.storage.s3 import S3Config, S3Storage
from cordillera.adapters.storage.s3_errors import coded_error
from cordillera.adapters.storage.s3_upload import PART_SIZE
from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CorruptDataError,
    InvalidConfigurationError,
    InvalidInputError,
    StorageFullError,
    StorageUnavailableError,
)
from cordillera.ports.storage import Storage
from cordillera.testing.storage_suite import StorageSuite
from tests.servers_s3 import ROLE_ARN, S3Server, start_seaweedfs


class TestS3Storage(StorageSuite):
    @pytest.fixture
    def storage(self, s3_root: str, s3_options: dict[str, str]) -> Storage:
        return build_storage(s3_root, s3_options)


@pytest.fixture
def storage(s3_root: str, s3_options: dict[str, str]) -> S3Storage:
    return S3Storage(s3_root, S3Config.from_options(s3_options))


def attempts(storage: Storage, uri: str) -> dict[str, Callable[[], object]]:
    """Every method that makes a request."""

    def open_input() -> None:
        with storage.open_input(uri) as file:
            file.read()

    def open_output() -> None:
        with storage.open_output(f"{uri}-streamed") as file:
            file.write(bytes(100))

    def open_large_output() -> None:
        with storage.open_output(f"{uri}-large") as file:
            for _ in range(20):
                file.write(bytes(1_000_000))

    return {
        "read": lambda: storage.read(uri),
        "write": lambda: storage.write(f"{uri}-written", b"x"),
        "open_input": open_input,
        "open_output": open_output,
        "open_large_output": open_large_output,
        "exists": lambda: storage.exists(uri),
        "delete": lambda: storage.delete([uri]),
        "list": lambda: list(storage.list(storage.root)),
    }


# --- nothing half-written -----------------------------------------------------------------------------------------


def unfinished_uploads(server: S3Server, storage: Storage) -> list[str]:
    prefix = storage.root.removeprefix(f"s3://{server.bucket}/")
    found = server.client().list_multipart_uploads(Bucket=server.bucket, Prefix=prefix)
    return [upload["Key"] for upload in found.get("Uploads", [])]


def test_a_failed_stream_leaves_no_parts(s3_server: S3Server, storage: S3Storage) -> None:
    def write_and_fail() -> None:
        with storage.open_output(f"{storage.root}/failed") as file:
            file.write(bytes(30_000_000))
            assert unfinished_uploads(s3_server, storage)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert unfinished_uploads(s3_server, storage) == []


def test_a_killed_writer_leaves_nothing_visible(
    s3_server: S3Server,
    storage: S3Storage,
    s3_options: dict[str, str],
    kill_a_writer: Callable[[str, Mapping[str, str], str], None],
) -> None:
    uri = f"{storage.root}/a/killed"
    kill_a_writer(storage.root, s3_options, uri)
    assert not storage.exists(uri)
    assert list(storage.list(storage.root)) == []
    storage.write(uri, b"the next attempt succeeds")
    assert [found.uri for found in storage.list(storage.root)] == [uri]
    (left,) = storage.list_unfinished(storage.root)
    assert (left.uri, left.size % PART_SIZE) == (uri, 0)
    storage.discard([left])
    assert unfinished_uploads(s3_server, storage) == []
    assert storage.read(uri) == b"the next attempt succeeds"


def test_a_write_error_that_was_passed_over_publishes_nothing(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**request: Any) -> None:
        raise ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "CreateUpload")

    def write_careless() -> None:
        with storage.open_output(f"{storage.root}/torn") as file:
            with pytest.raises(StorageUnavailableError):
                file.write(bytes(20_000_000))
            monkeypatch.undo()
            file.write(bytes(20_000_000))

    monkeypatch.setattr(storage._client, "create_multipart_upload", refuse)
    with pytest.raises(StorageUnavailableError, match="503 SlowDown"):
        write_careless()
    assert list(storage.list(storage.root)) == []


@pytest.mark.parametrize(("method", "size"), [("put_object", 10), ("complete_multipart_upload", 20_000_000)])
def test_a_lost_answer_is_told_from_a_foreign_object(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch, method: str, size: int
) -> None:
    """The request arrives, its answer does not, and the repetition finds the key taken: by ourselves."""
    real = getattr(storage._client, method)
    answers = []

    def repeat(**request: Any) -> object:
        answers.append(real(**request))
        return real(**request)

    monkeypatch.setattr(storage._client, method, repeat)
    storage.write(f"{storage.root}/ours", bytes(size))
    assert len(answers) == 1
    assert storage.read(f"{storage.root}/ours") == bytes(size)
    with pytest.raises(AlreadyExistsError):
        storage.write(f"{storage.root}/ours", bytes(size))


def test_a_lost_connection_is_no_failure_if_the_object_is_there(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage._client.put_object

    def lose_the_answer(**request: Any) -> None:
        real(**request)
        raise EndpointConnectionError(endpoint_url="http://lost")

    monkeypatch.setattr(storage._client, "put_object", lose_the_answer)
    storage.write(f"{storage.root}/ours", b"x")
    assert storage.read(f"{storage.root}/ours") == b"x"


def test_memory_stays_bounded_while_streams_outpace_the_store(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more parts wait in memory than there are threads to send them, however many streams are open."""
    submit, upload_part = storage._senders.submit, storage._client.upload_part
    parts: list[Future[dict[str, Any]]] = []
    waiting: list[int] = []

    def count(client: Any, **part: Any) -> Future[dict[str, Any]]:
        parts.append(submit(client, **part))
        waiting.append(sum(not part.done() for part in parts))
        return parts[-1]

    def send_slowly(**part: Any) -> object:
        time.sleep(0.05)
        return upload_part(**part)

    monkeypatch.setattr(storage._senders, "submit", count)
    monkeypatch.setattr(storage._client, "upload_part", send_slowly)
    with (
        storage.open_output(f"{storage.root}/one") as one,
        storage.open_output(f"{storage.root}/two") as two,
    ):
        for _ in range(100):
            one.write(bytes(1_000_000))
            two.write(bytes(1_000_000))
    assert 1 < max(waiting) <= 8
    assert {found.size for found in storage.list(storage.root)} == {100_000_000}


def test_an_error_names_the_object_it_is_about(storage: S3Storage) -> None:
    def write_both() -> None:
        with (
            storage.open_output(f"{storage.root}/outer") as outer,
            storage.open_output(f"{storage.root}/inner"),
            storage.open_input(f"{storage.root}/source"),
        ):
            outer.write(bytes(20_000_000))
            outer.write(bytes(20_000_000))

    def refuse(**request: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://away")

    storage.write(f"{storage.root}/source", b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage._client, "create_multipart_upload", refuse)
        with pytest.raises(StorageUnavailableError, match="lake/outer"):
            write_both()
    assert [found.uri for found in storage.list(storage.root)] == [f"{storage.root}/source"]


# --- who may do what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"secret_key": "wrong-secret"}, {"access_key": "NOBODY"}])
def test_wrong_keys_are_denied(
    storage: S3Storage, s3_root: str, s3_options: dict[str, str], wrong: dict[str, str]
) -> None:
    uri = f"{s3_root}/x"
    storage.write(uri, b"x")
    for name, attempt in attempts(build_storage(s3_root, {**s3_options, **wrong}), uri).items():
        with pytest.raises(AccessDeniedError) as caught:
            attempt()
        assert "wrong-secret" not in f"{caught.value!r} {caught.value}", name
    assert [found.uri for found in storage.list(s3_root)] == [uri]


def test_a_reader_may_read_only(storage: S3Storage, s3_server: S3Server, s3_options: dict[str, str]) -> None:
    uri = f"{storage.root}/x"
    storage.write(uri, b"x")
    keys = {"access_key": s3_server.reader_access_key, "secret_key": s3_server.reader_secret_key}
    tried = attempts(build_storage(storage.root, {**s3_options, **keys}), uri)
    for name in ("write", "open_output", "open_large_output", "delete"):
        with pytest.raises(AccessDeniedError):
            tried[name]()
    for name in ("read", "open_input", "exists", "list"):
        tried[name]()
    assert [found.uri for found in storage.list(storage.root)] == [uri]


def test_temporary_credentials_are_used(s3_server: S3Server, s3_root: str, s3_options: dict[str, str]) -> None:
    sts = boto3.client(
        "sts",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    given = sts.assume_role(RoleArn=ROLE_ARN, RoleSessionName="test")["Credentials"]
    keys = {"access_key": given["AccessKeyId"], "secret_key": given["SecretAccessKey"]}
    storage = build_storage(s3_root, {**s3_options, **keys, "session_token": given["SessionToken"]})
    uri = f"{s3_root}/x"
    storage.write(uri, b"x")
    assert storage.read(uri) == b"x"
    with storage.open_input(uri) as file:
        assert file.read() == b"x"
    forged = build_storage(s3_root, {**s3_options, **keys, "session_token": given["SessionToken"][:-4] + "AAAA"})
    for attempt in attempts(forged, uri).values():
        with pytest.raises(AccessDeniedError):
            attempt()


def test_renewed_credentials_reach_the_native_reader(
    s3_server: S3Server, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write(f"{storage.root}/x", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.reader_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.reader_secret_key)
    by_environment = S3Storage(storage.root, S3Config(endpoint=s3_server.endpoint))
    first = by_environment._native_reader()
    assert by_environment._native_reader() is first
    with by_environment.open_input(f"{storage.root}/x") as file:
        assert file.read() == b"x"
    credentials = by_environment._session.get_credentials()
    credentials.access_key, credentials.secret_key = "RENEWED", "renewed-secret"
    with pytest.raises(AccessDeniedError), by_environment.open_input(f"{storage.root}/x"):
        pass


def test_no_credentials_are_a_matter_of_configuration(
    s3_server: S3Server, s3_root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    storage = S3Storage(s3_root, S3Config(endpoint=s3_server.endpoint))
    for attempt in attempts(storage, f"{s3_root}/x").values():
        with pytest.raises(InvalidConfigurationError, match="access_key"):
            attempt()


def test_a_missing_bucket_is_a_matter_of_configuration(s3_options: dict[str, str]) -> None:
    storage = build_storage("s3://no-such-bucket", s3_options)
    for attempt in (
        lambda: storage.write("s3://no-such-bucket/x", b"x"),
        lambda: list(storage.list("s3://no-such-bucket")),
    ):
        with pytest.raises(InvalidConfigurationError, match="bucket"):
            attempt()


# --- a store that is away -----------------------------------------------------------------------------------------


def test_a_server_that_stops_is_unavailable(tmp_path: Path) -> None:
    with start_seaweedfs(tmp_path / "server") as server:
        root = f"s3://{server.bucket}/lake"
        storage = S3Storage(root, S3Config(server.endpoint, None, server.access_key, server.secret_key))
        rows = pa.table({"n": pa.array(range(2_000_000))})
        with storage.open_output(f"{root}/rows") as file:
            pq.write_table(rows, file, compression="none", use_dictionary=False)

        def stop_while_reading_and_writing() -> None:
            with storage.open_input(f"{root}/rows") as source, storage.open_output(f"{root}/copy") as target:
                parquet = pq.ParquetFile(source)
                target.write(bytes(10_000_000))
                server.process.kill()
                server.process.wait()
                with pytest.raises(OSError, match="AWS Error"):
                    parquet.read()
                for _ in range(20):
                    target.write(bytes(1_000_000))

        def read_on() -> None:
            with storage.open_input(f"{root}/rows") as source:
                source.read()

        started = time.monotonic()
        with pytest.raises(StorageUnavailableError, match="lake/copy"):
            stop_while_reading_and_writing()
        for attempt in (read_on, *attempts(storage, f"{root}/x").values()):
            with pytest.raises(StorageUnavailableError):
                attempt()
        assert time.monotonic() - started < 120


def test_a_server_that_stops_under_a_reader_is_unavailable(tmp_path: Path) -> None:
    with start_seaweedfs(tmp_path / "server") as server:
        root = f"s3://{server.bucket}"
        storage = S3Storage(root, S3Config(server.endpoint, None, server.access_key, server.secret_key))
        storage.write(f"{root}/x", bytes(1_000_000))

        def stop_while_reading() -> None:
            with storage.open_input(f"{root}/x") as file:
                server.process.kill()
                server.process.wait()
                file.read()

        with pytest.raises(StorageUnavailableError, match="NETWORK_CONNECTION"):
            stop_while_reading()


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT", 1)
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    with silent_server() as endpoint:
        storage = S3Storage("s3://bucket", S3Config(endpoint, None, "key", "secret"))
        tried = attempts(storage, "s3://bucket/x")
        for attempt in (tried["read"], tried["open_input"], tried["open_large_output"]):
            started = time.monotonic()
            with pytest.raises(StorageUnavailableError):
                attempt()
            assert time.monotonic() - started < 30


# --- what answers mean --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("SlowDown", 503, StorageUnavailableError),
        ("InternalError", 500, StorageUnavailableError),
        ("InternalError", 0, StorageUnavailableError),
        ("RequestTimeout", 400, StorageUnavailableError),
        ("ConditionalRequestConflict", 409, StorageUnavailableError),
        ("NoSuchUpload", 404, StorageUnavailableError),
        ("TooManyRequests", 429, StorageUnavailableError),
        ("AccessDenied", 403, AccessDeniedError),
        ("AccessDenied", 0, AccessDeniedError),
        ("ExpiredToken", 400, AccessDeniedError),
        ("403", 403, AccessDeniedError),
        ("NoSuchKey", 404, CorruptDataError),
        ("404", 404, CorruptDataError),
        ("NoSuchBucket", 404, InvalidConfigurationError),
        ("PreconditionFailed", 412, AlreadyExistsError),
        ("InsufficientStorage", 507, StorageFullError),
        ("XMinioStorageFull", 507, StorageFullError),
        ("QuotaExceeded", 403, StorageFullError),
        ("KeyTooLongError", 400, InvalidInputError),
        ("PermanentRedirect", 301, InvalidConfigurationError),
        ("AuthorizationHeaderMalformed", 400, InvalidConfigurationError),
    ],
)
def test_an_answer_has_its_error(code: str, status: int, expected: type[Exception]) -> None:
    error = coded_error("s3://bucket/the/object", code, status)
    assert type(error) is expected
    assert "s3://bucket/the/object" in str(error)


def test_a_deletion_that_is_refused_in_part_is_an_error(storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**request: Any) -> dict[str, Any]:
        keys = [found["Key"] for found in request["Delete"]["Objects"]]
        return {"Errors": [{"Key": keys[0], "Code": "NoSuchKey"}, {"Key": keys[1], "Code": "AccessDenied"}]}

    monkeypatch.setattr(storage._client, "delete_objects", refuse)
    with pytest.raises(AccessDeniedError, match="lake/2"):
        storage.delete([f"{storage.root}/{n}" for n in (1, 2, 3)])


# --- other objects in the bucket ----------------------------------------------------------------------------------


def test_folder_markers_and_unnameable_objects_are_passed_over(s3_server: S3Server, storage: S3Storage) -> None:
    folder = storage.root.removeprefix(f"s3://{s3_server.bucket}/")
    s3_server.client().put_object(Bucket=s3_server.bucket, Key=f"{folder}/marker/", Body=b"")
    storage.write(f"{storage.root}/marker/x", b"x")
    assert [found.uri for found in storage.list(storage.root)] == [f"{storage.root}/marker/x"]


def test_another_folder_of_the_bucket_is_outside(storage: S3Storage, s3_server: S3Server) -> None:
    for uri in (f"s3://{s3_server.bucket}/elsewhere", f"{storage.root}2/x", "s3://other-bucket/x"):
        with pytest.raises(AccessDeniedError, match="outside"):
            storage.read(uri)
