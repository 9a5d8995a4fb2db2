"""Encoding table metadata as files, at a cost that does not grow with the table's history.

A metadata file lists every snapshot there is. A long list stays as it is from commit to commit, but for its end, so the
rest is encoded and compressed once: gzip is made of pieces that can be put one behind the other, and checksums of
pieces can be combined. A commit compresses its own snapshot and a few before it, and writes a tenth of the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from cordillera.errors import InvalidSchemaError
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.live_files import LruCache

CODEC_PROPERTY = "write.metadata.compression-codec"
"""Iceberg's property: ``gzip`` or ``none``; by default long histories are compressed."""
PLAIN, _GZIP = "metadata.json", "gz.metadata.json"
"""How the names of metadata files end."""
_PIECE = 64
"""Entries of a list that are compressed together."""
_SHORT = 2 * _PIECE
"""Snapshots up to which metadata is not compressed, unless the table asks for it."""
_CACHED_PIECES = 10_000
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x03\x00"
_LEVEL = 1
_POLYNOMIAL, _ONE = 0xEDB88320, 1 << 31
T = TypeVar("T")


def compresses(properties: Mapping[str, str], snapshots: int) -> bool:
    """Tell whether a table's metadata is to be compressed.

    Raises:
        InvalidSchemaError: If the table asks for a codec that there is not.
    """
    codec = properties.get(CODEC_PROPERTY)
    if codec is None:
        return snapshots > _SHORT
    if codec not in ("gzip", "none"):
        raise InvalidSchemaError(
            f"Metadata cannot be compressed by {codec[:40]!r}.", hint=f"Set {CODEC_PROPERTY} to gzip or none."
        )
    return codec == "gzip"


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of a file as they are stored; the checksum and the number of those they stand for."""

    stored: bytes
    checksum: int
    length: int


class MetadataEncoder:
    """Encodes table metadata, remembering what it has compressed."""

    def __init__(self) -> None:
        self._pieces: LruCache[Hashable, _Piece] = LruCache(_CACHED_PIECES)

    def encode(self, metadata: TableMetadata) -> tuple[bytes, str]:
        """Return the content of a metadata file, and how its name ends."""
        if not compresses(metadata.properties, len(metadata.snapshots)):
            return metadata.to_json(), PLAIN
        uuid, rest = metadata.table_uuid, orjson.dumps(metadata.without_history())
        pieces = (
            _compressed(b'{"snapshots":['),
            self._list(uuid, metadata.snapshots, lambda found: found.snapshot_id, IcebergSnapshot.to_dict),
            _compressed(b'],"snapshot-log":['),
            self._list(uuid, metadata.snapshot_log, lambda found: (found["snapshot-id"], found["timestamp-ms"]), dict),
            _compressed(b"]," + rest[1:]),
        )
        whole = _joined(pieces)
        return b"".join((_HEADER, whole.stored, _LAST_BLOCK, struct.pack("<II", whole.checksum, whole.length))), _GZIP

    def _list(
        self, uuid: str, entries: Sequence[T], identify: Callable[[T], Hashable], as_dict: Callable[[T], Any]
    ) -> _Piece:
        """Return the entries of a list, which grows at its end only: what is compressed before it stays."""
        stored: list[bytes] = []
        checksum = length = 0
        last = max(len(entries) - 1, 0) // _PIECE * _PIECE
        for begin in range(0, last, _PIECE):
            part = entries[begin : begin + _PIECE]
            key = (uuid, identify(part[0]), identify(part[-1]), checksum)
            piece = self._pieces.get(key, lambda: _compressed(_encoded(part, as_dict) + b",", checksum))  # noqa: B023
            stored.append(piece.stored)
            checksum, length = piece.checksum, length + piece.length
        end = _compressed(_encoded(entries[last:], as_dict), checksum)
        return _Piece(b"".join((*stored, end.stored)), end.checksum, length + end.length)


def _encoded(entries: Sequence[T], as_dict: Callable[[T], Any]) -> bytes:
    return orjson.dumps([as_dict(entry) for entry in entries])[1:-1]


def _compressed(data: bytes, before: int = 0) -> _Piece:
    """Compress bytes so that others can follow. The checksum goes on from that of what lies before them."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return _Piece(compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH), zlib.crc32(data, before), len(data))


def _joined(pieces: Iterable[_Piece]) -> _Piece:
    stored: list[bytes] = []
    checksum = length = 0
    for piece in pieces:
        stored.append(piece.stored)
        checksum, length = combined(checksum, piece.checksum, piece.length), length + piece.length
    return _Piece(b"".join(stored), checksum, length % 2**32)


# --- checksums ------------------------------------------------------------------------------------------------------


def combined(first: int, second: int, length: int) -> int:
    """Return the CRC-32 of two pieces one behind the other.

    Args:
        first, second: Theirs.
        length: Bytes of the second one.
    """
    # In polynomials over GF(2): the first piece is shifted by the length of the second, x ** (8 * length).
    shift, power = _ONE, 3
    while length:
        if length & 1:
            shift = _product(_POWERS[power % 32], shift)
        length >>= 1
        power += 1
    return _product(shift, first) ^ second


def _product(first: int, second: int) -> int:
    """Multiply polynomials, bits reversed, modulo that of CRC-32."""
    result = 0
    for bit in range(31, -1, -1):
        if first >> bit & 1:
            result ^= second
        second = second >> 1 ^ (_POLYNOMIAL if second & 1 else 0)
    return result


def _powers() -> tuple[int, ...]:
    """Return x ** 1, x ** 2, x ** 4 and so on, each the square of the one before."""
    found = [_ONE >> 1]
    while len(found) < 32:
        found.append(_product(found[-1], found[-1]))
    return tuple(found)


_POWERS = _powers()
