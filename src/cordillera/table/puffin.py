"""Puffin files, which hold deletion vectors and statistics (Puffin specification)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from cordillera.errors import CorruptDataError

_MAGIC = b"PFA1"
_ZSTD = "zstd"
_NOT_COMMITTED = -1  # a deletion vector takes its snapshot and sequence number from its manifest entry
_TAIL = 12
"""Bytes behind the footer's payload: its size, flags, the magic number."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob of a Puffin file.

    Attributes:
        type: What kind it is.
        content: Its bytes.
        fields: Ids of the columns it is about.
        snapshot_id, sequence_number: The snapshot it was computed from.
        properties: What else is said of it.
    """

    type: str
    content: bytes
    fields: tuple[int, ...] = ()
    snapshot_id: int = _NOT_COMMITTED
    sequence_number: int = _NOT_COMMITTED
    properties: Mapping[str, str] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return what metadata says of it."""
        return {
            "type": self.type,
            "snapshot-id": self.snapshot_id,
            "sequence-number": self.sequence_number,
            "fields": list(self.fields),
            "properties": dict(self.properties),
        }


def encode_puffin(blobs: Sequence[Blob]) -> tuple[bytes, list[int], int]:
    """Encode blobs as one file.

    Returns:
        The file, the offset of each blob, and the length of the footer.
    """
    out, entries, offsets = bytearray(_MAGIC), [], []
    for blob in blobs:
        offsets.append(len(out))
        entries.append({**blob.described(), "offset": len(out), "length": len(blob.content)})
        out += blob.content
    payload = orjson.dumps({"blobs": entries, "properties": {"created-by": "Cordillera"}})
    footer = _MAGIC + payload + struct.pack("<I", len(payload)) + bytes(4) + _MAGIC
    return bytes(out + footer), offsets, len(footer)


def decode_puffin(data: bytes, where: str) -> list[Blob]:
    """Return the blobs of a file, decompressed; those compressed in a way unknown here are left out.

    Raises:
        CorruptDataError: Naming ``where``, if it is no Puffin file, or one cut short.
    """
    try:
        (size,) = struct.unpack("<I", data[-_TAIL:-8])
        if not data[:4] == data[-4:] == data[-_TAIL - size - 4 : -_TAIL - size] == _MAGIC:
            raise ValueError("no magic number")
        entries = orjson.loads(data[-_TAIL - size : -_TAIL])["blobs"]
        return [
            Blob(
                entry["type"],
                _content(data[entry["offset"] : entry["offset"] + entry["length"]], entry.get("compression-codec")),
                tuple(entry["fields"]),
                entry["snapshot-id"],
                entry["sequence-number"],
                entry.get("properties", {}),
            )
            for entry in entries
            if entry.get("compression-codec") in (None, _ZSTD)
        ]
    except (struct.error, ValueError, KeyError, TypeError, OSError) as error:
        raise CorruptDataError(f"The Puffin file {where} cannot be read: {error}.") from error


def _content(stored: bytes, codec: str | None) -> bytes:
    if codec is None:
        return stored
    with pa.input_stream(pa.BufferReader(stored), compression=codec) as stream:
        return bytes(stream.read())
