"""What every target must do that points at the lake's own files, as tests. Needs pytest.

Subclass :class:`PointingSuite` in a test module and provide two fixtures::

    class TestMyTarget(PointingSuite):
        @pytest.fixture
        def target(self):
            return MyTarget("an empty one")

        @pytest.fixture
        def elsewhere(self, target):
            return lambda name, location: ...  # let an entry name another file, as somebody else may
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType

from cordillera.errors import InvalidNameError, InvalidSchemaError, NotAllowedError, TargetDriftError
from cordillera.ports.pointing import Pointer, PointingTarget
from cordillera.ports.synchronizer import Origin
from cordillera.spec.table_metadata import TableMetadata

OURS, THEIRS = UUID(int=1), UUID(int=2)
PLACE = "s3://bucket/sales/orders"
"""Where the table is."""
COLUMNS = Schema(NestedField(1, "id", LongType(), True), NestedField(2, "name", StringType(), False, doc="who\nit is"))
FOREIGN = "s3://bucket/athena/00002.metadata.json"
"""A file that is none of the table's."""


def location(number: int) -> str:
    """Return where a metadata file of the table is."""
    return f"{PLACE}/metadata/{number:05d}-{UUID(int=number)}.metadata.json"


def pointer(number: int, *schemas: Schema, whose: UUID = OURS, name: str = "orders", description: str = "") -> Pointer:
    """Return what is to be pointed at: a state of the table that has had some schemas."""
    had = schemas or (COLUMNS,)
    numbered = tuple(Schema(*schema.fields, schema_id=number) for number, schema in enumerate(had))
    spec = (PartitionSpec(),)
    metadata = TableMetadata(3, str(UUID(int=9)), PLACE, 0, 0, 99, numbered, len(numbered) - 1, spec, 0, 999)
    return Pointer(whose, name, location(number), metadata, number, Origin("lima", "sales.orders"), description)


class PointingSuite:
    """The behaviour of the port of targets that point. Every test needs an empty target of its own."""

    def test_an_entry_follows_the_lakes_files(self, target: PointingTarget) -> None:
        target.check()
        assert target.points_at(OURS, "orders") is None
        assert target.point(pointer(1))
        assert target.points_at(OURS, "orders") == location(1)
        assert target.points_at(THEIRS, "orders") is None
        assert target.point(pointer(2))
        assert target.points_at(OURS, "orders") == location(2)
        assert target.differences(pointer(2)) == ()
        assert location(2) in target.differences(pointer(3))[0]

    def test_a_repeated_delivery_changes_nothing_and_an_earlier_one_does_not_go_back(
        self, target: PointingTarget
    ) -> None:
        assert target.point(pointer(7))
        assert target.point(pointer(9))
        assert not target.point(pointer(9))
        assert not target.point(pointer(7, description="As it was."))
        assert target.points_at(OURS, "orders") == location(9)
        assert not target.point(pointer(9))

    def test_what_a_dataset_is_described_as_is_told(self, target: PointingTarget) -> None:
        assert target.point(pointer(1))
        described = pointer(1, description="What's ordered: \\ and \" too,\nin lines. " + "x" * 3000)
        assert target.point(described)
        assert not target.point(described)

    def test_an_entry_that_others_pointed_elsewhere_is_left_until_it_is_repaired(
        self, target: PointingTarget, elsewhere: Callable[[str, str], None]
    ) -> None:
        target.point(pointer(1))
        elsewhere("orders", FOREIGN)
        with pytest.raises(TargetDriftError, match=r"Somebody else .* the table 'orders' .*athena/00002"):
            target.point(pointer(2))
        assert target.points_at(OURS, "orders") == FOREIGN
        assert FOREIGN in target.differences(pointer(1))[0]
        assert target.point(pointer(1), repair=True)
        assert target.points_at(OURS, "orders") == location(1)
        assert target.point(pointer(2))

    def test_a_table_of_somebody_else_is_left_untouched(self, target: PointingTarget) -> None:
        theirs = f"\ncordillera.subscription={OURS}"  # what people write about it makes it nobody's
        target.point(pointer(1, whose=THEIRS, description=theirs))
        for repair in (False, True):
            with pytest.raises(TargetDriftError, match="did not make"):
                target.point(pointer(2), repair=repair)
        with pytest.raises(TargetDriftError, match="did not make"):
            target.differences(pointer(2))
        target.remove(OURS, "orders")
        assert target.points_at(THEIRS, "orders") == location(1)

    def test_an_entry_is_removed_once_and_again(self, target: PointingTarget) -> None:
        target.point(pointer(1))
        target.remove(OURS, "orders")
        target.remove(OURS, "orders")
        assert target.points_at(OURS, "orders") is None
        with pytest.raises(TargetDriftError, match=r"no .*table 'orders'"):
            target.differences(pointer(1))
        assert target.point(pointer(1))

    @pytest.mark.parametrize("name", ["orders-2", "été", "", "o" * 256, "a.b", "x\n"])
    def test_names_that_readers_would_have_to_quote_are_refused(self, target: PointingTarget, name: str) -> None:
        with pytest.raises(InvalidNameError, match="cannot be called"):
            target.check_pointable(name, PLACE, COLUMNS)

    def test_columns_that_are_one_without_upper_case_are_refused(self, target: PointingTarget) -> None:
        both = Schema(NestedField(1, "Id", LongType(), True), NestedField(2, "id", LongType(), False))
        with pytest.raises(InvalidSchemaError, match="'Id' and 'id' are one"):
            target.check_pointable("orders", PLACE, both)

    def test_files_that_readers_do_not_reach_are_refused(self, target: PointingTarget) -> None:
        with pytest.raises(NotAllowedError):
            target.check_pointable("orders", "file:///data/orders", COLUMNS)
