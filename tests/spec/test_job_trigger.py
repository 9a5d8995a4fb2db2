"""Which partitions concern a job, and whether it is to run for one."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, InvalidPartitionError
from cordillera.spec.completion import Completion, CompletionUnit
from cordillera.spec.job_trigger import UNMAPPED, JobTrigger, Restatements, in_words
from cordillera.spec.partition_mapping import parse_mapping
from cordillera.spec.readiness import InputState, Verdict, input_revisions, verdict
from cordillera.spec.workflow import RunState
from cordillera.testing.metadata_samples import NOW, job, run

DAY, VALUE = CompletionUnit.DAY, CompletionUnit.VALUE
LABELS = st.text("ab.*", min_size=1, max_size=4)


@given(st.lists(LABELS, max_size=3), LABELS)
def test_partitions_concern_a_job_by_any_pattern(patterns: list[str], label: str) -> None:
    def matches(pattern: str) -> bool:
        if ".." in pattern:
            first, last = pattern.split("..", 1)
            return label >= first and (last == "" or label <= last)
        return label.startswith(pattern[:-1]) if pattern[-1] == "*" else label == pattern

    trigger = JobTrigger(partitions=tuple(patterns))
    assert trigger.concerns(label) == (not patterns or any(map(matches, patterns)))
    if trigger.labels:
        assert trigger.concerns(label) == (label in trigger.labels)


@pytest.mark.parametrize(
    ("trigger", "units", "unit"),
    [
        (UNMAPPED, {"a.b": DAY, "a.c": DAY}, DAY),
        (JobTrigger({"a.c": "latest"}), {"a.b": VALUE, "a.c": DAY}, VALUE),
        (JobTrigger({"a.c": "days of month"}, ("2013-*", "2013-02..")), {"a.c": DAY}, CompletionUnit.MONTH),
        (JobTrigger({"a.c": "fixed all"}), {"a.b": DAY, "a.c": CompletionUnit.WHOLE}, DAY),
    ],
)
def test_a_trigger_tells_the_partitions_of_a_job(
    trigger: JobTrigger, units: dict[str, CompletionUnit], unit: CompletionUnit
) -> None:
    assert trigger.unit("x.y", units) is unit
    assert JobTrigger.of_plain(trigger.plain) == trigger


@pytest.mark.parametrize(
    ("trigger", "problem"),
    [
        (JobTrigger({"a.d": "same"}), "a.d is mapped, but it is no input of x.y"),
        (JobTrigger({"a.b": "latest", "a.c": "fixed 1"}), "Nothing could start x.y"),
        (JobTrigger({"a.b": "month of day"}), "cut by month"),
        (JobTrigger({"a.b": "days of month"}), "a.b by month, a.c by value"),
        (JobTrigger({"a.b": "soon"}), "no partition mapping"),
        (JobTrigger({"a.c": "latest"}, ("yesterday",)), "not a day"),
        (JobTrigger({"a.c": "latest"}, ("2013-02-01..soon",)), "not a day"),
        (JobTrigger({"a.b": "latest"}, (" ",)), "empty text"),
        (JobTrigger({"a.b": "latest"}, ("x",) * 1001), "more than 1,000"),
    ],
)
def test_triggers_that_fit_nothing_are_refused(trigger: JobTrigger, problem: str) -> None:
    with pytest.raises((InvalidInputError, InvalidPartitionError), match=problem):
        trigger.unit("x.y", {"a.b": DAY, "a.c": VALUE})


def test_triggers_are_told_in_words() -> None:
    trigger = JobTrigger({"a.c": "latest"}, ("EU", "US-*"), Restatements.IGNORE)
    assert in_words(trigger, ("a.b", "a.c")) == (
        "a.b, a.c (latest); for EU, US-* only; not again when they are restated"
    )
    assert in_words(UNMAPPED, ("a.b",)) == "a.b"
    assert job(trigger=trigger).trigger.mapping("a.c") == parse_mapping("latest")


def state(text: str, needed: dict[str, int], dataset: str = "a.b") -> InputState:
    """An input whose needed partitions are complete by revisions; 0 for one that is not."""
    found = {label: Completion(UUID(int=1), label, number, 7, "x", NOW) for label, number in needed.items() if number}
    return InputState(dataset, dataset, parse_mapping(text), tuple(needed), found)


@pytest.mark.parametrize(
    ("states", "last", "wanted"),
    [
        ([state("same", {"D": 1})], None, Verdict.RUN),
        ([state("same", {"D": 0})], None, Verdict.WAIT),
        ([state("same", {"D": 1}), state("latest", {"latest": 0})], None, Verdict.STAND_BY),
        ([state("same", {"D": 0}), state("latest", {"latest": 0})], None, Verdict.WAIT),
        ([state("trailing 2 days", {"B": 1, "C": 1})], None, Verdict.WAIT),
        ([state("trailing 2 days", {"C": 1, "D": 1})], None, Verdict.RUN),
        ([state("same", {"D": 1})], RunState.SUCCEEDED, Verdict.DONE),
        ([state("same", {"D": 1})], RunState.RUNNING, Verdict.DONE),
        ([state("same", {"D": 1})], RunState.FAILED, Verdict.RUN),
    ],
)
def test_what_becomes_of_a_partition(states: list[InputState], last: RunState | None, wanted: Verdict) -> None:
    assert verdict(states, "D", Restatements.IGNORE, last) is wanted
    again = Verdict.RUN if wanted is Verdict.DONE else wanted
    assert verdict(states, "D", Restatements.RERUN, last) is again


def test_the_state_of_inputs_is_what_can_start_runs() -> None:
    states = [
        state("same", {"D": 2}),
        state("trailing 2 days", {"C": 1, "D": 3}, "a.c"),
        state("latest", {"X": 9}, "a.d"),
    ]
    assert input_revisions(states, "D") == {"a.b": 2, "a.c C": 1, "a.c": 3}
    assert run(job()).input_snapshots == {}
