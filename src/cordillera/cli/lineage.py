"""``cordillera lineage``: what data is made from, and what is made from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.output import View, printable, show, show_list
from cordillera.cli.session import OutputFormat, current_session, open_lake
from cordillera.cli.terminal import announce, print_rich
from cordillera.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.tree import Tree

    from cordillera.client.backend import LakeBackend
    from cordillera.spec.lineage import LineageGraph, Node

app = typer.Typer(name="lineage", no_args_is_help=True, help="What data is made from, and what is made from it.")
_Node = Annotated[
    str, typer.Argument(metavar="NODE", help="A dataset, job:namespace.name or target:NAME:TABLE.", show_default=False)
]
_EDGES: View = {"source": "source", "sink": "sink", "columns": lambda edge: [column for column, _ in edge.columns]}
_IMPACT: View = {"distance": "distance", "kind": "kind", "name": "name", "owner": "owner"}
_FARTHEST = 10


@dataclass(frozen=True, slots=True)
class _Affected:
    """Something that is made from a dataset, directly or through others."""

    distance: int
    kind: str
    name: str
    owner: str


@command(app, "show", example="cordillera lineage show sales.orders --downstream 3")
def show_lineage(
    node: _Node,
    upstream: Annotated[int, typer.Option("--upstream", min=0, max=_FARTHEST, help="Datasets away to look up.")] = 1,
    downstream: Annotated[
        int, typer.Option("--downstream", min=0, max=_FARTHEST, help="Datasets away to look down.")
    ] = 1,
) -> None:
    """Show what flows into a dataset, job or target, and what flows out of it, as trees."""
    with open_lake() as lake:
        graph = lake.backend.lineage(_node(lake.backend, node), upstream=upstream, downstream=downstream)
    match current_session().output:
        case OutputFormat.JSON:
            show(graph, {})
        case OutputFormat.CSV:
            show_list(graph.edges, _EDGES, none=f"Nothing flows into or out of {node}.")
        case OutputFormat.TABLE:
            print_rich(_tree(graph, up=True))
            print_rich(_tree(graph, up=False))


@command(app, "impact", example="cordillera lineage impact sales.orders --output csv > impact.csv")
def impact(node: _Node) -> None:
    """List everything that is made from a dataset, nearest first, with owners: whom a change concerns."""
    with open_lake() as lake:
        graph = lake.backend.lineage(_node(lake.backend, node), upstream=0, downstream=_FARTHEST)
        show_list(_affected(lake.backend, graph), _IMPACT, none=f"Nothing is known to be made from {node}.")
    beyond = sum(count for _, count in graph.more)
    if beyond:
        announce(f"{beyond:,} more are not listed; look at them with: cordillera lineage impact, from a later node.")


def _node(lake: LakeBackend, text: str) -> Node:
    """Return the node that a name means; a dataset has to exist, so that a typing error does not look like silence."""
    from cordillera.spec.lineage import Node, NodeKind

    kind, separator, name = text.partition(":")
    if not separator:
        return Node(NodeKind.DATASET, lake.dataset(text).dataset.full_name)
    if kind not in set(NodeKind) or not name:
        raise InvalidInputError(
            f"{text!r} is no node of the lineage graph.",
            hint=f"Write a dataset, or one of: {', '.join(NodeKind)}:NAME.",
        )
    if kind == NodeKind.JOB:
        lake.job(name)
    elif kind == NodeKind.TARGET:
        lake.target(name.split(":")[0])
    else:
        return _node(lake, name)
    return Node(NodeKind(kind), name)


def _neighbours(graph: LineageGraph, node: Node, *, up: bool) -> list[Node]:
    if up:
        return [edge.source for edge in graph.edges if edge.sink == node]
    return [edge.sink for edge in graph.edges if edge.source == node]


def _tree(graph: LineageGraph, *, up: bool) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    more = dict(graph.more)
    tree = Tree(Text(f"{printable(str(graph.focus))} {'is made from' if up else 'goes into'}", style="bold"))
    pending, shown = [(tree, graph.focus)], {graph.focus}
    while pending:
        branch, node = pending.pop()
        for neighbour in _neighbours(graph, node, up=up):
            again = neighbour in shown
            beyond = f"  (+{more[neighbour]:,} more)" if neighbour in more and not again else ""
            twig = branch.add(Text(printable(str(neighbour)) + ("  (see above)" if again else beyond)))
            if not again:
                shown.add(neighbour)
                pending.append((twig, neighbour))
    return tree


def _affected(lake: LakeBackend, graph: LineageGraph) -> Iterator[_Affected]:
    level, seen, distance = [graph.focus], {graph.focus}, 0
    while level:
        distance += 1
        level = sorted({sink for node in level for sink in _neighbours(graph, node, up=False)} - seen)
        seen.update(level)
        for node in level:
            yield _Affected(distance, node.kind.value, node.name, _owner(lake, node))


def _owner(lake: LakeBackend, node: Node) -> str:
    match node.kind:
        case "dataset":
            return lake.dataset(node.name).dataset.owner
        case "job":
            return lake.job(node.name).owner
        case _:
            return lake.target(node.name.split(":")[0]).owner
