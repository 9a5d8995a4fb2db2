"""PyIceberg on views: what it makes, we read, and the other way round."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchViewError, TableAlreadyExistsError, ViewAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType
from pyiceberg.view.metadata import SQLViewRepresentation, ViewVersion

from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.interop.rest_engines import Sail
from tests.tokens import administrators_token

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])


def test_pyiceberg_and_we_share_views(tmp_path: Path) -> None:
    with create_lake(tmp_path / "lake") as app, running_server(create_server(app)) as url:
        lake = Lake(LocalBackend(app))
        token = administrators_token(app)
        catalog = RestCatalog("lake", uri=f"{url}/iceberg", token=token)
        lake.create_namespace("sales")
        people = lake.create_dataset("sales.people", SCHEMA, key=["id"])
        people.write([{"id": number, "name": "ab"[number % 2]} for number in range(6)], "append")
        of_b = SQLViewRepresentation(
            type="sql", sql="SELECT `id`, `name` FROM people WHERE name = 'b'", dialect="spark"
        )
        made = catalog.create_view(
            "sales.of_b",
            Schema(NestedField(1, "id", LongType()), NestedField(2, "name", StringType())),
            ViewVersion(
                version_id=1,
                schema_id=0,
                representations=[of_b],
                default_namespace=("sales",),
            ),
            properties={"comment": "those called b"},
        )
        assert lake.sql("SELECT id FROM sales.of_b ORDER BY id").read_all()["id"].to_pylist() == [1, 3, 5]
        with pytest.raises(ViewAlreadyExistsError):
            catalog.create_view("sales.of_b", made.schema(), made.current_version())
        with pytest.raises((ViewAlreadyExistsError, TableAlreadyExistsError)):
            catalog.create_view("sales.people", made.schema(), made.current_version())
        with pytest.raises(TableAlreadyExistsError):
            catalog.create_table("sales.of_b", made.schema())
        app.view_definitions.define("sales.high", "SELECT max(id) AS id FROM sales.of_b", description="last of all")
        assert sorted(catalog.list_views("sales")) == [("sales", "high"), ("sales", "of_b")]
        assert catalog.list_tables("sales") == [("sales", "people")]
        high = catalog.load_view("sales.high")
        assert high.schema().find_type("id") == LongType()
        assert high.current_version().representations[0].root.dialect == "duckdb"
        assert high.properties == {"comment": "last of all"}
        assert catalog.view_exists("sales.high")
        place = app.views.view("sales.high").view.metadata_location
        catalog.drop_view("sales.high")
        assert not catalog.view_exists("sales.high")
        with pytest.raises(NoSuchViewError):
            catalog.load_view("sales.high")
        assert catalog.register_view("sales.highest", place).uuid() == high.uuid()
        assert lake.sql("SELECT * FROM sales.highest").read_all().to_pylist() == [{"id": 5}]


def test_sail_and_we_share_views(tmp_path: Path) -> None:
    with create_lake(tmp_path / "lake") as app, running_server(create_server(app)) as url:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales")
        people = lake.create_dataset("sales.people", SCHEMA, key=["id"])
        people.write([{"id": number, "name": "ab"[number % 2]} for number in range(6)], "append")
        sail = Sail(url, app.access.create_token("views").secret)

        def found(sql: str) -> list[dict[str, object]]:
            return list(sail._session.sql(sql).toArrow().to_pylist())

        of_b = "SELECT id, name FROM {}.people WHERE name = 'b'"
        view = lake.create_view("sales.of_b", of_b.format("sales"), dialects={"spark": of_b.format("lake.sales")})
        expected = [{"id": number, "name": "b"} for number in (1, 3, 5)]
        assert found("SELECT * FROM lake.sales.of_b ORDER BY id") == expected
        assert [one["tableName"] for one in found("SHOW VIEWS IN lake.sales")] == ["of_b"]
        of_a = "SELECT id, concat(name, '!') AS called FROM lake.sales.people WHERE name = 'a'"
        found(f"CREATE VIEW lake.sales.of_a AS {of_a}")
        assert found("SELECT count(*) AS n FROM lake.sales.of_a") == [{"n": 3}]
        ours = lake.sql("SELECT * FROM sales.of_a ORDER BY id").read_all().to_pylist()
        assert ours == [{"id": number, "called": "a!"} for number in (0, 2, 4)]
        with pytest.raises(Exception, match="409"):
            found("CREATE VIEW lake.sales.people AS SELECT 1 AS one")
        found("DROP VIEW lake.sales.of_a")
        assert [one.name for one in lake.views()] == [view.name]
