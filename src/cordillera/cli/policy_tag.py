"""``cordillera policy-tag``: labels that grants can name."""

from __future__ import annotations

from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.output import View, show_list, show_outcome
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce

app = typer.Typer(name="policy-tag", no_args_is_help=True, help="Labels on datasets that grants can name.")
_VIEW: View = {
    "on": "on",
    "column": "column",
    "name": "name",
    "value": "value",
    "mask": "mask",
    "set_by": "set_by",
    "set_at": "set_at",
}
Object = Annotated[str, typer.Argument(metavar="OBJECT", help="namespace:NAME or NAMESPACE.DATASET.")]
Tag = Annotated[str, typer.Argument(metavar="TAG", help="The policy tag's name.")]
Column = Annotated[
    str, typer.Option("--column", help="The column it is about, instead of the dataset.", show_default=False)
]


@command(
    app,
    "set",
    example=(
        "cordillera policy-tag set sales.orders sensitivity internal\n"
        "cordillera policy-tag set sales.orders sensitivity pii --column email --mask hash"
    ),
)
def set_tag(
    object: Object,
    tag: Tag,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value.")],
    column: Column = "",
    mask: Annotated[
        str,
        typer.Option(
            "--mask", help="What is seen of the column by whoever has no grant that says otherwise.", show_default=False
        ),
    ] = "",
) -> None:
    """Label a namespace, a dataset or a column. Datasets have their namespace's labels, unless they have their own."""
    with open_lake() as lake:
        made = lake.backend.set_policy_tag(object, tag, value, column=column, mask=mask)
    show_outcome(f"Set {tag} = {value} on {made.on}.", made, _VIEW)


@command(app, "remove", example="cordillera policy-tag remove sales.orders sensitivity")
def remove(object: Object, tag: Tag, column: Column = "") -> None:
    """Remove a label from a namespace, a dataset or a column."""
    with open_lake() as lake:
        lake.backend.remove_policy_tag(object, tag, column=column)
    announce(f"Removed {tag} from {object}.")


@command(app, "list", example="cordillera policy-tag list sales.orders")
def list_tags(object: Object) -> None:
    """List the labels of a namespace or dataset, those that a dataset has from its namespace too."""
    with open_lake() as lake:
        show_list(lake.backend.policy_tags(object), _VIEW, none=f"{object} has no policy tags.")
