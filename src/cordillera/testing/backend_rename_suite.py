"""What every lake must do, embedded or behind a server, as tests: renaming datasets. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    InvalidNameError,
    NamespaceNotFoundError,
    NotAllowedError,
)
from cordillera.spec.lineage import Node, NodeKind
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.spec.workflow import WantedJob
from cordillera.testing.backend_suite import LakeSuite, make_orders, notes, orders


class RenameSuite(LakeSuite):
    """What is called otherwise, and what follows."""

    @pytest.fixture
    def elsewhere(self, backend: LakeBackend) -> str:
        """Return another namespace."""
        return backend.create_namespace(f"t{uuid4().hex[:12]}").name

    def test_a_dataset_moves_with_all_that_is_its_own(
        self, backend: LakeBackend, dataset: str, namespace: str, elsewhere: str
    ) -> None:
        backend.write(dataset, orders(1), "append")
        backend.update_dataset(dataset, description="walrus invoices", tags=["gold"])
        backend.create_dataset_version(dataset, backend.schema(dataset), TableOptions())
        before, new = backend.dataset(dataset), f"{elsewhere}.bought"
        assert Dataset(backend, dataset).rename(new).name == new
        after = backend.dataset(new)
        assert (after.dataset.id, after.dataset.tags) == (before.dataset.id, ("gold",))
        assert [one.location for one in after.versions] == [one.location for one in before.versions]
        assert [hit.dataset.full_name for hit in backend.search("walrus", {"namespace": elsewhere}).hits] == [new]
        assert backend.search("walrus", {"namespace": namespace}).total == 0
        backend.write(new, orders(2), "append")
        assert notes(backend, new) == {1: "", 2: ""}
        assert notes(backend, new, as_of=1) == {1: ""}
        assert backend.dataset(f"{new}_v2").version.number == 2
        with pytest.raises(DatasetNotFoundError, match=dataset):
            backend.dataset(dataset)
        told = [event.payload for event in backend.events(dataset=new)]
        assert {"change": "renamed", "from": dataset} in told
        assert [entry.details for entry in backend.audit(object_name=dataset) if entry.action == "dataset.rename"] == [
            {"to": new}
        ]

    def test_the_old_name_is_free(self, backend: LakeBackend, dataset: str, namespace: str) -> None:
        backend.write(dataset, orders(1, note="first"), "append")
        backend.rename_dataset(dataset, f"{namespace}.older")
        make_orders(backend, namespace)
        backend.write(dataset, orders(1, note="second"), "append")
        assert notes(backend, dataset) == {1: "second"}
        assert notes(backend, f"{namespace}.older") == {1: "first"}
        locations = {backend.dataset(name).version.location for name in (dataset, f"{namespace}.older")}
        assert len(locations) == 2
        backend.delete_dataset(f"{namespace}.older")
        backend.restore_dataset(f"{namespace}.older")
        assert not [found for found in backend.orphans(0) if found.dataset.startswith(namespace)]

    def test_subscriptions_follow(
        self, backend: LakeBackend, work: Callable[[], object], dataset: str, namespace: str, tmp_path: Path
    ) -> None:
        place = tmp_path / "t.duckdb"
        target = backend.create_target(f"t{uuid4().hex[:12]}", "duckdb", {"path": str(place)}).name
        made = backend.subscribe(WantedSubscription(dataset, target, table="copy"))
        backend.write(dataset, orders(1), "append")
        work()
        new = backend.rename_dataset(dataset, f"{namespace}.renamed").full_name
        make_orders(backend, namespace)
        backend.write(dataset, orders(8), "append")
        backend.write(new, orders(2), "append")
        work()
        assert [one.subscription.dataset for one in backend.subscriptions(dataset=new)] == [new]
        assert backend.subscription(made.id).subscription.dataset == new
        with duckdb.connect(str(place), read_only=True) as connection:
            assert connection.execute("SELECT id FROM copy ORDER BY id").fetchall() == [(1,), (2,)]
        sink = Node(NodeKind.TARGET, f"{target}:copy")
        assert {edge.source.name for edge in backend.lineage(sink).edges} == {new}
        assert backend.lineage(Node(NodeKind.DATASET, dataset)).edges == ()

    def test_what_cannot_be_is_refused(self, backend: LakeBackend, dataset: str, namespace: str) -> None:
        other = make_orders(backend, namespace, name="other")
        sql = f"SELECT * FROM {dataset} WHERE day = CAST($partition AS DATE)"
        job = backend.create_job(WantedJob(other, sql, output_condition="day = CAST($partition AS DATE)"))
        backend.set_job_enabled(job.name, False)
        for name in (dataset, other):
            with pytest.raises(NotAllowedError, match=job.name):
                backend.rename_dataset(name, f"{namespace}.new")
        backend.delete_job(job.name)
        with pytest.raises(AlreadyExistsError, match=other):
            backend.rename_dataset(dataset, other)
        with pytest.raises(AlreadyExistsError, match=dataset):
            backend.rename_dataset(dataset, dataset)
        with pytest.raises(NamespaceNotFoundError, match="nowhere"):
            backend.rename_dataset(dataset, "nowhere.orders")
        with pytest.raises(DatasetNotFoundError):
            backend.rename_dataset(f"{namespace}.none", f"{namespace}.new")
        for new in (f"{namespace}.new_v2", f"{namespace}.New", "new"):
            with pytest.raises(InvalidNameError):
                backend.rename_dataset(dataset, new)
        assert backend.rename_dataset(dataset, f"{namespace}.new").name == "new"
