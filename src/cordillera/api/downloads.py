"""Giving rows out: as an Arrow stream, CSV or JSON, whichever the client accepts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from itertools import chain
from typing import Annotated, Any
from urllib.parse import quote

import anyio
import pyarrow as pa
import structlog
from fastapi import Depends, Request
from pyarrow import csv
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from cordillera.api.errors import AnswerBrokenOff
from cordillera.api.uploads import JSON
from cordillera.arrow_stream import ARROW_STREAM, encoded
from cordillera.errors import CordilleraError, InvalidInputError
from cordillera.schema_codec import rows_to_json
from cordillera.spec.narrowed import narrowed_by

_log = structlog.get_logger(__name__)
CSV = "text/csv"
MOST_JSON_ROWS = 10_000
JSON_ROWS = 1_000
"""Rows of a JSON answer where the request names no limit."""


async def _accept(request: Request) -> str:
    return request.headers.get("accept", "*/*")


Accept = Annotated[str, Depends(_accept)]
"""The forms a client takes; JSON by default."""
DESCRIPTION: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows.",
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["rows", "truncated"],
                    "properties": {
                        "rows": {"type": "array", "items": {"type": "object"}},
                        "truncated": {"type": "boolean", "description": "Whether there are more rows than shown."},
                        "narrowed": {
                            "type": "array",
                            "items": {"type": "object"},
                            "description": "What filters and masks keep from whoever asks: by dataset, whether rows "
                            "are left out, and which columns are masked or hidden. Not there if nothing is.",
                        },
                    },
                }
            },
            ARROW_STREAM: {"schema": {"type": "string", "format": "binary"}},
            CSV: {"schema": {"type": "string"}},
        },
    }
}


def rows_response(accept: str, limit: int | None, read: Callable[[int | None], pa.RecordBatchReader]) -> Response:
    """Return rows in the form a client accepts.

    An answer begins when its first rows are there, so that most failures still are proper errors. What fails later
    breaks the connection off: the answer's end is missing, and no client takes it for whole.

    Args:
        accept: The request's ``Accept`` header.
        limit: Most rows wanted. JSON has a limit in any case, and says whether there are more.
        read: Reads at most so many rows.

    Raises:
        InvalidInputError: If the client accepts none of the forms, or wants too many rows as JSON.
    """
    match _media_type(accept):
        case "arrow":
            reader = read(limit)
            return _streamed(encoded(reader.schema, reader), ARROW_STREAM)
        case "csv":
            reader = read(limit)
            answer = _streamed(_csv(reader), CSV)
            if narrowed := narrowed_by(reader.schema):
                answer.headers["Cordillera-Narrowed"] = ", ".join(quote(one.dataset) for one in narrowed)
            return answer
        case _:
            return _json(limit, read)


def schema_response(schema: pa.Schema) -> Response:
    """Return a schema as an Arrow stream without rows."""
    return Response(b"".join(encoded(schema, [])), media_type=ARROW_STREAM)


def wants_arrow(accept: str) -> bool:
    """Tell whether a client asks for Arrow."""
    return ARROW_STREAM in accept


def _media_type(accept: str) -> str:
    wanted = {part.partition(";")[0].strip() for part in accept.split(",")}
    if ARROW_STREAM in wanted:
        return "arrow"
    if CSV in wanted:
        return "csv"
    if wanted & {JSON, "application/*", "*/*", ""}:
        return "json"
    raise InvalidInputError(
        f"Rows cannot be given as {accept[:80]!r}.", hint=f"Accept {ARROW_STREAM}, {CSV} or {JSON}."
    )


def _json(limit: int | None, read: Callable[[int | None], pa.RecordBatchReader]) -> Response:
    most = JSON_ROWS if limit is None else limit
    if most > MOST_JSON_ROWS:
        raise InvalidInputError(
            f"JSON holds at most {MOST_JSON_ROWS:,} rows.", hint=f"Accept {ARROW_STREAM} or {CSV} for more."
        )
    table = read(most + 1).read_all()
    return Response(rows_to_json(table.slice(0, most), truncated=table.num_rows > most), media_type=JSON)


def _csv(reader: pa.RecordBatchReader) -> Iterator[bytes]:
    unfit = [f"{field.name} ({field.type})" for field in reader.schema if not _fits_csv(field.type)]
    if unfit:
        raise InvalidInputError(
            f"CSV cannot hold the columns {', '.join(unfit)}.", hint="Choose other columns, or accept Arrow."
        )
    sink = BytesIO()
    with csv.CSVWriter(sink, reader.schema) as writer:
        for batch in reader:
            writer.write(batch)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()


def _fits_csv(arrow_type: pa.DataType) -> bool:
    kinds = pa.types
    bytes_like = (
        kinds.is_binary(arrow_type) or kinds.is_large_binary(arrow_type) or kinds.is_fixed_size_binary(arrow_type)
    )
    return not (
        kinds.is_nested(arrow_type)
        or bytes_like
        or kinds.is_interval(arrow_type)
        or isinstance(arrow_type, pa.BaseExtensionType)
    )


def _streamed(chunks: Iterator[bytes], media_type: str) -> StreamingResponse:
    first = next(chunks)
    return StreamingResponse(_closing(chain([first], chunks), chunks), media_type=media_type)


async def _closing(chunks: Iterator[bytes], source: Any) -> AsyncIterator[bytes]:
    """Yield chunks that are made in the thread pool; release what makes them even if the client goes away."""
    try:
        while (chunk := await run_in_threadpool(next, chunks, None)) is not None:
            yield chunk
    except CordilleraError as error:
        _log.error("rows broke off", code=error.code, error=str(error))
        raise AnswerBrokenOff from None
    finally:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(source.close)
