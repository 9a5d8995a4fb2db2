from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.types import DateType, LongType, StringType, TimestamptzType

from cordillera.cli.main import app
from cordillera.spec.advice import LEAST_USES, LayoutAdvice, Proposal, ProposalKind, advise
from cordillera.spec.layout import ColumnFacts, Demand, LayoutFacts, MergeFacts
from cordillera.spec.maintenance import MaintenancePolicy, Strategy
from cordillera.spec.merge import WriteMode
from cordillera.spec.scan_statistics import ColumnUse

MB, GB = 2**20, 2**30
DAY = ColumnFacts("day", DateType(), span=730, overlap=1.0)
CUSTOMER = ColumnFacts("customer", LongType(), span=1e6, overlap=1.0)
REGION = ColumnFacts("region", StringType(), overlap=1.0, distinct=5)
SKU = ColumnFacts("sku", StringType(), overlap=1.0)
DAYS_ASKED = Demand("day", ColumnUse.RANGE, 40, 40, read=1.0, width=0.01)
CUSTOMERS_ASKED = Demand("customer", ColumnUse.EQUALITY, 40, 40)
REGIONS_ASKED = Demand("region", ColumnUse.EQUALITY, 40, 40)
SKUS_ASKED = Demand("sku", ColumnUse.EQUALITY, 40, 40)


def _facts(*demands: Demand, size: int = 12 * GB, **changes: object) -> LayoutFacts:
    facts = LayoutFacts(
        "sales.orders",
        columns={one.name: one for one in (DAY, CUSTOMER, REGION, SKU)},
        demands=demands,
        scans=50,
        files=size // (100 * MB),
        bytes=size,
        rows=size // 100,
    )
    return replace(facts, **changes)


def _only(advice: LayoutAdvice) -> Proposal:
    (proposal,) = advice.proposals
    assert not advice.note
    return proposal


def test_without_evidence_nothing_is_proposed() -> None:
    advice = advise(_facts(scans=3))
    assert advice.proposals == ()
    assert advice.note == (
        "There is no evidence to advise by: 3 scans and 0 merges in 30 days, of which fewer than 10 asked for any one "
        "column."
    )
    assert advise(_facts(replace(DAYS_ASKED, count=LEAST_USES - 1))).proposals == ()
    assert advise(LayoutFacts("sales.orders")).note == "The table is empty."


def test_ranges_of_time_lead_to_partitions_by_time() -> None:
    proposal = _only(advise(_facts(DAYS_ASKED)))
    assert proposal.kind is ProposalKind.PARTITION
    assert proposal.what == "Partition by month(day)."
    assert proposal.why == (
        "40 of 50 scans in 30 days asked for a range of day, which held 1.0% of the rows on the average, and read 100% "
        "of the files. Any one value lies within the bounds of 100% of the files."
    )
    assert proposal.effect == "Scans for a range of day would read about 5 of 96 files; now they read about 122 of 122."
    assert proposal.commands == (
        "cordillera dataset partition sales.orders 'month(day)'",
        "cordillera dataset compact sales.orders --rewrite-all",
    )
    assert (proposal.read_now, proposal.files_now, proposal.read_then, proposal.files_then) == (122, 122, 5, 96)


@pytest.mark.parametrize(
    ("size", "what"),
    [(400 * GB, "day(day)"), (12 * GB, "month(day)"), (1 * GB, "year(day)"), (MB * 300, None)],
)
def test_partitions_are_as_fine_as_volume_allows(size: int, what: str | None) -> None:
    proposals = advise(_facts(replace(DAYS_ASKED, width=0.001), size=size)).proposals
    found = [one.what for one in proposals if one.kind is ProposalKind.PARTITION]
    assert found == ([f"Partition by {what}."] if what else [])


def test_hours_split_timestamps_only() -> None:
    hour = 3600 * 1_000_000
    moment = ColumnFacts("at", TimestamptzType(), span=24 * hour, overlap=1.0)
    facts = _facts(replace(DAYS_ASKED, column="at"), columns={"at": moment})
    assert _only(advise(facts)).what == "Partition by hour(at)."


def test_a_further_partitioning_goes_behind_the_one_there_is() -> None:
    facts = _facts(DAYS_ASKED, partitioning=("region",))
    assert _only(advise(facts)).commands[0] == "cordillera dataset partition sales.orders region 'month(day)'"


@pytest.mark.parametrize("partitioning", ["day", "month(day)", "bucket(4, day)"])
def test_what_is_partitioned_by_a_column_is_not_partitioned_by_it_again(partitioning: str) -> None:
    kinds = [one.kind for one in advise(_facts(DAYS_ASKED, partitioning=(partitioning,))).proposals]
    assert ProposalKind.PARTITION not in kinds


def test_few_values_lead_to_partitions_by_value() -> None:
    proposal = _only(advise(_facts(REGIONS_ASKED)))
    assert (proposal.kind, proposal.what) == (ProposalKind.PARTITION, "Partition by region.")
    assert "would read about 19 of 96 files" in proposal.effect


def test_partitions_that_would_be_small_are_not_proposed() -> None:
    many = replace(REGION, distinct=500)
    assert _only(advise(_facts(REGIONS_ASKED, columns={"region": many}))).what == "Sort by region."


def test_many_values_lead_to_a_sort_order() -> None:
    proposal = _only(advise(_facts(CUSTOMERS_ASKED, size=3 * GB)))
    assert (proposal.kind, proposal.what) == (ProposalKind.SORT, "Sort by customer.")
    assert proposal.effect == (
        "Scans for single values of customer would read about 1 of 24 files; now they read about 30 of 30."
    )
    assert proposal.commands == (
        "cordillera dataset sort sales.orders customer",
        "cordillera dataset compact sales.orders --strategy sort",
    )


def test_the_order_that_a_table_has_needs_only_a_compaction() -> None:
    proposal = _only(advise(_facts(CUSTOMERS_ASKED, sort_order=("customer",))))
    assert proposal.commands == ("cordillera dataset compact sales.orders --strategy sort",)


def test_a_policy_that_keeps_another_order_gives_way() -> None:
    policy = MaintenancePolicy(strategy=Strategy.SORT, columns=("region",))
    proposal = _only(advise(_facts(CUSTOMERS_ASKED, policy=policy)))
    assert proposal.commands == (
        "cordillera dataset sort sales.orders customer",
        "cordillera dataset maintenance sales.orders --set strategy= --set columns=",
        "cordillera dataset compact sales.orders --strategy sort",
    )


def test_many_values_of_a_table_too_large_to_sort_lead_to_buckets() -> None:
    assert _only(advise(_facts(CUSTOMERS_ASKED, size=100 * GB))).what == "Partition by bucket(256, customer)."


def test_several_columns_asked_for_alone_lead_to_a_z_order() -> None:
    proposal = _only(advise(_facts(CUSTOMERS_ASKED, SKUS_ASKED, size=12 * GB)))
    assert (proposal.kind, proposal.what) == (ProposalKind.Z_ORDER, "Z-order by customer and sku.")
    assert proposal.commands[-1].endswith("--strategy z-order --columns customer,sku")


def test_columns_asked_for_together_lead_to_a_sort_order() -> None:
    together = [replace(one, alone=0) for one in (CUSTOMERS_ASKED, SKUS_ASKED)]
    assert _only(advise(_facts(*together, size=3 * GB))).kind is ProposalKind.SORT


def test_what_is_sorted_already_is_left() -> None:
    columns = {"customer": replace(CUSTOMER, overlap=0.01)}
    advice = advise(_facts(CUSTOMERS_ASKED, columns=columns))
    assert advice.proposals == ()
    assert advice.note.startswith("The layout serves what is asked of it: 50 scans and 0 merges")


def test_an_order_that_serves_others_is_not_given_up() -> None:
    """The files are in order of customers, whom most ask for; who asks for products reads all of them."""
    columns = {"customer": replace(CUSTOMER, overlap=0.05), "sku": SKU}
    rarely = replace(SKUS_ASKED, count=20, alone=20)
    assert advise(_facts(CUSTOMERS_ASKED, rarely, columns=columns, size=2 * GB)).proposals == ()


def test_ranges_of_unknown_width_propose_nothing() -> None:
    assert advise(_facts(replace(DAYS_ASKED, width=None))).proposals == ()


def test_merges_with_keys_that_lie_close_together_lead_to_the_order_of_the_key() -> None:
    by_merges = Demand("customer", ColumnUse.RANGE, 20, 20, read=0.9, width=0.01, by_merges=True)
    proposal = _only(advise(_facts(by_merges, size=3 * GB, scans=0, merges=MergeFacts(25, 1000, 27))))
    assert proposal.what == "Sort by customer."
    assert proposal.why == (
        "In 20 of 25 merges the keys lay close together: the values of customer spanned 1.0% of the rows, yet 90% of "
        "the files were touched. Any one value lies within the bounds of 100% of the files."
    )
    assert proposal.effect == "Merges would touch about 1 of 24 files; now they touch about 27 of 30."


def test_many_small_files_lead_to_compaction() -> None:
    proposal = _only(advise(LayoutFacts("sales.orders", files=100, bytes=100 * MB, rows=1000)))
    assert proposal.commands == ("cordillera dataset compact sales.orders",)
    assert proposal.why == "100 files hold 100 MiB, 1.0 MiB each; the aim is 128 MiB."
    assert proposal.effect == "About 1 file would be left, so that scans open fewer."
    idle = LayoutFacts("x.y", files=100, bytes=100 * MB, rows=1000, policy=MaintenancePolicy(enabled=False))
    assert _only(advise(idle)).commands[1] == "cordillera dataset maintenance x.y --set enabled=true"
    assert advise(LayoutFacts("x.y", files=100, partitions=90, bytes=100 * MB, rows=1000)).proposals == ()


def test_very_many_files_lead_to_larger_ones() -> None:
    proposal = _only(advise(_facts(size=400 * GB, files=3200)))
    assert (proposal.kind, proposal.what) == (ProposalKind.TARGET_FILE_SIZE, "Aim at files of 256 MiB.")
    assert proposal.commands[0] == "cordillera dataset maintenance sales.orders --set target-file-size=268435456"


def test_scattered_merges_that_rewrite_files_lead_to_merge_on_read() -> None:
    scattered = MergeFacts(20, rows=50, files_touched=40, rewritten=4 * GB)
    facts = _facts(merges=scattered, write_mode=WriteMode.COPY_ON_WRITE)
    proposal = _only(advise(facts))
    assert proposal.kind is ProposalKind.WRITE_MODE
    assert proposal.commands == ("cordillera dataset write-mode sales.orders merge-on-read",)
    assert advise(replace(facts, format_version=2)).proposals == ()
    assert advise(replace(facts, write_mode=WriteMode.AUTO)).proposals == ()
    assert advise(replace(facts, merges=replace(scattered, rows=1e9))).proposals == ()


def test_single_values_that_lie_scattered_lead_to_bloom_filters() -> None:
    sku = replace(SKU, can_be_filtered=True)
    sorted_by_day = replace(DAYS_ASKED, read=0.01, count=400, alone=400)
    facts = _facts(
        sorted_by_day, SKUS_ASKED, sort_order=("day",), columns={"day": replace(DAY, overlap=0.01), "sku": sku}
    )
    proposal = _only(advise(facts))
    assert (proposal.kind, proposal.what) == (ProposalKind.BLOOM_FILTER, "Have Bloom filters of sku.")
    assert "read rows of about 1 file, and filters of the others; now they read about 122 of 122" in proposal.effect
    assert proposal.commands == (
        "cordillera dataset bloom-filters sales.orders sku",
        "cordillera dataset compact sales.orders --rewrite-all",
    )
    another = advise(replace(facts, bloom_filters=("id",))).proposals[0]
    assert another.commands[0] == "cordillera dataset bloom-filters sales.orders id sku"
    assert advise(replace(facts, bloom_filters=("sku",))).proposals == ()
    few = replace(facts, demands=(sorted_by_day, replace(SKUS_ASKED, count=LEAST_USES - 1)))
    assert advise(few).proposals == ()


# --- whatever the facts --------------------------------------------------------------------------------------------

shares = st.floats(0, 1)
columns = st.builds(
    ColumnFacts,
    st.sampled_from(["a", "the day", "x,y", "q'"]),
    st.sampled_from([DateType(), LongType(), StringType(), TimestamptzType()]),
    st.none() | st.floats(0, 1e15),
    st.none() | shares,
    st.none() | st.integers(1, 10_000),
    st.booleans(),
)


@st.composite
def layouts(draw: st.DrawFn) -> LayoutFacts:
    known = {one.name: one for one in draw(st.lists(columns, max_size=4))}
    demands = []
    for name in known:
        for use in (ColumnUse.EQUALITY, ColumnUse.RANGE):
            count = draw(st.integers(0, 100))
            if count:
                width = draw(st.none() | shares)
                values = draw(st.floats(1, 50))
                demands.append(
                    Demand(
                        name, use, count, draw(st.integers(0, count)), draw(shares), width, values, draw(st.booleans())
                    )
                )
    size = draw(st.integers(0, 10**13))
    return LayoutFacts(
        "sales.orders",
        known,
        tuple(demands),
        draw(st.builds(MergeFacts, st.integers(0, 100), *[st.floats(0, 1e9)] * 4)),
        scans=draw(st.integers(0, 1000)),
        partitioning=draw(st.sampled_from([(), ("a",), ("bucket(4, a)", "month(the day)")])),
        partitions=draw(st.integers(1, 100)),
        files=draw(st.integers(1, 20_000)) if size else 0,
        bytes=size,
        rows=size // 100,
        policy=MaintenancePolicy(target_file_size=draw(st.integers(1, 2**30))),
        write_mode=draw(st.sampled_from(WriteMode)),
        format_version=draw(st.sampled_from([2, 3])),
    )


@given(layouts())
def test_a_proposal_says_why_and_how_and_brings_something(facts: LayoutFacts) -> None:
    advice = advise(facts)
    assert bool(advice.proposals) != bool(advice.note)
    assert len({one.kind for one in advice.proposals}) == len(advice.proposals)
    for one in advice.proposals:
        assert all((one.what, one.why, one.effect, one.commands))
        assert all(shlex.split(command)[:2] == ["cordillera", "dataset"] for command in one.commands)
        if one.kind in (ProposalKind.PARTITION, ProposalKind.SORT, ProposalKind.Z_ORDER, ProposalKind.BLOOM_FILTER):
            assert 0 < one.read_then <= one.files_then
            assert one.read_then <= one.read_now / 2 + 1


@given(layouts())
def test_no_partition_is_smaller_than_a_file(facts: LayoutFacts) -> None:
    for one in advise(facts).proposals:
        if one.kind is ProposalKind.PARTITION and "bucket" not in one.what:
            term = shlex.split(one.commands[0])[-1]
            column = facts.columns[term.split("(")[-1].rstrip(")")]
            partitions = column.partitions_by(term.split("(")[0]) if "(" in term else column.distinct
            assert partitions is not None
            assert facts.bytes / partitions >= facts.target_file_size


@given(layouts())
def test_nothing_is_laid_out_for_what_is_hardly_asked_for(facts: LayoutFacts) -> None:
    rare = replace(facts, demands=tuple(replace(one, count=min(one.count, LEAST_USES - 1)) for one in facts.demands))
    laid_out = {ProposalKind.PARTITION, ProposalKind.SORT, ProposalKind.Z_ORDER, ProposalKind.BLOOM_FILTER}
    assert not laid_out & {one.kind for one in advise(rare).proposals}


def test_commands_that_are_proposed_exist() -> None:
    from typer.main import get_command

    dataset = get_command(app).commands["dataset"].commands
    assert {"partition", "sort", "compact", "maintenance", "write-mode", "bloom-filters"} <= set(dataset)
