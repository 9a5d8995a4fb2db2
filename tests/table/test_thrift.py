"""The Thrift codec against footers that Parquet writers write, and against damaged bytes."""

from __future__ import annotations

import io
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.table import thrift
from cordillera.table.parquet_assembly import ParquetSource
from cordillera.table.thrift import ThriftStruct


def footer() -> bytes:
    out = io.BytesIO()
    rows = pa.table({"a": pa.array(range(1000)), "b": [["x"], None] * 500, "c": [{"d": 1.5}] * 1000})
    pq.write_table(rows, out, row_group_size=10, write_page_index=True)
    data = out.getvalue()
    (length,) = struct.unpack("<I", data[-8:-4])
    return data[-8 - length : -8]


def test_a_footer_comes_back_byte_for_byte() -> None:
    data = footer()
    assert thrift.encode(thrift.decode(data)) == data


@given(st.dictionaries(st.integers(1, 200), st.integers(-(2**63), 2**63 - 1)))
def test_integers_come_back(values: dict[int, int]) -> None:
    fields = ThriftStruct()
    for field_id, value in values.items():
        fields.set_i64(field_id, value)
    assert thrift.decode(thrift.encode(fields)) == fields


@given(st.integers(0, 400))
def test_what_breaks_off_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"breaks off|does not occur"):
        thrift.decode(footer()[:length])


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(20), b"PAR1\xff\xff\xff\xffPAR1", b"PAR1" * 3])
def test_what_is_no_parquet_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"does not end|breaks off"):
        ParquetSource(pa.BufferReader(data))
