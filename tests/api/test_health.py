"""What load balancers, orchestrators and Prometheus see."""

from __future__ import annotations

from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from cordillera.app import Application, create_lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.testing.backend_suite import orders
from cordillera.worker import Worker


def test_a_server_that_can_answer_is_ready(anonymous: httpx2.Client) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    assert anonymous.get("/readyz").json() == {"status": "ok", "problems": []}


def test_a_server_whose_database_is_older_is_not_ready(tmp_path: Path) -> None:
    with create_lake(tmp_path / "lake") as app:
        client = TestClient(create_server(app), base_url="http://localhost")
        assert client.get("/readyz").status_code == 200
        (tmp_path / "lake" / "lake.db").unlink()
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "not ready"
        assert any("metadata database" in problem for problem in answer.json()["problems"])
        assert str(tmp_path) not in answer.text
        assert client.get("/healthz").status_code == 200


def test_metrics_tell_of_the_lake(
    app: Application, http: httpx2.Client, backend: LocalBackend, dataset: str, tmp_path: Path
) -> None:
    target = backend.create_target("measured", "duckdb", {"path": str(tmp_path / "t.duckdb")}).name
    live, paused = (
        backend.subscribe(WantedSubscription(dataset, target, table=name)).id for name in ("live", "paused")
    )
    Worker(app).run_until_idle()
    backend.pause_subscription(paused)
    backend.write(dataset, orders(1), "append")
    http.get("/nowhere")
    families = text_string_to_metric_families(http.get("/../../metrics").text)
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }
    behind = {name[1:]: value for name, value in samples.items() if name[0].endswith("snapshots_behind")}
    labels = tuple(sorted((str(live), dataset, target, "live")))
    assert behind[labels] == 1
    assert not any(str(paused) in names for names in behind)
    assert samples["cordillera_subscription_lag_seconds", *labels] > 0
    assert samples["cordillera_events_unhandled",] > 0
    assert samples["cordillera_errors_total", "not_found"] >= 1
    assert samples["cordillera_commits_total", "append"] >= 1
