"""The newest rows of some objects are those of the list that has nothing else."""

from __future__ import annotations

from random import Random
from uuid import uuid4

import sqlalchemy as sa

from cordillera.adapters.db.events import OF_VERSIONS
from cordillera.adapters.db.schema import events, jobs, runs
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.adapters.db.workflows import JOB, OF_JOBS, RUN
from cordillera.spec.event import Topic
from cordillera.testing.metadata_samples import NOW, job, later, run

COMMON = {
    "topic": Topic.SNAPSHOT_COMMITTED,
    "at": NOW,
    "principal": "",
    "trace_id": "",
    "dataset": "a.b",
    "payload": {},
}


def test_the_newest_of_some_objects_are_merged(url: str) -> None:
    store, random = SqlMetadataStore(url), Random(7)
    versions = [uuid4() for _ in range(20)]
    many, *some = versions
    numbers = range(101, 401)
    about = {n: random.choice([many] * 3 + some[:14] if n < 350 else [many, *some[:5], *some[17:]]) for n in numbers}
    with store.write() as tx:
        rows = [{**COMMON, "number": number, "dataset_version_id": one} for number, one in about.items()]
        tx.session.connection.execute(sa.insert(events), rows)
    with store.read() as tx:
        for chosen in ([], [many], some[:3], some[:17], versions, [uuid4()]):
            for before in (101, 102, 250, 351, 401, 999):
                shown = [number for number in reversed(numbers) if number < before and about[number] in chosen]
                for limit in (1, 2, 5, 30, 400):
                    found = OF_VERSIONS.rows(tx.session, [[one.hex] for one in chosen], (before,), limit)
                    assert found == shown[:limit], (len(chosen), before, limit)
    store.close()


def test_the_newest_runs_of_some_jobs_are_merged_though_many_begin_at_once(url: str) -> None:
    store, random = SqlMetadataStore(url), Random(7)
    made = [job(f"job.{number}") for number in range(9)]
    ran = [run(random.choice(made), str(n), created_at=later(random.randrange(12))) for n in range(90)]
    with store.write() as tx:
        tx.session.connection.execute(sa.insert(jobs), [JOB.values(one) for one in made])
        tx.session.connection.execute(sa.insert(runs), [{**RUN.values(one), "input_state": ""} for one in ran])
    keys = sorted(((one.created_at, one.id, one.job_id) for one in ran), reverse=True)
    with store.read() as tx:
        for chosen in (made[:1], made[:5], made):
            ids = [one.id for one in chosen]
            for created_at, run_id, _ in keys[::10]:
                shown = [one for moment, one, of in keys if (moment, one) < (created_at, run_id) and of in ids]
                for limit in (1, 4, 90):
                    found = OF_JOBS.rows(tx.session, [[one.hex] for one in ids], (created_at, run_id), limit)
                    assert found == shown[:limit], (len(ids), limit)
    store.close()
