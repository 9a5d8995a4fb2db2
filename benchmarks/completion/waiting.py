"""A lake in which jobs wait: each for one partition of two datasets.

Of every ten partitions of a dataset one is waited for, by two jobs; so a tenth of the completions start a run, however
many jobs there are. With ten times as many jobs, ten times as many partitions are waited for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

import cordillera
from benchmarks.completion.progress import Progress
from cordillera.app import Application
from cordillera.spec.job_trigger import JobTrigger
from cordillera.spec.workflow import Job, WantedJob

EVERY = 10
"""Of so many partitions of a dataset one is waited for."""
_JOBS_AN_OUTPUT, _AT_ONCE = 1000, 500
_FEED = pa.schema([pa.field("id", pa.int64(), nullable=False), ("value", pa.int64())])
_OUTPUT = pa.schema([("part", pa.string()), ("job", pa.string()), ("value", pa.int64())])
_FIRST = "made.j0000000"
_SQL = f"""
SELECT $partition AS part, '{_FIRST}' AS job, sum(a.value + b.value)::BIGINT AS value
FROM feeds.one AS a JOIN feeds.other AS b USING (id)
"""


@dataclass(frozen=True)
class Call:
    """Partitions of a dataset that are called complete at once.

    Attributes:
        dataset: Its number.
        parts: Their numbers.
    """

    dataset: int
    parts: range


@dataclass(frozen=True)
class WaitingLake:
    """The lake.

    Attributes:
        folder: Where it is made.
        url: Its metadata database.
        datasets: How many there are; a multiple of ``EVERY``.
        jobs: How many wait.
    """

    folder: Path
    url: str
    datasets: int
    jobs: int

    def make(self) -> None:
        """Make it, with a row in each dataset."""
        with cordillera.create(self.folder, metadata_url=self.url) as lake:
            for namespace in ("feeds", "made"):
                lake.create_namespace(namespace, owner="bench")
            for number in range(self.datasets):
                dataset = lake.create_dataset(feed(number), _FEED, key=["id"], completion_unit="value")
                dataset.write(pa.table({"id": [1], "value": [number]}, schema=_FEED), "append")
            for number in range(-(-self.jobs // _JOBS_AN_OUTPUT)):
                lake.create_dataset(f"made.m{number:04}", _OUTPUT, completion_unit="value")
            self._make_jobs(lake.backend.app)  # type: ignore[attr-defined]  # it is local

    def _make_jobs(self, app: Application) -> None:
        """Make one job as people do, and the others of it: to check such SQL a hundred thousand times takes long."""
        made = app.workflows.create_job(
            WantedJob(
                _FIRST,
                self._sql(0),
                output_condition=f"part = $partition AND job = '{_FIRST}'",
                output="made.m0000",
                trigger=JobTrigger(partitions=(label(0),)),
            )
        )
        progress = Progress("jobs made", self.jobs)
        for start in range(0, self.jobs, _AT_ONCE):
            progress.tell(start)
            with app.store.write() as tx:
                for number in range(max(1, start), min(start + _AT_ONCE, self.jobs)):
                    tx.jobs.insert(self._job(app, made, number))

    def _job(self, app: Application, made: Job, number: int) -> Job:
        return replace(
            made,
            id=app.clock.new_id(),
            name=job_name(number),
            sql=self._sql(number),
            inputs=tuple(map(feed, self.inputs(number))),
            output=f"made.m{number // _JOBS_AN_OUTPUT:04}",
            output_condition=made.output_condition.replace(_FIRST, job_name(number)),
            trigger=JobTrigger(partitions=(label(self.partition(number)),)),
        )

    def _sql(self, number: int) -> str:
        one, other = self.inputs(number)
        return (
            _SQL.replace("feeds.other", feed(other)).replace("feeds.one", feed(one)).replace(_FIRST, job_name(number))
        )

    def partition(self, job: int) -> int:
        """Return the number of the partition that a job waits for."""
        return job // (self.datasets // EVERY)

    def inputs(self, job: int) -> tuple[int, int]:
        """Return the numbers of the datasets that a job waits for."""
        part, place = divmod(job, self.datasets // EVERY)
        one = place * EVERY + part % EVERY
        other = (one + EVERY * (1 + part % (self.datasets // EVERY - 1))) % self.datasets
        return one, other

    def is_waited_for(self, dataset: int, part: int) -> bool:
        """Tell whether jobs wait for a partition of a dataset."""
        return dataset % EVERY == part % EVERY and part * (self.datasets // EVERY) < self.jobs

    def calls(self, first: int, together: int) -> Iterator[Call]:
        """Yield what to call complete, from a partition on: so many partitions of each dataset, the datasets in any
        order, then the next ones.
        """
        generator = random.Random(first)
        while True:
            for number in generator.sample(range(self.datasets), self.datasets):
                yield Call(number, range(first, first + together))
            first += together

    def due(self, complete: set[tuple[str, str]]) -> dict[str, tuple[tuple[str, str], ...]]:
        """Return the names of the jobs that have all that they wait for, with that."""
        found = {}
        for job in range(self.jobs):
            needed = tuple((feed(one), label(self.partition(job))) for one in self.inputs(job))
            if complete.issuperset(needed):
                found[job_name(job)] = needed
        return found


def job_name(number: int) -> str:
    """Return the name of a job."""
    return f"made.j{number:07}"


def feed(number: int) -> str:
    """Return the name of a dataset."""
    return f"feeds.f{number:05}"


def label(number: int) -> str:
    """Return the label of a partition."""
    return f"p{number:07}"
