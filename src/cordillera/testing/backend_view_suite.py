"""What every lake must do, embedded or behind a server, as tests: views. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.client.lake import Lake
from cordillera.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    InvalidInputError,
    InvalidNameError,
    InvalidSqlError,
    NamespaceNotFoundError,
    NotAllowedError,
    NotEmptyError,
    ViewNotFoundError,
)
from cordillera.spec.lineage import Node, NodeKind
from cordillera.spec.schema_evolution import AddColumn
from cordillera.testing.backend_suite import ORDERS, LakeSuite, make_orders, orders


class ViewSuite(LakeSuite):
    """Queries that have names."""

    @pytest.fixture
    def lake(self, backend: LakeBackend, dataset: str) -> Lake:
        """Return the lake, with orders 1 to 4."""
        backend.write(dataset, orders(1, 2, note="a"), "append")
        backend.write(dataset, orders(3, 4, note="b"), "append")
        return Lake(backend)

    def test_a_view_lives_its_life(self, lake: Lake, dataset: str, namespace: str) -> None:
        sql = f"SELECT id, amount AS price FROM {dataset} WHERE note = 'a'"
        made = lake.create_view(f"{namespace}.of_a", sql, dialects={"spark": "SELECT 1"}, description="those of a")
        found = made.details()
        assert [(one.name, one.type) for one in found.columns] == [("id", "long"), ("price", "decimal(10, 2)")]
        assert (found.sql, found.description) == ({"duckdb": sql, "spark": "SELECT 1"}, "those of a")
        assert (found.view.owner, found.version_id, found.version_ids) == ("team:orders", 1, (1,))
        assert rows(lake, f"SELECT id FROM {namespace}.of_a ORDER BY id") == [{"id": 1}, {"id": 2}]
        assert made.read().read_all().num_rows == 2
        assert [one.name for one in lake.namespace(namespace).views()] == [f"{namespace}.of_a"]
        assert f"{namespace}.of_a" in [one.name for one in lake.views()]
        assert list(lake.namespace(namespace).datasets()) != []
        with pytest.raises(AlreadyExistsError, match="of_a"):
            lake.create_view(f"{namespace}.of_a", sql)
        with pytest.raises(NotAllowedError, match="spark"):
            made.replace(f"SELECT count(*) AS n FROM {dataset}")
        again = made.replace(f"SELECT count(*) AS n FROM {dataset}", dialects={"spark": "SELECT 2"})
        assert (again.version_id, again.version_ids, again.description) == (2, (1, 2), "those of a")
        assert rows(lake, f"SELECT n FROM {namespace}.of_a") == [{"n": 4}]
        renamed = made.rename(f"{namespace}.counted")
        assert renamed.read().read_all().to_pylist() == [{"n": 4}]
        with pytest.raises(NotEmptyError):
            lake.backend.delete_namespace(namespace)
        renamed.drop()
        for missing in (renamed.details, renamed.drop, made.details):
            with pytest.raises(ViewNotFoundError, match="There is no view"):
                missing()
        with pytest.raises(DatasetNotFoundError):
            renamed.read()

    def test_views_come_in_pages(self, lake: Lake, dataset: str, namespace: str) -> None:
        names = [f"{namespace}.view_{number}" for number in range(3)]
        for name in names:
            lake.create_view(name, f"SELECT * FROM {dataset}", replace=True)
        assert [one.full_name for one in lake.backend.views(namespace, "", 2)] == names[:2]
        assert [one.full_name for one in lake.backend.views(namespace, names[1], 2)] == names[2:]
        with pytest.raises(NamespaceNotFoundError):
            lake.backend.views("nowhere")
        with pytest.raises(InvalidInputError):
            lake.backend.views(namespace, limit=0)

    def test_views_read_views(self, lake: Lake, dataset: str, namespace: str) -> None:
        lake.create_view(f"{namespace}.narrow", f"SELECT id, note, amount FROM {dataset} WHERE id > 1")
        lake.create_view(
            f"{namespace}.summed",
            f"WITH n AS (SELECT * FROM {namespace}.narrow) "
            "SELECT note, count(*) AS n, sum(amount) AS s FROM n GROUP BY note",
        )
        joined = (
            f"SELECT o.id, s.n FROM {dataset} o JOIN {namespace}.summed s ON o.note = s.note "
            f"LEFT JOIN {namespace}.narrow ON narrow.id = o.id WHERE {namespace}.narrow.id IS NOT NULL ORDER BY o.id"
        )
        assert rows(lake, joined) == [{"id": 2, "n": 1}, {"id": 3, "n": 2}, {"id": 4, "n": 2}]
        once = rows(lake, f"SELECT count(*) AS n FROM {namespace}.narrow", as_of={dataset: 1})
        assert once == [{"n": 1}]
        assert rows(lake, f"SELECT x FROM {namespace}.summed AS t(x, y, z) ORDER BY x") == [{"x": "a"}, {"x": "b"}]
        inside = f"SELECT id FROM {dataset} WHERE id IN (SELECT max(id) FROM {namespace}.narrow)"
        assert rows(lake, inside) == [{"id": 4}]

    def test_a_view_keeps_its_columns(self, lake: Lake, dataset: str, namespace: str) -> None:
        view = lake.create_view(f"{namespace}.everything", f"SELECT * FROM {dataset}")
        lake.dataset(dataset).evolve(AddColumn("later", pa.string()))
        assert view.read().schema.names == ORDERS.names
        assert [one.name for one in view.replace(f"SELECT * FROM {dataset}").columns] == [*ORDERS.names, "later"]

    def test_no_view_reads_itself(self, lake: Lake, dataset: str, namespace: str) -> None:
        one, two = f"{namespace}.one", f"{namespace}.two"
        lake.create_view(one, f"SELECT id FROM {dataset}")
        lake.create_view(two, f"SELECT id FROM {one}")
        with pytest.raises(NotAllowedError, match=f"{one} → {two} → {one}"):
            lake.create_view(one, f"SELECT id FROM {two}", replace=True)
        assert len(rows(lake, f"SELECT * FROM {two}")) == 4

    def test_views_within_views_end(self, lake: Lake, dataset: str, namespace: str) -> None:
        lake.create_view(f"{namespace}.v0", f"SELECT id FROM {dataset}")
        for number in range(1, 20):
            lake.create_view(f"{namespace}.v{number}", f"SELECT id FROM {namespace}.v{number - 1}")
        assert len(rows(lake, f"SELECT * FROM {namespace}.v19")) == 4
        with pytest.raises(NotAllowedError, match="too many"):
            lake.create_view(f"{namespace}.v20", f"SELECT id FROM {namespace}.v19")

    def test_a_name_is_a_dataset_s_or_a_view_s(self, lake: Lake, dataset: str, namespace: str) -> None:
        view = lake.create_view(f"{namespace}.seen", f"SELECT id FROM {dataset}")
        with pytest.raises(AlreadyExistsError, match="dataset"):
            lake.create_view(dataset, "SELECT 1 AS one")
        with pytest.raises(AlreadyExistsError, match="dataset"):
            view.rename(dataset)
        with pytest.raises(AlreadyExistsError, match="view"):
            make_orders(lake.backend, namespace, name="seen")
        with pytest.raises(AlreadyExistsError, match="view"):
            lake.backend.rename_dataset(dataset, view.name)
        with pytest.raises(DatasetNotFoundError, match="is a view"):
            lake.backend.dataset(view.name)
        with pytest.raises(DatasetNotFoundError, match="is a view"):
            lake.backend.write(view.name, orders(5), "append")

    @pytest.mark.parametrize(
        ("sql", "error"),
        [
            ("SELEC", InvalidSqlError),
            ("DELETE FROM x.y", InvalidSqlError),
            ("SELECT 1 AS a; SELECT 2 AS b", InvalidSqlError),
            ("SELECT $partition AS a", InvalidSqlError),
            ("SELECT * FROM read_csv('/etc/passwd')", InvalidSqlError),
            ("SELECT * FROM orders", InvalidSqlError),
            ("SELECT nothing FROM {dataset}", InvalidSqlError),
            ("SELECT * FROM {dataset}_no", DatasetNotFoundError),
        ],
    )
    def test_a_query_that_cannot_be_is_refused(
        self, lake: Lake, dataset: str, namespace: str, sql: str, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            lake.create_view(f"{namespace}.wrong", sql.format(dataset=dataset))
        assert lake.backend.views(namespace) == []

    def test_names_are_checked(self, lake: Lake, dataset: str, namespace: str) -> None:
        for name in ("wrong", f"{namespace}.Wrong", f"{namespace}.wrong_v2", f"{namespace}..b"):
            with pytest.raises(InvalidNameError):
                lake.create_view(name, f"SELECT id FROM {dataset}")
        with pytest.raises(InvalidNameError, match="column"):
            lake.create_view(f"{namespace}.wrong", f'SELECT id AS "a.b" FROM {dataset}')
        with pytest.raises(NamespaceNotFoundError):
            lake.create_view(f"{namespace}.within.wrong", f"SELECT id FROM {dataset}")
        with pytest.raises(InvalidSqlError, match="representation"):
            lake.create_view(f"{namespace}.wrong", f"SELECT id FROM {dataset}", dialects={"DuckDB": "SELECT 1"})

    def test_jobs_see_through_views(self, lake: Lake, work: Callable[[], object], dataset: str, namespace: str) -> None:
        lake.create_view(f"{namespace}.priced", f"SELECT id, day, amount AS price FROM {dataset}")
        lake.create_view(f"{namespace}.daily_view", f"SELECT day, price FROM {namespace}.priced")
        schema = ORDERS.remove(3).remove(0)
        lake.backend.create_dataset(f"{namespace}.daily", schema, TableOptions(completion_unit="day"))
        job = lake.create_job(
            f"{namespace}.daily",
            f"SELECT day, sum(price) AS amount FROM {namespace}.daily_view "
            "WHERE day = CAST($partition AS DATE) GROUP BY day",
            output_condition="day = CAST($partition AS DATE)",
        )
        assert job.inputs == (dataset,)
        graph = lake.backend.lineage(Node(NodeKind.DATASET, f"{namespace}.daily"), upstream=1, downstream=0)
        into = [edge for edge in graph.edges if edge.source == Node(NodeKind.DATASET, dataset)]
        assert [dict(edge.columns) for edge in into] == [{"day": ("day",), "amount": ("amount",)}]
        lake.dataset(dataset).complete("2013-01-31")
        work()
        assert rows(lake, f"SELECT amount FROM {namespace}.daily") == [{"amount": Decimal("39.96")}]


def rows(lake: Lake, sql: str, **options: Any) -> list[dict[str, Any]]:
    """Return what a query finds."""
    return list(lake.sql(sql, **options).read_all().to_pylist())
