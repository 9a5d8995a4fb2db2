"""Deletion vectors: which rows of a data file are gone (specification, "Deletion Vectors" and the Puffin
specification).

A vector is a 64-bit Roaring bitmap of row positions, stored as a blob of a Puffin file. One Puffin file holds the
vectors of one commit.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyroaring import BitMap64

from cordillera.errors import CorruptDataError
from cordillera.table.puffin import Blob, encode_puffin

BLOB_TYPE = "deletion-vector-v1"
_VECTOR_MAGIC = b"\xd1\xd3\x39\x64"


@dataclass(frozen=True, slots=True)
class VectorLocation:
    """Where a vector's blob lies inside its Puffin file, and how many positions it marks."""

    offset: int
    length: int
    cardinality: int


def encode_vector(positions: BitMap64) -> bytes:
    """Encode a vector as a ``deletion-vector-v1`` blob."""
    body = _VECTOR_MAGIC + positions.serialize()
    return struct.pack(">I", len(body)) + body + struct.pack(">I", zlib.crc32(body))


def decode_vector(blob: bytes, where: str) -> BitMap64:
    """Decode a ``deletion-vector-v1`` blob.

    Raises:
        CorruptDataError: Naming ``where``, if a length, the magic number or the checksum does not fit.
    """
    if len(blob) < 12 or blob[4:8] != _VECTOR_MAGIC:
        raise CorruptDataError(f"The deletion vector at {where} does not begin as one.")
    (length,) = struct.unpack(">I", blob[:4])
    body, checksum = blob[4 : 4 + length], blob[4 + length : 8 + length]
    if len(checksum) != 4 or zlib.crc32(body) != struct.unpack(">I", checksum)[0]:
        raise CorruptDataError(f"The deletion vector at {where} is damaged: its checksum does not match.")
    try:
        return BitMap64.deserialize(body[4:])
    except (ValueError, RuntimeError, MemoryError) as error:
        raise CorruptDataError(f"The deletion vector at {where} cannot be read: {error}.") from error


def encode_vectors(vectors: Mapping[str, BitMap64]) -> tuple[bytes, dict[str, VectorLocation]]:
    """Encode vectors, by the path of the data file each belongs to, as one Puffin file.

    Returns:
        The file and the location of each data file's blob.
    """
    blobs = [
        Blob(
            BLOB_TYPE,
            encode_vector(positions),
            properties={"referenced-data-file": path, "cardinality": str(len(positions))},
        )
        for path, positions in vectors.items()
    ]
    data, offsets, _ = encode_puffin(blobs)
    return data, {
        path: VectorLocation(offset, len(blob.content), len(positions))
        for (path, positions), blob, offset in zip(vectors.items(), blobs, offsets, strict=True)
    }


def positions_of(deleted: BitMap64) -> npt.NDArray[np.int64]:
    """Return the positions of a vector, ascending."""
    return np.asarray(deleted.to_array(), dtype=np.int64)


def bitmap_of(positions: pa.Array | pa.ChunkedArray) -> BitMap64:
    """Return the bitmap of an Arrow column of row positions, in any order."""
    ordered = np.sort(np.asarray(positions, dtype=np.uint64))  # positions in order go in twice as fast
    return BitMap64(array("Q", ordered.tobytes()))  # and another three times as fast as of a NumPy array
