"""What a metadata store must do with completions, their rules and the states of partitions, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.completion import Completion
from cordillera.spec.completion_rule import CompletionRule, PartitionState, RuleInForce
from cordillera.testing.metadata_samples import NOW, PRINCIPAL, later, stored_dataset


class CompletionSuite:
    """Completions, their rules and partition states."""

    def test_a_dataset_version_has_one_rule(self, store: MetadataStore) -> None:
        one, other = stored_dataset(store)[1].id, stored_dataset(store, "sales.other")[1].id
        rule = CompletionRule(
            "day", "Asia/Tokyo", 3, True, ("a", "b"), 60, {"x.y_v2": "same"}, ("mon",), ("2013-01-01",)
        )
        found = RuleInForce(one, rule, PRINCIPAL, NOW, "user:ben", 7, "2013-01-01T00:00:00", "Why")
        with store.write() as tx:
            assert tx.completion_rules.get(one) is None
            tx.completion_rules.put(found)
            tx.completion_rules.put(
                replace(found, dataset_version_id=other, rule=CompletionRule(upstream={"x.z": "same"}))
            )
            assert tx.completion_rules.get(one, lock=True) == found
            assert tx.completion_rules.following(["x.y", "x.none"]) == [(one, "x.y")]
            assert tx.completion_rules.following(["x.z"]) == [(other, "x.z")]
            tx.completion_rules.put(replace(found, rule=CompletionRule("day"), cursor_sequence=None))
            assert tx.completion_rules.following(["x.y"]) == []
        with store.write() as tx:
            assert tx.completion_rules.get(one) == replace(found, rule=CompletionRule("day"), cursor_sequence=None)
            assert tx.completion_rules.remove(one)
            assert not tx.completion_rules.remove(one)
            assert tx.completion_rules.get(one) is None

    def test_partition_states_are_kept_and_found(self, store: MetadataStore) -> None:
        version = stored_dataset(store)[1].id
        states = [PartitionState(version, label).changed(2, {"a": Decimal("1.50")}, 3) for label in ("p3", "p1", "p2")]
        states[2] = replace(states[2], announced_rows=9, announced_totals={"a": "2"}, due=False)
        with store.write() as tx:
            tx.completion_rules.put_states(states)
            tx.completion_rules.put_states([])
            assert tx.completion_rules.states(version, ["p1", "p2", "p9"]) == {"p1": states[1], "p2": states[2]}
            assert [one.partition for one in tx.completion_rules.due(version, 9)] == ["p1", "p3"]
            assert [one.partition for one in tx.completion_rules.due(version, 1)] == ["p1"]
            tx.completion_rules.put_states([replace(states[1], open=False, due=False)])
            assert [one.partition for one in tx.completion_rules.open_page(version, None, 9)] == ["p3", "p2"]
            assert [one.partition for one in tx.completion_rules.open_page(version, "p3", 9)] == ["p2"]
            tx.completion_rules.put_states([replace(one, due=False) for one in states[::2]])
            tx.completion_rules.make_due(version, "p1", "p3")
            assert [one.partition for one in tx.completion_rules.due(version, 9)] == ["p2"], "p1 is not open"
            tx.completion_rules.make_due(version)
            assert [one.partition for one in tx.completion_rules.due(version, 9)] == ["p2", "p3"]

    def test_what_was_announced_outlives_a_count(self, store: MetadataStore) -> None:
        version = stored_dataset(store)[1].id
        counted = PartitionState(version, "p1").changed(2, {"a": Decimal(1)}, 3)
        announced = replace(counted, partition="p2", announced_rows=9, open=False, due=False)
        with store.write() as tx:
            tx.completion_rules.put_states([counted, announced])
            tx.completion_rules.restart(version)
            left = tx.completion_rules.states(version, ["p1", "p2"])
        assert left == {"p2": PartitionState(version, "p2", announced_rows=9)}

    def test_every_revision_of_a_completion_is_kept(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        days = ["2026-03-12", "2026-03-13", "2026-03-14"]
        first = {day: Completion(version.id, day, 1, 1, PRINCIPAL, NOW) for day in days}
        again = Completion(version.id, days[1], 2, 7, "user:ben", later(5))
        with store.write() as tx:
            for completion in [*first.values(), again, Completion(other.id, days[0], 1, 1, PRINCIPAL, NOW)]:
                tx.completions.insert([completion])
            with pytest.raises(AlreadyExistsError, match="2026-03-13"):
                tx.completions.insert([replace(again, sequence_number=8)])
        with store.read() as tx:
            assert tx.completions.latest(version.id, days[1]) == again
            assert tx.completions.latest(version.id, "2026-03-15") is None
            assert tx.completions.history(version.id, days[1]) == [again, first[days[1]]]
            assert tx.completions.latest_of(version.id, [*days[:2], "never"]) == {
                days[0]: first[days[0]],
                days[1]: again,
            }
            assert tx.completions.latest_of(version.id, []) == {}
            assert tx.completions.page(version.id, None, 2) == [first[days[2]], again]
            assert tx.completions.page(version.id, days[1], 9) == [first[days[0]]]

    def test_labels_are_ordered_by_code_point(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        labels = ["Z", "a", "É", "_", "a b", "日本", "\N{GRINNING FACE}"]
        with store.write() as tx:
            for label in labels:
                tx.completions.insert([Completion(version.id, label, 1, 1, PRINCIPAL, NOW)])
            found = [completion.partition for completion in tx.completions.page(version.id, None, 9)]
        assert found == sorted(labels, reverse=True)

    def test_many_partitions_are_looked_up_at_once(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        labels = [f"{number:05}" for number in range(1200)]
        with store.write() as tx:
            tx.completions.insert([Completion(version.id, label, 1, 1, PRINCIPAL, NOW) for label in labels[::2]])
            again = [Completion(version.id, label, 1, 1, PRINCIPAL, NOW) for label in ("new", labels[2])]
            with pytest.raises(AlreadyExistsError, match=labels[2]):
                tx.completions.insert(again)
            assert sorted(tx.completions.latest_of(version.id, labels)) == labels[::2]
