"""Taking bodies in: rows of any number in bounded memory, and documents byte for byte."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Annotated, Any

import orjson
import pyarrow as pa
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from cordillera.arrow_stream import ARROW_STREAM, split, untrusted
from cordillera.errors import InvalidInputError
from cordillera.schema_codec import rows_from_json
from cordillera.spec.counting import counted

JSON = "application/json"
_WRITE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class UploadedRows:
    """Rows that have arrived completely: a body that breaks off never reaches the lake."""

    media_type: str
    data: pa.Buffer

    def reader(self, schema: Callable[[], pa.Schema], *, others: bool = False) -> pa.RecordBatchReader:
        """Return the rows.

        Args:
            schema: Returns the dataset's schema, which JSON takes its types from.
            others: Whether JSON may have names that are no columns, whose types are then inferred.

        Raises:
            InvalidInputError: If the body is not what its media type says.
        """
        if self.media_type == JSON:
            return rows_from_json(self.data.to_pybytes(), schema(), others=others).to_reader()
        return untrusted(self.data)

    def readers(self, schemas: Sequence[Callable[[], pa.Schema]]) -> list[pa.RecordBatchReader]:
        """Return rows for several datasets: Arrow IPC streams one behind the other, or a JSON list of lists of objects.

        Args:
            schemas: Return the datasets' schemas, in the same order.

        Raises:
            InvalidInputError: If the body is not that, or not for as many datasets.
        """
        if self.media_type == JSON:
            found = [UploadedRows(JSON, part) for part in _json_parts(self.data)]
        else:
            found = [UploadedRows(ARROW_STREAM, part) for part in split(self.data)]
        if len(found) != len(schemas):
            raise InvalidInputError(
                f"The body has the rows of {counted(len(found), 'write')}, and {len(schemas)} of the writes take rows.",
                hint="Send rows for every write but a delete by a condition, in the order of the writes.",
            )
        return [part.reader(schema) for part, schema in zip(found, schemas, strict=True)]


def _json_parts(data: pa.Buffer) -> list[pa.Buffer]:
    try:
        parts = orjson.loads(data.to_pybytes() or b"[]")
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"The rows are not valid JSON: {error}.") from error
    if not isinstance(parts, list):
        raise InvalidInputError('The rows of several writes are a list of lists, for example [[{"id": 1}], []].')
    return [pa.py_buffer(orjson.dumps(part)) for part in parts]


async def _uploaded_rows(request: Request) -> UploadedRows:
    rows = await _spooled_rows(request)
    if rows.data.size == 0:
        raise InvalidInputError("The request has no body.", hint=f"Send the rows as {ARROW_STREAM}.")
    return rows


async def _spooled_rows(request: Request) -> UploadedRows:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type not in (ARROW_STREAM, JSON):
        raise InvalidInputError(
            f"Rows cannot be taken from a body of the type {media_type[:60]!r}.",
            hint=f"Send {ARROW_STREAM}, or {JSON} for a few.",
        )
    with tempfile.TemporaryFile(prefix="cordillera-upload-") as file:
        size = await _spool(request, file)
        if size == 0:
            return UploadedRows(media_type, pa.py_buffer(b""))
        # Batches are read straight out of the mapped file, so that the kernel can drop its pages whenever it likes.
        return UploadedRows(media_type, pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


async def _spool(request: Request, file: IO[bytes]) -> int:
    size, pending = 0, bytearray()
    async for chunk in request.stream():
        pending += chunk
        size += len(chunk)
        if len(pending) >= _WRITE_BYTES:
            await run_in_threadpool(file.write, bytes(pending))
            pending.clear()
    await run_in_threadpool(file.write, bytes(pending))
    await run_in_threadpool(file.flush)
    return size


async def _document(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The document is not UTF-8: {error}.") from error


Rows = Annotated[UploadedRows, Depends(_uploaded_rows)]
RowsOfSeveral = Annotated[UploadedRows, Depends(_spooled_rows)]
"""Rows for several datasets, or for none."""
Document = Annotated[str, Depends(_document)]


def body(*media_types: str, description: str) -> dict[str, Any]:
    """Return the description of a body that the route reads itself, for ``openapi_extra``."""
    schema = {"type": "string", "format": "binary"}
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {media_type: {"schema": schema} for media_type in media_types},
        }
    }
