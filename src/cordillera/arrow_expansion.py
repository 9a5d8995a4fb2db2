"""What compressed Arrow IPC messages claim to expand to, told before anything is expanded.

A few kilobytes of zeros stand for many gigabytes. Arrow allocates what each buffer's first eight bytes claim, so who
takes messages from outside has to look first. The layout is that of Arrow's ``Message.fbs``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pyarrow as pa

_MESSAGE_HEADER, _DICTIONARY_BATCH, _BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 1, 2, 3
_PLACE = struct.Struct("<qq")
_CLAIM = struct.Struct("<q")


def most_expanded(data: pa.Buffer) -> int:
    """Return how many bytes the largest message of an Arrow IPC stream claims to expand to; 0 if none is compressed.

    Raises:
        pyarrow.ArrowException, OSError, struct.error: If it is no such stream.
    """
    return max(map(_expanded, pa.ipc.MessageReader.open_stream(pa.BufferReader(data))), default=0)


def _expanded(message: pa.ipc.Message) -> int:
    if message.type not in ("record batch", "dictionary"):
        return 0
    metadata = memoryview(message.metadata)
    batch = _Table.root(metadata).child(_MESSAGE_HEADER)
    if batch is not None and message.type == "dictionary":
        batch = batch.child(_DICTIONARY_BATCH)
    if batch is None or batch.child(_BATCH_COMPRESSION) is None or (places := batch.child(_BATCH_BUFFERS)) is None:
        return 0
    (count,) = struct.unpack_from("<I", metadata, places.at)
    found = (_PLACE.unpack_from(metadata, places.at + 4 + index * _PLACE.size) for index in range(count))
    body = memoryview(message.body)
    return sum(max(0, _CLAIM.unpack_from(body, offset)[0]) for offset, length in found if length > 0)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a flatbuffer, or whatever else a field leads to.

    Attributes:
        at: Where it begins.
    """

    buffer: memoryview
    at: int

    @classmethod
    def root(cls, buffer: memoryview) -> _Table:
        return cls(buffer, struct.unpack_from("<I", buffer)[0])

    def child(self, field: int) -> _Table | None:
        """Return what a field leads to; None if it is not set."""
        directory = self.at - struct.unpack_from("<i", self.buffer, self.at)[0]
        (size,) = struct.unpack_from("<H", self.buffer, directory)
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", self.buffer, directory + slot)[0] if slot < size else 0
        if not offset:
            return None
        position = self.at + offset
        return _Table(self.buffer, position + struct.unpack_from("<I", self.buffer, position)[0])
