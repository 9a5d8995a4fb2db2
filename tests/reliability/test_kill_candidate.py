"""kill -9 while what a contract refuses is kept: there is a whole candidate, or nothing that anybody could see."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

import cordillera
from tests.conftest import app_of
from tests.reliability.crash import ORDERS, new_lake, refused_upsert, rows
from tests.reliability.processes import run_and_kill

TOTAL = {"id": "total", "type": "sql", "query": "SELECT sum(amount) FROM {object}", "mustBeLessThan": 500}
POINTS = {
    "cordillera.catalog.commits:CommitService._kept:before": False,
    "cordillera.catalog.tables:TableService.write_successor:after:1": False,
    "cordillera.catalog.commit_records:CommitRecords.write:after:1": False,
    "cordillera.catalog.commits:CommitService._publish:after:1": True,
}

SELDOM = [point for point in POINTS if "_kept" in point or "CommitRecords" in point]


@pytest.mark.parametrize(
    "point",
    [pytest.param(one, marks=pytest.mark.long) if one in SELDOM else one for one in POINTS],
    ids=lambda point: point.split(":", 1)[1],
)
def test_a_writer_killed_while_it_is_refused_leaves_a_whole_candidate_or_none(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with new_lake(path) as lake:
        orders = lake.dataset(ORDERS)
        orders.write(rows(range(100), 1, 1), "append")
        document = yaml.safe_load(lake.backend.draft_contract(ORDERS))
        document["schema"][0]["quality"] = [TOTAL]
        orders.put_contract(yaml.safe_dump(document))
        events = len(lake.backend.events(dataset=ORDERS))
    run_and_kill(path, "refused upsert", point)
    with cordillera.open(path) as lake:
        orders, kept = lake.dataset(ORDERS), POINTS[point]
        assert len(orders.candidates()) == len(orders.refs()) - 1 == kept
        assert bool(lake.backend.orphans(older_than_hours=0)) == (not kept)
        app_of(lake).orphans.remove(timedelta(), dry_run=False, force=True)
        assert not lake.backend.orphans(older_than_hours=0)
        refused_upsert(lake)
        assert [orders.scan(as_of=one.branch).to_arrow().num_rows for one in orders.candidates()] == [150] * (1 + kept)
        assert set(orders.scan().to_arrow()["amount"].to_pylist()) == {1}
        assert len(lake.backend.events(dataset=ORDERS)) == events
