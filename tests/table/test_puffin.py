"""Puffin files: what is put in comes out, what others compress is read, what is damaged is an error."""

from __future__ import annotations

import struct

import orjson
import pyarrow as pa
import pytest

from cordillera.errors import CorruptDataError
from cordillera.table.puffin import Blob, decode_puffin, encode_puffin

BLOBS = [Blob("a", b"first", (1,), 7, 3, {"ndv": "5"}), Blob("b", b""), Blob("a", b"x" * 10_000, (2, 3), 8, 4)]


def test_blobs_come_back() -> None:
    data, offsets, footer = encode_puffin(BLOBS)
    assert decode_puffin(data, "there") == BLOBS
    assert [data[offset : offset + len(blob.content)] for offset, blob in zip(offsets, BLOBS, strict=True)] == [
        blob.content for blob in BLOBS
    ]
    assert data[-footer:][:4] == data[:4] == data[-4:]


@pytest.mark.parametrize(("codec", "expected"), [("zstd", [b"first"]), ("lz4", [])])
def test_blobs_that_others_compressed_are_read_or_left_out(codec: str, expected: list[bytes]) -> None:
    stored = pa.Codec("zstd").compress(b"first", asbytes=True)
    entry = {**BLOBS[0].described(), "offset": 4, "length": len(stored), "compression-codec": codec}
    payload = orjson.dumps({"blobs": [entry]})
    data = b"PFA1" + stored + b"PFA1" + payload + struct.pack("<I", len(payload)) + bytes(4) + b"PFA1"
    assert [blob.content for blob in decode_puffin(data, "there")] == expected


@pytest.mark.parametrize("cut", [0, 3, 12, 100])
def test_what_was_cut_short_is_corrupt(cut: int) -> None:
    data, _, _ = encode_puffin(BLOBS)
    with pytest.raises(CorruptDataError, match="there"):
        decode_puffin(data[:cut], "there")
    with pytest.raises(CorruptDataError, match="there"):
        decode_puffin(data[: len(data) - cut - 1], "there")
