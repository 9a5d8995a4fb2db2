"""``cordillera dataset evolve`` and what lays rows out: ``partition``, ``sort``, ``write-mode``, ``bloom-filters``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.dataset import app
from cordillera.cli.dataset_rows import OUTCOME
from cordillera.cli.options import DatasetName
from cordillera.cli.output import show_list, show_outcome
from cordillera.cli.session import open_lake
from cordillera.errors import InvalidInputError

if TYPE_CHECKING:
    from cordillera.spec.schema_evolution import SchemaChange

_Rename = Annotated[list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help="Rename a column.")]
_Widen = Annotated[list[str] | None, typer.Option("--widen", metavar="NAME:TYPE", help="Give a column a wider type.")]
_Optional = Annotated[list[str] | None, typer.Option("--optional", metavar="NAME", help="Let a column hold NULL.")]
_Add = Annotated[
    list[str] | None,
    typer.Option("--add", metavar="NAME:TYPE[=VALUE]", help="Add a column; old rows read VALUE, or NULL."),
]
_Describe = Annotated[
    list[str] | None, typer.Option("--describe", metavar="NAME=TEXT", help="Say what a column means.")
]
_Move = Annotated[
    list[str] | None,
    typer.Option("--move", metavar="NAME[=AFTER]", help="Move a column behind another, or to the front."),
]
_Drop = Annotated[
    list[str] | None, typer.Option("--drop", metavar="NAME", help="Drop a column; earlier snapshots still have it.")
]


@command(
    app,
    "evolve",
    example=(
        "cordillera dataset evolve sales.orders --add 'discount:decimal(10,2)=0.00' --rename qty=quantity\n"
        "cordillera dataset evolve sales.orders --widen quantity:long --drop legacy_code"
    ),
)
def evolve(
    name: DatasetName,
    rename: _Rename = None,
    widen: _Widen = None,
    optional: _Optional = None,
    add: _Add = None,
    describe: _Describe = None,
    move: _Move = None,
    drop: _Drop = None,
) -> None:
    """Change a dataset's columns; no data file is rewritten.

    Several changes are made in one commit, in this order: rename, widen, optional, add, describe, move, drop. Fields of
    a struct are named with dots: home.city.
    """
    given = {
        "rename": rename,
        "widen": widen,
        "optional": optional,
        "add": add,
        "describe": describe,
        "move": move,
        "drop": drop,
    }
    changes = [_change(kind, text) for kind, texts in given.items() for text in texts or []]
    if not changes:
        raise InvalidInputError("There is nothing to change.", hint="Give --add, --rename or the like; see --help.")
    with open_lake() as lake:
        result = lake.backend.evolve(name, changes)
    show_outcome(f"Changed the columns of {name}.", result, OUTCOME)


@command(
    app,
    "partition",
    example=(
        "cordillera dataset partition sales.orders 'month(day)' region\n"
        "cordillera dataset partition sales.orders --none"
    ),
)
def partition(
    name: DatasetName,
    terms: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TERM]...", help="What to partition by, e.g. 'month(day)' 'bucket(16, id)'."),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Do not partition.")] = False,
) -> None:
    """Lay out a dataset's new files by other partitions; no data file is rewritten.

    The terms are all that hold from now on. Files there are move to the new partitions as they are rewritten: all of
    them with cordillera dataset compact --rewrite-all.
    """
    if bool(terms) == none:
        raise InvalidInputError("It is not clear what to partition by.", hint="Give terms, or --none.")
    with open_lake() as lake:
        result = lake.backend.partition_by(name, terms or [])
    show_outcome(f"New files of {name} are partitioned by {', '.join(terms or ['nothing'])}.", result, OUTCOME)


@command(
    app,
    "sort",
    example=(
        "cordillera dataset sort sales.orders ordered_at 'amount desc nulls last'\n"
        "cordillera dataset sort sales.orders --none"
    ),
)
def sort(
    name: DatasetName,
    terms: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TERM]...", help="What to sort by, e.g. ordered_at 'amount desc nulls last'."),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Leave rows as they come.")] = False,
) -> None:
    """Sort the rows within a dataset's new files; no data file is rewritten.

    The terms are all that hold from now on. Files there are get sorted as they are rewritten: all of them with
    cordillera dataset compact --strategy sort.
    """
    if bool(terms) == none:
        raise InvalidInputError("It is not clear what to sort by.", hint="Give terms, or --none.")
    with open_lake() as lake:
        result = lake.backend.sort_by(name, terms or [])
    show_outcome(f"New files of {name} are sorted by {', '.join(terms or ['nothing'])}.", result, OUTCOME)


@command(app, "write-mode", example="cordillera dataset write-mode sales.orders copy-on-write")
def write_mode(
    name: DatasetName,
    mode: Annotated[str, typer.Argument(metavar="MODE", help="merge-on-read, copy-on-write or auto.")],
) -> None:
    """Take rows out of a dataset's files in another way from now on; files there are stay as they are."""
    with open_lake() as lake:
        result = lake.backend.set_write_mode(name, mode)
    show_outcome(f"Writes to {name} are {mode} from now on.", result, OUTCOME)


@command(
    app,
    "bloom-filters",
    example=(
        "cordillera dataset bloom-filters sales.orders\n"
        "cordillera dataset bloom-filters sales.orders customer voucher\n"
        "cordillera dataset bloom-filters sales.orders --none"
    ),
)
def bloom_filters(
    name: DatasetName,
    columns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COLUMN]...", help="All columns that are to have filters; none to show those there are."
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Have no filters.")] = False,
    false_positives: Annotated[
        float, typer.Option("--false-positives", metavar="SHARE", help='How often one may say "perhaps" wrongly.')
    ] = 0.01,
) -> None:
    """Give a dataset's new files Bloom filters of columns, or show which have them; no data file is rewritten.

    By them single values are found that lie scattered over files. Files there are get them as they are rewritten: all
    of them with cordillera dataset compact --rewrite-all.
    """
    if columns and none:
        raise InvalidInputError("It is not clear which columns are to have filters.", hint="Give columns, or --none.")
    with open_lake() as lake:
        if not columns and not none:
            found = [{"column": column} for column in lake.backend.bloom_filters(name)]
            show_list(found, {"column": "column"}, none=f"New files of {name} have no Bloom filters.")
            return
        result = lake.backend.set_bloom_filters(name, columns or [], false_positives=false_positives)
    show_outcome(f"New files of {name} have Bloom filters of {', '.join(columns or ['nothing'])}.", result, OUTCOME)


def _change(kind: str, text: str) -> SchemaChange:
    from cordillera.cli.schema_text import parse_column
    from cordillera.spec.schema_evolution import (
        DescribeColumn,
        DropColumn,
        MakeOptional,
        MoveColumn,
        RenameColumn,
        WidenColumn,
    )

    name, separator, value = text.partition("=")
    if kind in ("rename", "describe") and not separator:
        raise InvalidInputError(f"--{kind} {text!r} is not complete.", hint="Write NAME=VALUE.")
    makers: Mapping[str, Callable[[], SchemaChange]] = {
        "rename": lambda: RenameColumn(name, value),
        "widen": lambda: WidenColumn(*parse_column(text)),
        "optional": lambda: MakeOptional(text),
        "add": lambda: _added(text),
        "describe": lambda: DescribeColumn(name, value),
        "move": lambda: MoveColumn(name, value or None),
        "drop": lambda: DropColumn(text),
    }
    return makers[kind]()


def _added(text: str) -> SchemaChange:
    from cordillera.cli.schema_text import parse_column, parse_value
    from cordillera.spec.schema_evolution import AddColumn

    described, separator, default = text.partition("=")
    path, kind = parse_column(described)
    return AddColumn(path, kind, default=parse_value(default, kind, path) if separator else None)
