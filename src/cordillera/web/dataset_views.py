"""What the tabs of a dataset page show, made from what the lake knows. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cordillera.client.backend import DatasetDetails
from cordillera.spec.contract import Contract
from cordillera.spec.counting import counted
from cordillera.spec.lineage import LineageGraph, Node, NodeKind
from cordillera.spec.sql import quote
from cordillera.spec.subscription import SubscriptionStatus
from cordillera.web.formatting import duration, number
from cordillera.web.lineage_graph import distances, node_href

_PLAIN_COLUMN = re.compile(r"[a-z_][a-z0-9_]*")
_COLUMNS_IN_SNIPPET = 3


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """A column with everything said about it. ``marks`` are key, sequence and partition."""

    name: str
    type: str
    required: bool
    doc: str
    marks: tuple[str, ...]
    classification: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule of a contract: what it is on, what it checks, what breaking it leads to, what checking grows with."""

    name: str
    column: str
    check: str
    severity: str
    description: str
    cost: str


@dataclass(frozen=True, slots=True)
class Snippet:
    """Code to copy."""

    label: str
    code: str


@dataclass(frozen=True, slots=True)
class Affected:
    """Something that a change of the dataset would reach. ``steps`` counts the edges in between."""

    node: Node
    href: str
    steps: int


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The columns behind an edge of the lineage graph."""

    source: Node
    sink: Node
    columns: tuple[tuple[str, tuple[str, ...]], ...]


def column_rows(details: DatasetDetails, contract: Contract | None) -> tuple[ColumnRow, ...]:
    """Return the columns with their marks; where the dataset has no documentation, the contract's is shown."""
    promised = contract.columns_by_name() if contract else {}
    rows = []
    for column in details.columns:
        described = promised.get(column.name)
        rows.append(
            ColumnRow(
                name=column.name,
                type=column.type,
                required=column.required,
                doc=column.doc or (described.description if described else ""),
                marks=_marks(details, column.name),
                classification=described.classification if described else "",
            )
        )
    return tuple(rows)


def _marks(details: DatasetDetails, column: str) -> tuple[str, ...]:
    version = details.version
    partitioned = any(
        column == term or f"({column})" in term or f", {column})" in term for term in version.partitioning
    )
    marks = {"key": column in version.key, "sequence": column == version.sequence_column, "partition": partitioned}
    return tuple(mark for mark, holds in marks.items() if holds)


def rule_rows(contract: Contract, costs: Mapping[str, str]) -> tuple[RuleRow, ...]:
    """Return the rules that are checked."""
    rows = [
        RuleRow(rule.name, rule.column or "", rule.predicate_sql, rule.severity, rule.description, costs[rule.name])
        for rule in contract.row_rules
    ]
    rows += [
        RuleRow(
            rule.name,
            rule.column or "",
            f"{rule.value_sql} {', '.join(map(str, rule.comparisons))}",
            rule.severity,
            rule.description,
            costs[rule.name],
        )
        for rule in contract.aggregate_rules
    ]
    return tuple(rows)


def snippets(name: str, details: DatasetDetails, base_url: str) -> tuple[Snippet, ...]:
    """Return how to use a dataset from Python, SQL and the command line."""
    names = [column.name for column in details.columns[:_COLUMNS_IN_SNIPPET]]
    columns = ", ".join(column if _PLAIN_COLUMN.fullmatch(column) else quote(column) for column in names) or "*"
    listed = ", ".join(map(repr, names))
    variable = details.dataset.name
    python = (
        f"import cordillera\n\n"
        f'lake = cordillera.connect("{base_url}")  # token from CORDILLERA_TOKEN\n'
        f'{variable} = lake.dataset("{name}")\n'
        f"frame = {variable}.scan(columns=[{listed}]).limit(1000).to_polars()"
    )
    sql = f"SELECT {columns}\nFROM {name}\nLIMIT 1000"
    cli = (
        f"export CORDILLERA_URL={base_url}  # and CORDILLERA_TOKEN\n"
        f"cordillera dataset show {name}\n"
        f"cordillera dataset read {name} --limit 10\n"
        f"cordillera subscription create {details.dataset.full_name} TARGET --purpose 'WHAT FOR'"
    )
    return (Snippet("Python", python), Snippet("SQL", sql), Snippet("Command line", cli))


def lag(status: SubscriptionStatus, now: datetime) -> str:
    """Return how far a target has followed: ``snapshot 812 of 815, 4 min behind``."""
    cursor, latest = status.subscription.cursor_sequence, status.latest_sequence
    if cursor is None:
        return f"nothing delivered of {counted(latest, 'snapshot')}"
    behind = "in step"
    if not status.in_step:
        since = status.behind_since
        behind = f"{duration(now - since)} behind" if since else f"{number(status.snapshots_behind)} behind"
    return f"snapshot {number(cursor)} of {number(latest)}, {behind}"


def affected(graph: LineageGraph, most: int) -> tuple[Affected, ...]:
    """Return what is downstream, nearest first."""
    steps = distances(graph)
    found = sorted((count, node) for node, count in steps.items() if count > 0)
    return tuple(Affected(node, node_href(node), count) for count, node in found[:most])


def neighbourhood(graph: LineageGraph, edge: str) -> Neighbourhood | None:
    """Return the columns of the edge that a URL names, if the graph has it."""
    for found in graph.edges:
        if f"{found.source}>{found.sink}" == edge:
            return Neighbourhood(found.source, found.sink, found.columns)
    return None


def parse_node(text: str) -> Node | None:
    """Read a node from a URL; None if it is none."""
    kind, _, name = text.partition(":")
    known = {one.value for one in NodeKind}
    return Node(NodeKind(kind), name) if kind in known and name else None


def split_tags(text: str) -> list[str]:
    """Return the tags of a form field, separated by commas or spaces."""
    return [tag for tag in re.split(r"[,\s]+", text) if tag]


def owned(nodes: Sequence[Affected], owners: dict[Node, str]) -> tuple[tuple[Affected, str], ...]:
    """Return each node with its owner, where that is known."""
    return tuple((one, owners.get(one.node, "")) for one in nodes)
