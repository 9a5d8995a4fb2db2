"""Advice about the layout of a table: from what is asked of it to what would make that cheaper. Rules only.

A proposal stands on figures, names what it would bring, and comes with the commands that do it. Where too little has
been asked of a table, or a better layout would gain little, there is none.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from math import log2

from cordillera.spec.counting import counted
from cordillera.spec.layout import ColumnFacts, Demand, LayoutFacts
from cordillera.spec.maintenance import Strategy
from cordillera.spec.merge import WriteMode
from cordillera.spec.scan_statistics import ColumnUse

LEAST_USES = 10
"""So often a column has to be asked for before it counts."""
_WORTH_IT = 0.5
"""A layout is worth the work if what it is made for then reads at most this part of what it reads now."""
_FEW_FILES = 4
"""So many files a scan has to be spared; a table that needs no more has nothing to pass over."""
_MOST_FILES = 2_000
_LARGEST_TARGET = 512 * 1024 * 1024
_SEVERAL_RUNS = 4
_SCATTERED = 0.01
"""A merge is scattered if it changes a smaller share than this of the rows in the files that it touches."""
_LEAST_REWRITTEN = 32 * 1024 * 1024


class ProposalKind(StrEnum):
    """What a proposal is about."""

    PARTITION = "partition"
    SORT = "sort"
    Z_ORDER = "z-order"
    BLOOM_FILTER = "bloom-filter"
    WRITE_MODE = "write-mode"
    TARGET_FILE_SIZE = "target-file-size"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of a table's layout that would pay.

    Attributes:
        kind: What it is about.
        what: What to do, in a few words.
        why: The figures it stands on.
        effect: What it would bring.
        commands: How to do it.
        read_now, files_now: How many files the scans or merges it is made for read, of how many.
        read_then, files_then: The same once it has been followed, as an estimate; 0 where it is about something else.
    """

    kind: ProposalKind
    what: str
    why: str
    effect: str
    commands: tuple[str, ...]
    read_now: int = 0
    files_now: int = 0
    read_then: int = 0
    files_then: int = 0


@dataclass(frozen=True, slots=True)
class LayoutAdvice:
    """What could be done about a dataset's layout.

    Attributes:
        dataset: The dataset version it is about.
        proposals: What to do, the most useful first.
        note: What there is to say besides; why nothing is proposed.
        days: Over how many days was counted.
        scans, merges: How many there were.
        files, bytes, rows: The table.
    """

    dataset: str
    proposals: tuple[Proposal, ...]
    note: str
    days: int
    scans: int
    merges: int
    files: int
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Option:
    """A layout that might be proposed.

    Attributes:
        what: A term, or columns.
        kind: What would be done.
        columns: The columns it is made for.
        files: How many files there would be.
        then: Which demands it serves, and the share of the files that they would read.
    """

    what: str
    kind: ProposalKind
    columns: tuple[str, ...]
    files: int
    then: tuple[tuple[Demand, float], ...]

    def gain(self, facts: LayoutFacts) -> float:
        """Return how many whole tables the scans and merges together would read less.

        Another order of the rows spoils what the present one does for other columns; partitions leave it.
        """
        gain = sum((facts.read_now(one) - read) * one.weight for one, read in self.then)
        if self.kind is not ProposalKind.PARTITION:
            served = [one for one, _ in self.then]
            gain -= sum((1 - facts.read_now(one)) * one.weight for one in facts.demands if one not in served)
        return gain

    @property
    def main(self) -> tuple[Demand, float]:
        """Return the demand that counts most, and what it would read."""
        return max(self.then, key=lambda pair: pair[0].weight)


def advise(facts: LayoutFacts) -> LayoutAdvice:
    """Return what could be done about a table's layout."""
    proposals = tuple(_proposals(facts))
    return LayoutAdvice(
        facts.dataset,
        proposals,
        "" if proposals else _why_nothing(facts),
        facts.days,
        facts.scans,
        facts.merges.count,
        facts.files,
        facts.bytes,
        facts.rows,
    )


def _proposals(facts: LayoutFacts) -> Iterator[Proposal]:
    partitioned = _best(facts, [*_by_time(facts), *_by_value(facts)])
    if partitioned is not None:
        yield _partition(facts, partitioned)
    served = {partitioned.columns[0]} if partitioned else set()
    ordered = _best(facts, [one for one in _orders(facts) if not served.intersection(one.columns)])
    if ordered is not None:
        yield (_sort if ordered.kind is ProposalKind.SORT else _z_order)(facts, ordered)
    served.update(ordered.columns if ordered else ())
    yield from _filters(facts, served)
    if partitioned is None and ordered is None:
        yield from _compact(facts)
    yield from _larger_files(facts)
    yield from _mark_rows(facts)


def _why_nothing(facts: LayoutFacts) -> str:
    used = [one for one in facts.demands if one.count >= LEAST_USES]
    asked = f"{counted(facts.scans, 'scan')} and {counted(facts.merges.count, 'merge')} in {counted(facts.days, 'day')}"
    if not facts.files:
        return "The table is empty."
    if not used:
        return f"There is no evidence to advise by: {asked}, of which fewer than {LEAST_USES} asked for any one column."
    if facts.files_needed <= _FEW_FILES:
        return (
            f"The table needs only {counted(facts.files_needed, 'file')}: whatever its layout, there is little to pass "
            "over."
        )
    return f"The layout serves what is asked of it: {asked}; no other would spare them half of what they read."


# --- options --------------------------------------------------------------------------------------------------------


def _best(facts: LayoutFacts, options: Sequence[_Option]) -> _Option | None:
    """Return the option that spares most, if it is worth the work."""
    worth = [one for one in options if _is_worth_it(facts, one)]
    return max(worth, key=lambda one: one.gain(facts), default=None)


def _is_worth_it(facts: LayoutFacts, option: _Option) -> bool:
    demand, read = option.main
    now = facts.read_now(demand)
    less = read <= _WORTH_IT * now and read * option.files <= _WORTH_IT * now * facts.files
    return less and (now - read) * option.files >= _FEW_FILES and option.gain(facts) > 0


def _demands(facts: LayoutFacts, column: str) -> list[Demand]:
    return [one for one in facts.demands if one.column == column and one.count >= LEAST_USES]


def _by_time(facts: LayoutFacts) -> Iterator[_Option]:
    """Partitions by time: the finest unit whose partitions are large enough."""
    for name, column in facts.columns.items():
        if _is_partitioned_by(facts, name):
            continue
        for unit in column.units:
            partitions = column.partitions_by(unit)
            if partitions < 2 or facts.bytes / partitions < facts.target_file_size:
                continue
            yield from _partitions(facts, f"{unit}({name})", _demands(facts, name), partitions)
            break


def _by_value(facts: LayoutFacts) -> Iterator[_Option]:
    """Partitions by value where these are few, by hash where a table is too large to be sorted as a whole."""
    for name, column in facts.columns.items():
        if _is_partitioned_by(facts, name) or column.units:
            continue
        if column.distinct is not None:
            if column.distinct > 1 and facts.bytes / column.distinct >= facts.target_file_size:
                yield from _partitions(facts, name, _demands(facts, name), column.distinct)
        elif facts.sorted_runs >= _SEVERAL_RUNS and not facts.partitioning:
            buckets = 2 ** min(int(log2(facts.files_when_compacted)), 8)
            equal = [one for one in _demands(facts, name) if one.use is ColumnUse.EQUALITY]
            yield from _partitions(facts, f"bucket({buckets}, {name})", equal, buckets)


def _partitions(facts: LayoutFacts, term: str, demands: Sequence[Demand], partitions: float) -> Iterator[_Option]:
    then = tuple((one, facts.read_partitioned(one, partitions)) for one in demands)
    if then:
        files = max(facts.files_when_compacted, round(partitions))
        yield _Option(term, ProposalKind.PARTITION, (demands[0].column,), files, then)


def _is_partitioned_by(facts: LayoutFacts, name: str) -> bool:
    return any(term == name or term.endswith((f"({name})", f", {name})")) for term in facts.partitioning)


def _orders(facts: LayoutFacts) -> Iterator[_Option]:
    """Sort orders by each column, and z-orders by two or three of which each is asked for alone."""
    asked, files = {one.column for one in facts.demands if one.count >= LEAST_USES}, facts.files_when_compacted
    for name in sorted(asked):
        then = tuple((one, facts.read_sorted(one)) for one in _demands(facts, name))
        yield _Option(name, ProposalKind.SORT, (name,), files, then)
    alone = sorted(asked, key=lambda name: (-sum(one.alone for one in _demands(facts, name)), name))[:4]
    total = sum(one.alone for name in alone for one in _demands(facts, name))
    alone = [name for name in alone if 5 * sum(one.alone for one in _demands(facts, name)) >= total > 0]
    for number in (2, 3):
        for names in combinations(alone, number):
            then = tuple((one, facts.read_z_ordered(one, number)) for name in names for one in _demands(facts, name))
            yield _Option(", ".join(names), ProposalKind.Z_ORDER, names, files, then)


# --- proposals ------------------------------------------------------------------------------------------------------


def _partition(facts: LayoutFacts, option: _Option) -> Proposal:
    terms = [*facts.partitioning, option.what]
    command = f"cordillera dataset partition {_quoted(facts.dataset)} {' '.join(map(_quoted, terms))}"
    rewrite = f"cordillera dataset compact {_quoted(facts.dataset)} --rewrite-all"
    return _proposal(facts, option, f"Partition by {option.what}.", (command, rewrite))


def _sort(facts: LayoutFacts, option: _Option) -> Proposal:
    name, policy = _quoted(facts.dataset), facts.policy
    commands = [f"cordillera dataset compact {name} --strategy sort"]
    if policy.columns and policy.columns != option.columns:
        commands.insert(0, f"cordillera dataset maintenance {name} --set strategy= --set columns=")
    if facts.sort_order != option.columns:
        commands.insert(0, f"cordillera dataset sort {name} {' '.join(map(_quoted, option.columns))}")
    return _proposal(facts, option, f"Sort by {' and '.join(option.columns)}.", tuple(commands))


def _z_order(facts: LayoutFacts, option: _Option) -> Proposal:
    columns = ",".join(name if "," not in name and '"' not in name else _csv(name) for name in option.columns)
    name, chosen = _quoted(facts.dataset), _quoted(columns)
    commands = [f"cordillera dataset compact {name} --strategy z-order --columns {chosen}"]
    wanted = (Strategy.Z_ORDER, option.columns)
    if (facts.policy.strategy, facts.policy.columns) != wanted and "," not in "".join(option.columns):
        policy = f"--set strategy=z-order --set {_quoted(f'columns={columns}')}"
        commands.insert(0, f"cordillera dataset maintenance {name} {policy}")
    return _proposal(facts, option, f"Z-order by {' and '.join(option.columns)}.", tuple(commands))


def _proposal(facts: LayoutFacts, option: _Option, what: str, commands: tuple[str, ...]) -> Proposal:
    """Put into words what an option is proposed for, and what it would bring."""
    total, (main, read) = option.files, option.main
    now, then = round(facts.read_now(main) * facts.files), max(round(read * total), 1)
    effects = (
        f"{_subject(one)} would {_verb(one)} about {max(round(share * total), 1):,} of {counted(total, 'file')}; "
        f"now they {_verb(one)} about {round(facts.read_now(one) * facts.files):,} of {facts.files:,}."
        for one, share in sorted(option.then, key=lambda pair: -pair[0].weight)
        if share < facts.read_now(one)
    )
    why = " ".join(_why(facts, one) for one, _ in option.then)
    return Proposal(option.kind, what, why, " ".join(effects), commands, now, facts.files, then, total)


def _subject(demand: Demand) -> str:
    """Name the scans or merges of a demand."""
    if demand.by_merges:
        return "Merges"
    if demand.use is ColumnUse.RANGE:
        return f"Scans for a range of {demand.column}"
    return f"Scans for single values of {demand.column}"


def _verb(demand: Demand) -> str:
    return "touch" if demand.by_merges else "read"


def _why(facts: LayoutFacts, demand: Demand) -> str:
    overlap = facts.columns[demand.column].overlap
    spread = "" if overlap is None else f" Any one value lies within the bounds of {overlap:.0%} of the files."
    if demand.by_merges:
        return (
            f"In {demand.count:,} of {counted(facts.merges.count, 'merge')} the keys lay close together: the values of "
            f"{demand.column} spanned {demand.width or 0.0:.1%} of the rows, yet {demand.read:.0%} of the files were "
            f"touched.{spread}"
        )
    among = f"{demand.count:,} of {counted(facts.scans, 'scan')} in {counted(facts.days, 'day')}"
    if demand.use is ColumnUse.RANGE:
        held = "" if demand.width is None else f", which held {demand.width:.1%} of the rows on the average"
        return f"{among} asked for a range of {demand.column}{held}, and read {demand.read:.0%} of the files.{spread}"
    values = counted(round(demand.values), "value")
    return f"{among} asked for {values} of {demand.column}, and read {demand.read:.0%} of the files.{spread}"


def _filters(facts: LayoutFacts, served: Collection[str]) -> Iterator[Proposal]:
    """Propose Bloom filters where single values are asked for that are many, and lie scattered whatever the layout."""
    found = {}
    for name, column in facts.columns.items():
        asked = [one for one in _demands(facts, name) if one.use is ColumnUse.EQUALITY and not one.by_merges]
        if asked and name not in served and column.distinct is None and column.can_be_filtered:
            now, then = facts.read_now(asked[0]) * facts.files, max(asked[0].values, 1.0)
            if name not in facts.bloom_filters and then <= _WORTH_IT * now and now - then >= _FEW_FILES:
                found[name] = asked[0], round(now), round(then)
    if not found:
        return
    dataset, columns = _quoted(facts.dataset), sorted({*facts.bloom_filters, *found})
    main, now, then = max(found.values(), key=lambda one: one[0].weight)
    yield Proposal(
        ProposalKind.BLOOM_FILTER,
        f"Have Bloom filters of {' and '.join(found)}.",
        " ".join(_why(facts, demand) for demand, _, _ in found.values()),
        f"Scans for single values of {main.column} would read rows of about {counted(then, 'file')}, and filters of "
        f"the others; now they read about {now:,} of {facts.files:,}.",
        (
            f"cordillera dataset bloom-filters {dataset} {' '.join(map(_quoted, columns))}",
            f"cordillera dataset compact {dataset} --rewrite-all",
        ),
        now,
        facts.files,
        then,
        facts.files,
    )


def _compact(facts: LayoutFacts) -> Iterator[Proposal]:
    needed = facts.files_needed
    if facts.files - needed < facts.policy.small_files:
        return
    commands = [f"cordillera dataset compact {_quoted(facts.dataset)}"]
    if not facts.policy.enabled:
        commands.append(f"cordillera dataset maintenance {_quoted(facts.dataset)} --set enabled=true")
    yield Proposal(
        ProposalKind.COMPACT,
        "Compact small files.",
        f"{counted(facts.files, 'file')} hold {_size(facts.bytes)}, {_size(facts.bytes // facts.files)} each; the aim "
        f"is {_size(facts.target_file_size)}."
        + ("" if facts.policy.enabled else " Workers leave the dataset alone: maintenance is switched off."),
        f"About {counted(needed, 'file')} would be left, so that scans open fewer.",
        tuple(commands),
        files_now=facts.files,
        files_then=needed,
    )


def _larger_files(facts: LayoutFacts) -> Iterator[Proposal]:
    """Propose larger files where a table has so many that planning alone takes its time."""
    target, size = facts.target_file_size, facts.target_file_size
    while facts.bytes / size > _MOST_FILES and size < _LARGEST_TARGET:
        size *= 2
    size = min(size, _LARGEST_TARGET)
    if size <= target:
        return
    name, left = _quoted(facts.dataset), max(facts.bytes // size, 1)
    yield Proposal(
        ProposalKind.TARGET_FILE_SIZE,
        f"Aim at files of {_size(size)}.",
        f"{_size(facts.bytes)} in files of {_size(target)} are {counted(facts.files_when_compacted, 'file')}, "
        "each of which every scan has to consider.",
        f"About {counted(left, 'file')} would be left.",
        (
            f"cordillera dataset maintenance {name} --set target-file-size={size}",
            f"cordillera dataset compact {name}",
        ),
        files_now=facts.files,
        files_then=left,
    )


def _mark_rows(facts: LayoutFacts) -> Iterator[Proposal]:
    """Propose merge-on-read where merges rewrite much for little."""
    merges = facts.merges
    if facts.write_mode is not WriteMode.COPY_ON_WRITE or facts.format_version < 3 or merges.count < LEAST_USES:
        return
    rows = merges.files_touched * facts.rows / max(facts.files, 1)
    if merges.rewritten < _LEAST_REWRITTEN or merges.rows > _SCATTERED * rows:
        return
    yield Proposal(
        ProposalKind.WRITE_MODE,
        f"Write {WriteMode.MERGE_ON_READ}.",
        f"{counted(merges.count, 'merge')} changed {merges.rows:,.0f} rows on the average, and rewrote "
        f"{merges.files_touched:,.0f} files of {_size(merges.rewritten)} for that.",
        "A merge would write its rows and mark those they replace; compaction removes these later.",
        (f"cordillera dataset write-mode {_quoted(facts.dataset)} {WriteMode.MERGE_ON_READ}",),
    )


# --- words ----------------------------------------------------------------------------------------------------------


_quoted: Callable[[str], str] = shlex.quote


def _csv(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _size(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


__all__ = ["LEAST_USES", "ColumnFacts", "LayoutAdvice", "Proposal", "ProposalKind", "advise"]
