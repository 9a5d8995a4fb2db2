"""Entries of the Glue Data Catalog point at the lake's tables: on an emulator, and on one of this file in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampNanoType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)
from tests.servers_glue import REGION, GlueEmulator

from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.adapters.synchronizers.glue import GlueSynchronizer
from cordillera.errors import (
    InvalidConfigurationError,
    InvalidNameError,
    InvalidSchemaError,
    TargetUnreachableError,
)
from cordillera.ports.pointing import PointingTarget
from cordillera.testing.pointing_suite import COLUMNS, FOREIGN, OURS, PLACE, THEIRS, PointingSuite, location, pointer


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def database(glue_emulator: GlueEmulator) -> str:
    return glue_emulator.new_database()


@pytest.fixture
def glue(glue_emulator: GlueEmulator, database: str) -> GlueSynchronizer:
    return GlueSynchronizer(database, region=REGION, endpoint=glue_emulator.endpoint)


def columns(entry: dict[str, Any]) -> dict[str, str]:
    return {column["Name"]: column["Type"] for column in entry["StorageDescriptor"]["Columns"]}


class TestGlueSynchronizer(PointingSuite):
    @pytest.fixture
    def target(self, glue: GlueSynchronizer) -> GlueSynchronizer:
        return glue

    @pytest.fixture
    def elsewhere(self, glue_emulator: GlueEmulator, database: str) -> Callable[[str, str], None]:
        return lambda name, place: glue_emulator.point(database, name, place)


# --- on the emulator ------------------------------------------------------------------------------------------------


def test_an_entry_is_what_icebergs_own_glue_catalog_writes(
    glue: GlueSynchronizer, glue_emulator: GlueEmulator, database: str
) -> None:
    assert glue.point(pointer(1, description="What was ordered."))
    entry = glue_emulator.table(database, "orders")
    assert entry["TableType"] == "EXTERNAL_TABLE"
    assert entry["Description"] == "What was ordered."
    assert entry["Parameters"]["table_type"] == "ICEBERG"
    assert entry["Parameters"]["metadata_location"] == location(1)
    assert "previous_metadata_location" not in entry["Parameters"]
    assert entry["StorageDescriptor"]["Location"] == PLACE
    assert not entry.get("PartitionKeys")
    ids = {"iceberg.field.id": "2", "iceberg.field.optional": "true", "iceberg.field.current": "true"}
    named = {"Name": "name", "Type": "string", "Comment": "who it is", "Parameters": ids}
    assert entry["StorageDescriptor"]["Columns"][1] == named

    assert glue.point(pointer(2))
    entry = glue_emulator.table(database, "orders")
    assert entry["Parameters"]["metadata_location"] == location(2)
    assert entry["Parameters"]["previous_metadata_location"] == location(1)
    assert glue.points_at(OURS, "orders") == location(2)
    assert glue.points_at(THEIRS, "orders") is None
    assert glue.differences(pointer(2)) == ()


def test_every_type_has_the_name_that_hive_has_for_it(
    glue: GlueSynchronizer, glue_emulator: GlueEmulator, database: str
) -> None:
    inner = StructType(NestedField(31, "a", IntegerType(), False), NestedField(32, "b", UUIDType(), False))
    types = {
        "boolean": BooleanType(),
        "int": IntegerType(),
        "bigint": LongType(),
        "float": FloatType(),
        "double": DoubleType(),
        "decimal(10,2)": DecimalType(10, 2),
        "date": DateType(),
        "timestamp": TimestampType(),
        "array<timestamp>": ListType(33, TimestamptzType()),
        "map<string,timestamp>": MapType(34, StringType(), 35, TimestampNanoType()),
        "struct<a:int,b:string>": inner,
        "map<string,array<string>>": MapType(36, TimeType(), 37, ListType(38, StringType())),
        "binary": BinaryType(),
        "array<binary>": ListType(39, FixedType(4)),
    }
    fields = [NestedField(number, f"c{number}", kind, False) for number, kind in enumerate(types.values(), 1)]
    glue.point(pointer(1, Schema(*fields)))
    assert list(columns(glue_emulator.table(database, "orders")).values()) == list(types)


def test_columns_that_are_gone_are_told_behind_those_there_are(
    glue: GlueSynchronizer, glue_emulator: GlueEmulator, database: str
) -> None:
    second = Schema(NestedField(1, "id", LongType(), True), NestedField(3, "total", DoubleType(), False))
    glue.point(pointer(1, COLUMNS, second))
    found = glue_emulator.table(database, "orders")["StorageDescriptor"]["Columns"]
    current = [(column["Name"], column["Parameters"]["iceberg.field.current"]) for column in found]
    assert current == [("id", "true"), ("total", "true"), ("name", "false")]


def test_whoever_is_overtaken_looks_again(glue: GlueSynchronizer, glue_emulator: GlueEmulator, database: str) -> None:
    """The emulator refuses a VersionId that is not the current one, as AWS does."""

    class Overtaken(GlueSynchronizer):
        newer: Callable[[], object] | None = None

        def _call(self, operation: str, **parameters: Any) -> Any:
            if operation in ("update_table", "create_table") and self.newer is not None:
                overtake, self.newer = self.newer, None
                overtake()
            return super()._call(operation, **parameters)

    slow = Overtaken(database, region=REGION, endpoint=glue_emulator.endpoint)
    slow.newer = lambda: glue.point(pointer(5))
    assert not slow.point(pointer(4))  # both make the entry
    assert glue.points_at(OURS, "orders") == location(5)
    slow.newer = lambda: glue.point(pointer(7))
    assert not slow.point(pointer(6))  # both change it
    assert glue.points_at(OURS, "orders") == location(7)
    slow.newer = lambda: glue.point(pointer(8))
    assert slow.point(pointer(9))
    assert glue.points_at(OURS, "orders") == location(9)
    slow.newer = lambda: glue.remove(OURS, "orders")
    assert slow.point(pointer(10))
    assert glue.points_at(OURS, "orders") == location(10)


def test_repairing_an_entry_leaves_what_others_noted_in_it(
    glue: GlueSynchronizer, glue_emulator: GlueEmulator, database: str
) -> None:
    glue.point(pointer(1))
    glue_emulator.point(database, "orders", FOREIGN, crawled="yes")
    assert glue.point(pointer(1), repair=True)
    parameters = glue_emulator.table(database, "orders")["Parameters"]
    assert (parameters["metadata_location"], parameters["crawled"]) == (location(1), "yes")


def test_columns_and_descriptions_that_others_have_changed_are_put_right_by_the_next_delivery(
    glue: GlueSynchronizer, glue_emulator: GlueEmulator, database: str
) -> None:
    glue.point(pointer(1, description="Orders."))
    entry = glue_emulator.table(database, "orders")
    storage = {
        **entry["StorageDescriptor"],
        "Columns": [{"Name": "id", "Type": "string"}, {"Name": "x", "Type": "int"}],
    }
    kept = {"Name": "orders", "Parameters": entry["Parameters"], "Description": "?", "StorageDescriptor": storage}
    glue_emulator.client.update_table(DatabaseName=database, TableInput=kept)
    told = glue.differences(pointer(1))
    assert told == (
        "it lacks the columns name",
        "it has no business with the columns x",
        "it describes otherwise the columns id",
    )
    assert glue.point(pointer(1, description="Orders."))
    assert glue.differences(pointer(1)) == ()
    assert glue_emulator.table(database, "orders")["Description"] == "Orders."


def test_a_check_finds_the_database_or_says_how_to_make_it(glue: GlueSynchronizer, glue_emulator: GlueEmulator) -> None:
    glue.check()
    elsewhere = GlueSynchronizer("nowhere", region=REGION, endpoint=glue_emulator.endpoint)
    for attempt in (elsewhere.check, lambda: elsewhere.point(pointer(1))):
        with pytest.raises(InvalidConfigurationError, match="no database nowhere") as caught:
            attempt()
        assert "aws glue create-database" in caught.value.hint


def test_a_catalog_that_cannot_be_reached_is_tried_again_later() -> None:
    nobody = GlueSynchronizer("lake", region=REGION, endpoint="http://127.0.0.1:9")
    with pytest.raises(TargetUnreachableError, match="lake cannot be reached"):
        nobody.check()


# --- rules ----------------------------------------------------------------------------------------------------------


def test_names_that_athena_does_not_take_are_refused() -> None:
    with pytest.raises(InvalidNameError, match="cannot be called"):
        GlueSynchronizer("lake").check_pointable("Orders", PLACE, COLUMNS)
    with pytest.raises(InvalidSchemaError, match="cannot be called"):
        GlueSynchronizer("lake").check_pointable("orders", PLACE, Schema(NestedField(1, "a\nb", LongType(), True)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "'database' is missing"),
        ({"database": "Lake"}, "cannot be called 'Lake'"),
        ({"database": "lake", "password": "x"}, "'password' is unknown"),
        ({"database": "lake", "catalog_id": "12"}, "no catalog_id"),
        ({"database": "lake", "endpoint": "http://glue.example.com"}, "unencrypted"),
        ({"database": "lake", "endpoint": "glue.example.com"}, "no address"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=told):
        build_synchronizer("glue", settings)


def test_a_glue_target_is_built_without_connecting() -> None:
    assert isinstance(build_synchronizer("glue", {"database": "lake", "residency": "eu"}), PointingTarget)


# --- in memory ------------------------------------------------------------------------------------------------------


class InMemory(GlueSynchronizer):
    """Keeps its entries here, and lets others come in between."""

    def __init__(self, entries: dict[str, dict[str, Any]], between: Iterator[Callable[[], object]]) -> None:
        super().__init__("lake")
        self.entries, self.between, self.skipped = entries, between, []

    def _call(self, operation: str, **parameters: Any) -> Any:
        if operation == "get_table":
            if parameters["Name"] not in self.entries:
                raise refusal("EntityNotFoundException")
            return {"Table": dict(self.entries[parameters["Name"]])}
        next(self.between, lambda: None)()
        wanted = parameters["TableInput"]
        there = self.entries.get(wanted["Name"])
        if operation == "create_table" and there is not None:
            raise refusal("AlreadyExistsException")
        if operation == "update_table":
            if there is None:
                raise refusal("EntityNotFoundException")
            if there["VersionId"] != parameters["VersionId"]:
                raise refusal("ConcurrentModificationException")
            self.skipped.append(parameters["SkipArchive"])
        version = str(int(there["VersionId"]) + 1) if there else "0"
        self.entries[wanted["Name"]] = {**wanted, "VersionId": version}
        return {}


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Operation")


NUMBERS = st.integers(1, 30)


@given(st.lists(st.tuples(NUMBERS, st.lists(NUMBERS, max_size=3)), min_size=1, max_size=8))
def test_whatever_comes_in_whatever_order_the_latest_file_stays(deliveries: list[tuple[int, list[int]]]) -> None:
    """Each delivery can be overtaken by others before it changes anything; some are repeated."""
    entries: dict[str, dict[str, Any]] = {}
    highest = 0
    for number, others in deliveries:
        calm = InMemory(entries, iter(()))

        def overtake(other: int, calm: InMemory = calm) -> Callable[[], object]:
            return lambda: calm.point(pointer(other))

        InMemory(entries, map(overtake, others)).point(pointer(number))
        now = int(entries["orders"]["Parameters"]["cordillera.number"])
        assert now >= max(highest, number)
        assert entries["orders"]["Parameters"]["metadata_location"] == location(now)
        highest = now
    version = entries["orders"]["VersionId"]
    for number, _ in deliveries:
        InMemory(entries, iter(())).point(pointer(number))
    assert entries["orders"]["VersionId"] == version


def test_glue_archives_a_table_version_when_columns_change_and_only_then() -> None:
    target = InMemory({}, iter(()))
    second = Schema(*COLUMNS.fields, NestedField(3, "total", DoubleType(), False))
    target.point(pointer(1))
    target.point(pointer(2))
    target.point(pointer(3, COLUMNS, second))
    target.point(pointer(4, COLUMNS, second))
    assert target.skipped == [True, False, True]


def test_who_is_overtaken_without_end_gives_up_for_now() -> None:
    entries: dict[str, dict[str, Any]] = {}
    InMemory(entries, iter(())).point(pointer(1))
    others = (lambda n=n: InMemory(entries, iter(())).point(pointer(n)) for n in range(2, 60))
    with pytest.raises(TargetUnreachableError, match="again and again"):
        InMemory(entries, others).point(pointer(100))
