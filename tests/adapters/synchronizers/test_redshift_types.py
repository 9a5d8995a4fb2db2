from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from cordillera.adapters.synchronizers.redshift_types import MOST_ROW_BYTES, catalog_type, encode, file_schema, sql_type
from cordillera.errors import TypeMismatchError
from cordillera.ports.synchronizer import TargetColumn
from cordillera.testing.synchronizer_deliveries import all_types, field

LONG = "x" * 65_536


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (pa.string(), LONG, "65,535 bytes in the row id=1"),
        (pa.list_(pa.string()), [LONG], "'odd column'.*65,535 bytes"),
        (pa.struct([field(9, "inner", pa.string())]), {"inner": LONG}, r"'odd column\.inner'.*in the row id=1"),
        (pa.map_(pa.string(), pa.string()), [("k", LONG)], "65,535 bytes"),
        (pa.binary(), bytes(MOST_ROW_BYTES + 1), "4,194,304 bytes in the row id=1"),
        (pa.list_(pa.int64()), list(range(10**6)), "4,194,304 bytes in the row id=1"),
        (pa.string(), "nul\x00", "NUL"),
        (pa.list_(pa.string()), ["nul\x00"], "NUL"),
        (pa.timestamp("ns"), 1, "microsecond"),
        (pa.timestamp("us"), 253402300800000000, "years 1 to 9999"),
        (pa.timestamp("us", "UTC"), -62135596800000001, "years 1 to 9999"),
        (pa.date32(), -719163, "years 1 to 9999"),
    ],
    ids=str,
)
def test_values_that_cannot_be_kept_are_refused_naming_the_column(kind: pa.DataType, value: Any, words: str) -> None:
    batch = pa.record_batch([pa.array([0, 1], pa.int64()), pa.array([None, value], kind)], ["id", "odd column"])
    with pytest.raises(TypeMismatchError, match=words) as caught:
        encode(batch, ["id"])
    assert "odd column" in str(caught.value)


@pytest.mark.parametrize("name", list(all_types()))
def test_values_travel_in_types_that_copy_loads_from_parquet(name: str) -> None:
    values = all_types()[name]
    (form,) = file_schema([TargetColumn(1, name, values.type)]).types
    loadable = {pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.date32(), pa.string(), pa.binary()}
    assert form in loadable or pa.types.is_decimal(form) or form == pa.timestamp("us", "UTC")
    (encoded,) = encode(pa.record_batch([values], [name]), []).columns
    assert encoded.cast(form).null_count == values.null_count


@pytest.mark.parametrize(
    ("name", "modifier", "kind"),
    [
        ("varchar", 65_539, pa.string()),
        ("varchar", 40, pa.uuid()),
        ("numeric", (38 << 16 | 10) + 4, pa.decimal128(38, 10)),
        ("int8", -1, pa.int64()),
        ("timestamptz", -1, pa.timestamp("us", "UTC")),
        ("super", -1, pa.list_(pa.int32())),
        ("varbyte", MOST_ROW_BYTES + 4, pa.binary(16)),
    ],
)
def test_types_are_known_by_their_names_in_the_catalog(name: str, modifier: int, kind: pa.DataType) -> None:
    assert catalog_type(name, modifier) == sql_type(kind)
