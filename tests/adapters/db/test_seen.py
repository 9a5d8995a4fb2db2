"""The newest rows of some objects are those of the list that has nothing else."""

from __future__ import annotations

from random import Random
from uuid import uuid4

import sqlalchemy as sa

from cordillera.adapters.db.events import OF_VERSIONS
from cordillera.adapters.db.schema import events
from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.spec.event import Topic
from cordillera.testing.metadata_samples import NOW

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
                    found = OF_VERSIONS.numbers(tx.session, [one.hex for one in chosen], before, limit)
                    assert found == shown[:limit], (len(chosen), before, limit)
    store.close()
