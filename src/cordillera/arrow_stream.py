"""Rows on the wire: the Arrow IPC stream format, encoded and decoded piece by piece in bounded memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import pyarrow as pa

from cordillera.arrow_expansion import most_expanded
from cordillera.errors import InvalidInputError, RequestTooLargeError

ARROW_STREAM = "application/vnd.apache.arrow.stream"
"""Media type of the Arrow IPC stream format."""
_MESSAGE_BYTES = 4 * 1024 * 1024
_MOST_EXPANDED_BYTES = 256 * 1024 * 1024


def encoded(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """Yield rows as an Arrow IPC stream.

    Batches are cut into messages of a few megabytes, so that neither side ever has to hold a large one. The
    end-of-stream mark is the last thing yielded: a stream without it was cut short.
    """
    sink = _Sink()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            for part in slices(batch):
                writer.write_batch(part)
                yield sink.take()
    yield sink.take()


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in slices of a few megabytes, without copying."""
    rows = max(1, batch.num_rows * _MESSAGE_BYTES // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def limited(reader: pa.RecordBatchReader, most: int | None) -> pa.RecordBatchReader:
    """Return a reader that ends after ``most`` rows and reads no further than it needs; None for all rows."""

    def batches() -> Iterator[pa.RecordBatch]:
        remaining = most or 0
        while remaining > 0 and (batch := next(reader, None)) is not None:
            yield batch.slice(0, min(remaining, batch.num_rows))
            remaining -= batch.num_rows

    return reader if most is None else pa.RecordBatchReader.from_batches(reader.schema, batches())


def decoded(chunks: Iterable[bytes], truncated: Exception) -> pa.RecordBatchReader:
    """Return a reader over an Arrow IPC stream that arrives in chunks of any size.

    Args:
        chunks: The stream's bytes. What they raise reaches whoever reads.
        truncated: Raised if they end before the end-of-stream mark.
    """
    return pa.ipc.open_stream(_Source(chunks, truncated))


def untrusted(data: pa.Buffer) -> pa.RecordBatchReader:
    """Return a reader over an Arrow IPC stream from outside, whose batches are checked before they are used.

    Raises:
        InvalidInputError: If it is not a valid stream; at once, or while it is read.
        RequestTooLargeError: If a compressed batch would fill the memory.
    """
    try:
        expanded = most_expanded(data)
        reader = pa.ipc.open_stream(data)
    except (pa.ArrowException, OSError, struct.error) as error:
        raise _invalid(error) from error
    if expanded > _MOST_EXPANDED_BYTES:
        raise RequestTooLargeError(
            f"A batch of the rows expands to {expanded:,} bytes; at most {_MOST_EXPANDED_BYTES:,} are taken.",
            hint="Send batches of fewer rows.",
        )
    return pa.RecordBatchReader.from_batches(reader.schema, _checked(reader))


def split(data: pa.Buffer) -> list[pa.Buffer]:
    """Return the Arrow IPC streams that follow one another in a buffer. Nothing is copied or decoded.

    Raises:
        InvalidInputError: If the buffer holds anything else.
    """
    source, found = pa.BufferReader(data), []
    try:
        while (begin := source.tell()) < data.size:
            for _ in pa.ipc.MessageReader.open_stream(source):
                pass
            found.append(data.slice(begin, source.tell() - begin))
    except (pa.ArrowException, OSError) as error:
        raise _invalid(error) from error
    return found


def _checked(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
            batch.validate(full=True)  # offsets that lead out of their buffer would crash whoever follows them
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            raise _invalid(error) from error
        yield from slices(batch)


def _invalid(error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"The rows are not a valid Arrow IPC stream: {error}.",
        hint=f"Send them as {ARROW_STREAM}, for example with pyarrow.ipc.new_stream.",
    )


class _Sink:
    """Collects what an Arrow writer writes."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: pa.Buffer) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Everything is written at once."""

    def close(self) -> None:
        """Nothing has to be released."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        written, self._written = self._written, []
        return b"".join(written)


class _Source:
    """Chunks as the file an Arrow reader reads. The reader never reads beyond the end-of-stream mark."""

    closed = False

    def __init__(self, chunks: Iterable[bytes], truncated: Exception) -> None:
        self._chunks, self._truncated = iter(chunks), truncated
        self._pending = bytearray()

    def readable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        while len(self._pending) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise self._truncated
            self._pending += chunk
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        return taken

    def close(self) -> None:
        """Whoever gave the chunks closes them."""
