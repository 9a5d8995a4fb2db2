"""What engines add gets ids that are free, is added once, and is what -1 stands for."""

from __future__ import annotations

import pytest
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import IntegerType, NestedField, StringType

from cordillera.errors import InvalidInputError
from cordillera.spec.commit import AddPartitionSpec, AddSchema, SetCurrentSchema, SetDefaultSpec, SetProperties
from cordillera.spec.last_added import settled
from cordillera.spec.metadata_updates import AddSortOrder, SetDefaultSortOrder
from cordillera.spec.table_metadata import TableMetadata

ID = NestedField(1, "id", IntegerType(), required=True)
TABLE = TableMetadata(
    format_version=2,
    table_uuid="u",
    location="file:///t",
    last_sequence_number=0,
    last_updated_ms=0,
    last_column_id=1,
    schemas=(Schema(ID, schema_id=0, identifier_field_ids=[1]),),
    current_schema_id=0,
    partition_specs=(UNPARTITIONED_PARTITION_SPEC,),
    default_spec_id=0,
    last_partition_id=999,
)
WIDER = (ID, NestedField(2, "name", StringType()))
BY_ID = PartitionField(1, 1000, IdentityTransform(), "id")


def test_a_new_one_gets_a_free_id() -> None:
    found = settled([AddSchema(Schema(*WIDER, schema_id=0, identifier_field_ids=[1])), SetCurrentSchema()], TABLE)
    assert found == [AddSchema(Schema(*WIDER, schema_id=1, identifier_field_ids=[1])), SetCurrentSchema(1)]
    spec = PartitionSpec(BY_ID, spec_id=7)
    assert settled([AddPartitionSpec(spec), SetDefaultSpec()], TABLE) == [AddPartitionSpec(spec), SetDefaultSpec(7)]
    order = {"order-id": 0, "fields": [{"source-id": 1}]}
    assert settled([AddSortOrder(order), SetDefaultSortOrder()], TABLE) == [
        AddSortOrder({**order, "order-id": 1}),
        SetDefaultSortOrder(1),
    ]


def test_one_that_is_there_is_meant() -> None:
    same = Schema(ID, schema_id=5, identifier_field_ids=[1])
    assert settled([AddSchema(same), SetCurrentSchema()], TABLE) == [SetCurrentSchema(0)]
    unpartitioned = AddPartitionSpec(PartitionSpec(spec_id=9))
    assert settled([unpartitioned, SetDefaultSpec()], TABLE) == [SetDefaultSpec(0)]
    twice = AddPartitionSpec(PartitionSpec(BY_ID, spec_id=1))
    assert settled([twice, twice, SetDefaultSpec()], TABLE) == [twice, SetDefaultSpec(1)]


def test_the_key_survives_an_engine_that_loses_it() -> None:
    assert settled([AddSchema(Schema(*WIDER, schema_id=1))], TABLE) == [
        AddSchema(Schema(*WIDER, schema_id=1, identifier_field_ids=[1]))
    ]


def test_minus_one_has_to_stand_for_something() -> None:
    assert settled([SetProperties({"a": "b"}), SetCurrentSchema(3)], TABLE)[1] == SetCurrentSchema(3)
    with pytest.raises(InvalidInputError, match="schema"):
        settled([SetCurrentSchema()], TABLE)
