"""What every lake must do, embedded or behind a server, as tests: completions that follow from rules. Needs pytest.

Subclass :class:`CompletionSuite` in a test module and provide the fixtures ``backend`` and ``work``.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from cordillera.client.backend import LakeBackend
from cordillera.errors import DatasetNotFoundError, IdempotencyKeyReusedError, InvalidInputError, NotAllowedError
from cordillera.spec.completion_rule import CompletionRule, PartitionStatus, Unmet
from cordillera.testing.backend_suite import LakeSuite, orders


class CompletionSuite(LakeSuite):
    """Completions of several partitions, and completion rules."""

    def test_partitions_are_complete_together_or_not_at_all(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1), "append")
        asked: list[str | date] = ["2013-01-31", date(2013, 1, 30), "2013-01-31", "2013-01-29"]
        made = backend.complete_all(dataset, asked, idempotency_key="jan")
        assert [one.partition for one in made] == ["2013-01-31", "2013-01-30", "2013-01-29"]
        assert {(one.revision, one.sequence_number) for one in made} == {(1, 1)}
        assert backend.completions(dataset) == made
        [again, other] = backend.complete_all(dataset, ["2013-01-30", "2013-02-01"])
        assert (again.revision, again.restated, other.revision) == (2, True, 1)
        repeated = backend.complete_all(dataset, [one.partition for one in made[::-1]], idempotency_key="jan")
        assert repeated == made[::-1]
        assert backend.complete(dataset, "2013-02-02", idempotency_key="one").revision == 1
        assert backend.complete(dataset, "2013-02-02", idempotency_key="one").revision == 1
        with pytest.raises(IdempotencyKeyReusedError, match="jan"):
            backend.complete_all(dataset, ["2013-02-03"], idempotency_key="jan")
        before = backend.completions(dataset)
        for wrong in (["2013-02-04", "4.2.2013"], [], [f"2013-01-{number:04}" for number in range(1001)]):
            with pytest.raises(InvalidInputError):
                backend.complete_all(dataset, wrong)
        assert backend.completions(dataset) == before
        with pytest.raises(DatasetNotFoundError):
            backend.complete_all("no.where", ["2013-01-31"])

    def test_a_rule_lives_its_life(self, backend: LakeBackend, dataset: str) -> None:
        assert backend.completion_rule(dataset) is None
        rule = CompletionRule("day", "Europe/Berlin", 1, True, ("amount",), 3600, {}, ("mon", "fri"), ("2013-12-25",))
        made = backend.put_completion_rule(dataset, rule)
        assert (made.rule, made.cursor_sequence) == (rule, None)
        assert backend.completion_rule(dataset) == made
        backend.remove_completion_rule(dataset)
        assert backend.completion_rule(dataset) is None
        with pytest.raises(NotAllowedError, match="no completion rule"):
            backend.remove_completion_rule(dataset)
        with pytest.raises(InvalidInputError, match="has to name the column"):
            backend.put_completion_rule(dataset, CompletionRule(min_rows=1))
        with pytest.raises(DatasetNotFoundError):
            backend.put_completion_rule("no.where", rule)

    def test_a_rule_completes_and_restates(
        self, backend: LakeBackend, dataset: str, work: Callable[[], object]
    ) -> None:
        day = date(2013, 1, 31)
        backend.put_completion_rule(dataset, CompletionRule("day", announced=True, totals=("amount",)))
        backend.write(dataset, orders(1, 2), "append")
        work()
        waiting = backend.explain_completion(dataset, day)
        assert (waiting.status, waiting.completion, waiting.rows) == (PartitionStatus.WAITING, None, 2)
        assert [reason.kind for reason in waiting.reasons] == [Unmet.UNANNOUNCED]
        announced = backend.announce(dataset, day, 2, {"amount": "19.98"})
        assert (announced.partition, announced.announced_rows) == ("2013-01-31", 2)
        work()
        complete = backend.explain_completion(dataset, "2013-01-31")
        assert (complete.status, complete.reasons, complete.announced_rows) == (PartitionStatus.COMPLETE, (), 2)
        assert complete.completion == backend.completion(dataset, day)
        backend.write(dataset, orders(1, note="late"), "upsert")
        assert backend.explain_completion(dataset, day).status is PartitionStatus.COMPLETE
        work()
        assert backend.explain_completion(dataset, day).status is PartitionStatus.RESTATED
        backend.write(dataset, orders(3), "append")
        work()
        changed = backend.explain_completion(dataset, day)
        assert (changed.status, changed.rows) == (PartitionStatus.CHANGED, 3)
        assert changed.completion is not None
        assert changed.completion.revision == 2
        for rows, totals in ((-1, {}), (2, {"amount": "much"})):
            with pytest.raises(InvalidInputError):
                backend.announce(dataset, day, rows, totals)
