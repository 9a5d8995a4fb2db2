"""Creating one S3 object from a stream, so that it appears whole, at the end, and never over another one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Semaphore
from typing import Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from cordillera.adapters.storage.s3_errors import translated

PART_SIZE = 8 * 1024 * 1024
"""Bytes of the first parts. S3 takes 10,000 parts of at least 5 MiB; they grow (see ``_part_size``)."""

_PARTS_PER_SIZE = 1_000
_TOKEN = "cordillera-upload"  # noqa: S105 # the name of a metadata field


class PartSenders:
    """Threads that send parts, shared by all uploads of a storage so that memory is bounded by their number.

    Args:
        count: Parts sent, or waiting in memory to be sent, at the same time.
    """

    def __init__(self, count: int = 8) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="s3-upload")
        self._free = Semaphore(count)

    def submit(self, client: Any, **part: Any) -> Future[dict[str, Any]]:
        """Send a part when a thread is free, waiting for one."""
        self._free.acquire()
        try:
            future = self._threads.submit(client.upload_part, **part)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future


class Upload:
    """One object in the making: a writable file for ``pa.PythonFile``, then ``publish`` or ``abort``.

    An object of less than one part is sent with a single request, a larger one as a multipart upload. Either
    is refused by S3 if the key is taken (``If-None-Match: *``). When that request's answer is lost, its
    repetition is refused because of ourselves; a random token in the object's metadata tells that case from a
    foreign object.
    """

    def __init__(self, client: Any, senders: PartSenders, uri: str, target: dict[str, str]) -> None:
        self._client = client
        self._senders = senders
        self._uri = uri
        self._target = target
        self._token = uuid4().hex
        self._buffer = bytearray()
        self._parts: list[Future[dict[str, Any]]] = []
        self._upload_id: str | None = None
        self._error: BaseException | None = None
        self._aborted = False
        self.closed = False

    def write(self, data: Any) -> int:
        """Take bytes (anything with the buffer protocol); raises what kept a part from being sent."""
        rest = memoryview(data)
        size = rest.nbytes
        if self._aborted:
            return size
        try:
            while rest.nbytes:
                room = self._part_size() - len(self._buffer)
                self._buffer += rest[:room]
                rest = rest[room:]
                if len(self._buffer) == self._part_size():
                    with translated(self._uri):
                        self._send_part()
        except BaseException as error:
            self._error = error
            raise
        return size

    def flush(self) -> None:
        """Do nothing: S3 shows no part of an object before its end."""

    def close(self) -> None:
        """Accept no more bytes. The object appears with ``publish``."""
        self.closed = True

    def publish(self) -> None:
        """Make the object visible.

        Raises:
            AlreadyExistsError: If there is another object of that key.
        """
        if self._error is not None:  # also if the writer passed over it: bytes are missing
            raise self._error
        with translated(self._uri):
            try:
                self._complete() if self._upload_id else self._put()
            except (ClientError, BotoCoreError):
                if not self._is_published():
                    raise

    def abort(self) -> None:
        """Give up: parts sent so far are removed, as far as S3 can be reached, and never become visible."""
        if self._aborted:
            return
        self._aborted = True
        self._buffer.clear()
        for part in self._parts:
            part.cancel()
        for part in self._parts:  # S3 keeps a part that arrives after the upload was aborted
            with suppress(Exception):
                part.exception()
        if self._upload_id is not None:
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**self._target, UploadId=self._upload_id)

    def _part_size(self) -> int:
        return PART_SIZE * (1 + len(self._parts) // _PARTS_PER_SIZE)

    def _send_part(self) -> None:
        if self._upload_id is None:
            created = self._client.create_multipart_upload(
                **self._target, ChecksumAlgorithm="CRC32", Metadata={_TOKEN: self._token}
            )
            self._upload_id = created["UploadId"]
        for part in self._parts:
            if part.done():
                part.result()
        body, self._buffer = self._buffer, bytearray()
        self._parts.append(
            self._senders.submit(
                self._client,
                **self._target,
                UploadId=self._upload_id,
                PartNumber=len(self._parts) + 1,
                Body=body,
                ChecksumAlgorithm="CRC32",
            )
        )

    def _put(self) -> None:
        self._client.put_object(
            **self._target, Body=bytes(self._buffer), IfNoneMatch="*", Metadata={_TOKEN: self._token}
        )

    def _complete(self) -> None:
        if self._buffer:
            self._send_part()
        parts = [
            {"PartNumber": number, **{k: sent[k] for k in ("ETag", "ChecksumCRC32") if k in sent}}
            for number, sent in enumerate((part.result() for part in self._parts), start=1)
        ]
        self._client.complete_multipart_upload(
            **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
        )

    def _is_published(self) -> bool:
        with suppress(ClientError, BotoCoreError):
            return bool(self._client.head_object(**self._target)["Metadata"].get(_TOKEN) == self._token)
        return False
