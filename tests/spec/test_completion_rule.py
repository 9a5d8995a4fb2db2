"""Verdicts on partitions against a model that keeps every row, and asks of each history the plainest question."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cordillera.spec.completion import Completion, CompletionUnit
from cordillera.spec.completion_rule import (
    CompletionRule,
    PartitionState,
    Unmet,
    Verdict,
    brief,
    in_words,
    reasons,
    verdict,
)

VERSION, NOW = UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC)
DAY = "2026-01-01"
RULES = st.builds(
    CompletionRule,
    column=st.just("day"),
    min_rows=st.none() | st.integers(0, 3),
    announced=st.booleans(),
    totals=st.sampled_from([(), ("a",)]),
    lateness_seconds=st.none() | st.sampled_from([0, 3600]),
    upstream=st.sampled_from([{}, {"x.y": "same"}]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(-2, 3)),
        st.tuples(st.just("announce"), st.integers(0, 4)),
        st.tuples(st.just("declare"), st.just(0)),
        st.tuples(st.just("watermark"), st.sampled_from([0, 1])),
        st.tuples(st.just("upstream"), st.just(0)),
    ),
    max_size=12,
)
WATERMARKS = ("2026-01-02T00:30:00", "2026-01-02T01:00:00")


@dataclass
class Model:
    """One partition, remembered in full."""

    rule: CompletionRule
    amounts: list[int] = field(default_factory=list)
    announced: int | None = None
    watermark: str = ""
    upstream: bool = False
    commits: int = 0
    changed_at: int = 0
    completed_at: list[int] = field(default_factory=list)

    def holds(self) -> bool:
        rule = self.rule
        enough = rule.min_rows is None or len(self.amounts) >= rule.min_rows
        as_announced = not rule.announced or (self.announced == len(self.amounts))
        if rule.announced and rule.totals:
            as_announced = as_announced and sum(self.amounts) == 2 * (self.announced or 0)
        end = {None: "", 0: "2026-01-02T00:00:00", 3600: "2026-01-02T01:00:00"}[rule.lateness_seconds]
        return enough and as_announced and self.watermark >= end and (not rule.upstream or self.upstream)

    def look(self) -> None:
        if self.completed_at and self.completed_at[-1] >= self.changed_at:
            return
        if self.holds() and (self.completed_at or self.rule.completes):
            self.completed_at.append(self.commits)


@given(RULES, STEPS)
def test_a_partition_is_complete_when_the_model_says_so(rule: CompletionRule, steps: list[tuple[str, int]]) -> None:
    model, state = Model(rule), PartitionState(VERSION, DAY)
    latest: Completion | None = None
    for what, number in steps:
        if what == "write":
            model.commits += 1
            number = max(number, -len(model.amounts))
            model.amounts = (
                model.amounts + [2] * number if number >= 0 else model.amounts[: len(model.amounts) + number]
            )
            if number:
                model.changed_at = model.commits
                state = state.changed(number, {"a": Decimal(2 * number)}, model.commits)
        elif what == "announce":
            model.announced = number
            state = replace(state, announced_rows=number, announced_totals={"a": str(2 * number)})
        elif what == "declare":
            model.completed_at.append(model.commits)
            latest = completed(latest, model.commits)
        elif what == "watermark":
            model.watermark = max(model.watermark, WATERMARKS[number])
        else:
            model.upstream = True
        missing = [] if model.upstream or not rule.upstream else [("x.y", DAY)]
        unmet = reasons(rule, CompletionUnit.DAY, state, model.watermark, missing)
        assert bool(unmet) != model.holds()
        model.look()
        if verdict(rule, state, latest, unmet) is Verdict.COMPLETE:
            latest = completed(latest, model.commits)
        assert (latest.revision if latest else 0) == len(model.completed_at)
        assert verdict(rule, state, latest, unmet) is not Verdict.COMPLETE, "looking again changes nothing"


def completed(latest: Completion | None, sequence: int) -> Completion:
    return Completion(VERSION, DAY, latest.revision + 1 if latest else 1, sequence, "x", NOW)


@given(RULES)
def test_a_rule_is_stored_as_what_it_says(rule: CompletionRule) -> None:
    assert CompletionRule.of_plain(rule.plain) == rule
    assert in_words(rule)


def test_nobody_is_told_numbers_who_may_not_read() -> None:
    rule = CompletionRule("day", min_rows=7, announced=True, totals=("a",), lateness_seconds=0)
    state = PartitionState(VERSION, DAY, 5, {"a": "5"}, announced_rows=6, announced_totals={"a": "6"})
    found = reasons(rule, CompletionUnit.DAY, state, "2026-01-01T05:00:00", [])
    assert {one.kind for one in found} == {
        Unmet.TOO_FEW_ROWS, Unmet.ANNOUNCED_ROWS, Unmet.ANNOUNCED_TOTALS, Unmet.WATERMARK
    }  # fmt: skip
    for one in found:
        assert any(character.isdigit() for character in one.text)
        assert not any(character.isdigit() for character in brief(one).text)
