"""Spark and Cordillera on one lake, beyond what every engine does: all its writes, evolution, time travel, branches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from cordillera.app import Application, create_lake
from cordillera.client import Dataset, Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.spec.schema_evolution import AddColumn, RenameColumn, WidenColumn
from cordillera.table.data_writer import LAST_UPDATED, ROW_ID
from cordillera.table.reader import ReadOptions
from cordillera.testing.running_server import running_server
from cordillera.worker import Worker
from tests.interop.engines import read_with_duckdb, spark
from tests.interop.spark_engine import OnSpark
from tests.tokens import administrators_token

pytestmark = pytest.mark.spark

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("day", pa.date32()),
        pa.field("note", pa.string()),
        pa.field("price", pa.decimal128(12, 2)),
    ]
)
ROWS = "id, date_add(DATE'2013-01-01', CAST(id AS INT)) AS day, {note} AS note, CAST(id AS DECIMAL(12, 2)) / 4 AS price"
WRITES = [
    "INSERT INTO {t} SELECT " + ROWS.format(note="'first'") + " FROM range(60)",
    "DELETE FROM {t} WHERE id IN (3, 40)",
    "UPDATE {t} SET note = 'second', price = price + 1 WHERE id BETWEEN 10 AND 20",
    "MERGE INTO {t} t USING (SELECT id, 'third' AS note FROM range(55, 65)) s ON t.id = s.id "
    "WHEN MATCHED AND s.id = 56 THEN DELETE WHEN MATCHED THEN UPDATE SET note = s.note "
    "WHEN NOT MATCHED AND s.id < 64 THEN INSERT (id, note) VALUES (s.id, s.note) "
    "WHEN NOT MATCHED BY SOURCE AND t.id = 0 THEN DELETE",
    "DELETE FROM {t} WHERE day >= DATE'2013-02-01' AND day < DATE'2013-03-01'",  # a whole partition
    "ALTER TABLE {t} ADD COLUMNS (place STRUCT<town: STRING, code: INT>, marks ARRAY<BIGINT>)",
    "ALTER TABLE {t} RENAME COLUMN note TO remark",
    "ALTER TABLE {t} ALTER COLUMN price TYPE DECIMAL(20, 2)",
    "ALTER TABLE {t} ADD COLUMN code INT",
    "ALTER TABLE {t} ALTER COLUMN code TYPE BIGINT",
    "INSERT INTO {t} VALUES "
    "(70, DATE'2013-06-01', 'fourth', 1.5, named_struct('town', 'Oslo', 'code', 1), array(1, NULL), 7)",
    "ALTER TABLE {t} REPLACE PARTITION FIELD months(day) WITH bucket(4, id)",
    "UPDATE {t} SET remark = 'fifth', place = named_struct('town', 'Rome', 'code', 2) WHERE id IN (5, 12, 70)",
    "DELETE FROM {t} WHERE id IN (6, 61)",
    "ALTER TABLE {t} DROP COLUMN code",
    "INSERT OVERWRITE {t} SELECT 71, DATE'2013-07-01', 'sixth', 2.5, NULL, array(3)",
]
MODES = [(3, "merge-on-read"), (3, "copy-on-write"), (2, "merge-on-read"), (2, "copy-on-write")]


@dataclass(frozen=True)
class Served:
    """A lake with local files, and Spark on it."""

    app: Application
    lake: Lake
    engine: OnSpark

    def sql(self, statement: str, name: str) -> None:
        spark().run(statement.replace("{t}", f"{self.engine.catalog}.{name}"))

    def rows(self, name: str, query: str = "SELECT * FROM {t}") -> pa.Table:
        return spark().rows(query.replace("{t}", f"{self.engine.catalog}.{name}"))

    def call(self, procedure: str, name: str, *arguments: str) -> None:
        given = ", ".join([f"table => '{name}'", *arguments])
        spark().run(f"CALL {self.engine.catalog}.system.{procedure}({given})")

    def agree(self, name: str) -> list[dict[str, Any]]:
        """Return the rows, as we, Spark and DuckDB have them."""
        dataset = self.lake.dataset(name)
        stored = by_id(dataset.scan().to_arrow())
        assert by_id(self.rows(name)) == stored
        assert by_id(read_with_duckdb(dataset.details().version.metadata_location)) == stored
        assert dataset.details().version.rows == len(stored)
        return stored


def by_id(rows: pa.Table) -> list[dict[str, Any]]:
    return sorted(rows.to_pylist(), key=lambda row: row["id"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with create_lake(tmp_path_factory.mktemp("spark") / "lake") as app, running_server(create_server(app)) as url:
        yield Served(app, Lake(LocalBackend(app)), OnSpark(url, administrators_token(app)))


@pytest.fixture
def name(served: Served) -> str:
    return f"{served.lake.create_namespace(f't{uuid4().hex[:12]}').name}.people"


def lineage_of(served: Served, name: str) -> pa.Table:
    """Return the rows as we read them, with their ids and the sequence numbers of their last changes."""
    metadata = served.app.tables.load(served.app.catalog.dataset(name).version)
    io = served.app.tables.io
    wanted = ReadOptions(metadata.schema, (ROW_ID, LAST_UPDATED))
    return io.reader.stream(io.files.live(metadata.current_snapshot), wanted).read_all()


def create(served: Served, name: str, version: int, mode: str) -> Dataset:
    """Create a dataset with a key, to which Spark is told to write in a mode."""
    dataset = served.lake.create_dataset(
        name, SCHEMA, key=["id"], partitioning=["month(day)"], format_version=version, write_mode=mode
    )
    modes = ", ".join(f"'write.{operation}.mode' = '{mode}'" for operation in ("delete", "update", "merge"))
    served.sql(f"ALTER TABLE {{t}} SET TBLPROPERTIES ({modes})", name)
    return dataset


@pytest.mark.parametrize(("version", "mode"), MODES)
def test_whatever_spark_does_we_and_others_read_and_subscribers_get(
    served: Served, name: str, version: int, mode: str, tmp_path: Path
) -> None:
    dataset = create(served, name, version, mode)
    target = f"copy_{name.partition('.')[0]}"
    served.lake.create_target(target, "duckdb", path=str(tmp_path / "copy.duckdb"))
    subscription = dataset.subscribe(target)
    then: dict[int, list[dict[str, Any]]] = {}
    for number, statement in enumerate(WRITES):
        served.sql(statement, name)
        rows = served.agree(name)
        if snapshots := dataset.snapshots(limit=1):
            then.setdefault(snapshots[0].snapshot_id, rows)  # later changes of the schema alone make none
        if number % 4 == 3:
            Worker(served.app).run_until_idle()
            assert served.lake.backend.verify_subscription(subscription.id).equal
    assert [row["id"] for row in served.agree(name)] == [71]
    for snapshot_id, rows in then.items():
        assert by_id(served.rows(name, f"SELECT * FROM {{t}} VERSION AS OF {snapshot_id}")) == rows
    Worker(served.app).run_until_idle()
    assert served.lake.backend.verify_subscription(subscription.id).equal


@pytest.mark.parametrize(("version", "mode"), MODES)
def test_spark_and_we_take_turns_on_one_table(served: Served, name: str, version: int, mode: str) -> None:
    dataset = create(served, name, version, mode)
    served.sql(WRITES[0], name)
    served.sql(WRITES[1], name)
    ours = [{"id": number, "day": None, "note": "ours", "price": None} for number in (4, 100)]
    dataset.write(ours, "upsert")
    served.agree(name)
    served.sql(WRITES[2], name)
    dataset.delete_where("id BETWEEN 14 AND 30")
    served.agree(name)
    served.sql(WRITES[3], name)
    served.agree(name)
    dataset.compact(rewrite_all=True)
    before = served.agree(name)
    served.sql("DELETE FROM {t} WHERE id = 100", name)
    assert served.agree(name) == [row for row in before if row["id"] != 100]


@pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
def test_rows_keep_their_ids_through_what_spark_does(served: Served, name: str, mode: str) -> None:
    dataset = create(served, name, 3, mode)
    for statement in WRITES[:4]:
        served.sql(statement, name)
    dataset.write([{"id": 7, "note": "ours"}], "partial_update")
    served.sql("UPDATE {t} SET note = 'again' WHERE id = 8", name)
    lineage = ["id", "_row_id", "_last_updated_sequence_number"]
    found = by_id(served.rows(name, f"SELECT {', '.join(lineage)} FROM {{t}}"))
    assert by_id(lineage_of(served, name).select(lineage)) == found
    assert len({row["_row_id"] for row in found}) == len(found)
    if mode == "copy-on-write":  # where it deletes and inserts, an updated row is another one to Spark
        first = {row["id"]: row["_row_id"] for row in found}
        assert first[8] == first[9] - 1


@pytest.mark.parametrize("version", [2, 3])
def test_spark_travels_in_time(served: Served, name: str, version: int) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string()), ("age", pa.int32())])
    served.lake.create_dataset(name, schema, key=["id"], format_version=version, partitioning=["bucket(2, id)"])
    dataset = served.lake.dataset(name)
    dataset.write([{"id": number, "name": "first", "age": number} for number in range(20)], "append")
    dataset.create_tag("began")
    dataset.delete_where("id < 5")
    dataset.evolve(RenameColumn("name", "label"), WidenColumn("age", pa.int64()), AddColumn("town", pa.string()))
    dataset.partition_by("truncate(10, id)")
    dataset.write([{"id": 6, "label": "second", "age": 2**40, "town": "Oslo"}], "upsert")
    dataset.create_branch("trial")
    dataset.write([{"id": 7, "label": "tried", "age": 1, "town": None}], "upsert", branch="trial")
    listed = served.rows(name, "SELECT snapshot_id, made_current_at FROM {t}.history").to_pylist()
    moments = {row["snapshot_id"]: row["made_current_at"] for row in listed}
    for snapshot in dataset.snapshots(limit=10):
        theirs = by_id(served.rows(name, f"SELECT * FROM {{t}} VERSION AS OF {snapshot.snapshot_id}"))
        assert theirs == by_id(dataset.scan(as_of=snapshot.sequence_number).to_arrow())
        moment = moments[snapshot.snapshot_id].isoformat(sep=" ", timespec="milliseconds")
        assert by_id(served.rows(name, f"SELECT * FROM {{t}} TIMESTAMP AS OF '{moment}'")) == theirs
    for ref in ("began", "trial"):
        assert by_id(served.rows(name, f"SELECT * FROM {{t}} VERSION AS OF '{ref}'"))
    assert by_id(served.rows(name, "SELECT * FROM {t} VERSION AS OF 'trial'"))[2]["label"] == "tried"
    assert served.agree(name)[1] == {"id": 6, "label": "second", "age": 2**40, "town": "Oslo"}


@pytest.mark.parametrize("version", [2, 3])
def test_spark_maintains_a_table_and_no_row_changes(served: Served, name: str, version: int) -> None:
    dataset = create(served, name, version, "merge-on-read")
    for statement in WRITES[:4]:
        served.sql(statement, name)
    before = served.agree(name)
    for procedure, *arguments in (
        ("rewrite_data_files", "options => map('rewrite-all', 'true')"),
        ("rewrite_position_delete_files", "options => map('rewrite-all', 'true')")
        if version == 2
        else ("rewrite_manifests",),
        ("rewrite_manifests",),
    ):
        served.call(procedure, name, *arguments)
        assert served.agree(name) == before
    dataset.write([{"id": 1, "note": "ours"}], "partial_update")
    assert served.agree(name)[0]["note"] == "ours"


@pytest.mark.parametrize("version", [2, 3])
def test_clean_up_knows_the_files_that_spark_wrote(served: Served, name: str, version: int) -> None:
    """Spark writes the URIs of local files as ``file:/…``: its files must neither look like orphans nor expire."""
    dataset = create(served, name, version, "merge-on-read")
    for statement in WRITES[:4]:
        served.sql(statement, name)
    dataset.write([{"id": 1, "note": "ours"}], "partial_update")
    before = served.agree(name)
    served.lake.remove_orphans(timedelta(0), dry_run=False, force=True)
    assert served.agree(name) == before
    dataset.expire_snapshots(older_than=timedelta(0), keep_last=1)
    assert served.rows(name, "SELECT * FROM {t}.snapshots").num_rows == 1
    assert served.agree(name) == before
    dataset.compact(rewrite_all=True)
    dataset.expire_snapshots(older_than=timedelta(0), keep_last=1)
    assert served.agree(name) == before


def test_spark_writes_on_a_branch_and_we_publish_it(served: Served, name: str) -> None:
    dataset = create(served, name, 3, "merge-on-read")
    served.sql(WRITES[0], name)
    before = served.agree(name)
    served.sql("ALTER TABLE {t} CREATE BRANCH audit", name)
    served.sql("INSERT INTO {t}.branch_audit VALUES (200, NULL, 'audited', 1.0)", name)
    assert served.agree(name) == before
    dataset.publish("audit")
    assert [row["id"] for row in served.agree(name)] == [*range(60), 200]


def test_what_spark_may_not_do_is_told(served: Served, name: str) -> None:
    create(served, name, 3, "merge-on-read")
    served.sql(WRITES[0], name)
    before = served.agree(name)
    with pytest.raises(Exception, match="already holds: id=4"):
        served.sql("INSERT INTO {t} VALUES (4, NULL, 'again', 1.0)", name)
    with pytest.raises(Exception, match=r"identifier|key"):
        served.sql("ALTER TABLE {t} DROP COLUMN id", name)
    assert served.agree(name) == before
