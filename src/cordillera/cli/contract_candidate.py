"""``cordillera contract candidates`` and ``candidate``: commits that a contract has refused."""

from __future__ import annotations

from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.contract import app
from cordillera.cli.options import DatasetName
from cordillera.cli.output import Part, View, number, show, show_list
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce

_VIEW: View = {
    "branch": "branch",
    "snapshot": number("sequence_number"),
    "refused_by": "refused_by",
    "refused_at": "refused_at",
    "expires_at": "expires_at",
    "rules": lambda candidate: [one.rule for one in candidate.violations],
}
_VIOLATIONS: View = {
    "rule": "rule",
    "column": "column",
    "severity": "severity",
    "rows": number("rows"),
    "message": "message",
}


@command(app, "candidates", example="cordillera contract candidates sales.orders")
def candidates(name: DatasetName) -> None:
    """List the commits that a contract has refused and that are kept, newest first."""
    with open_lake() as lake:
        show_list(lake.backend.candidates(name), _VIEW, none=f"No refused commit to {name} is kept.")


@command(app, "candidate", example="cordillera contract candidate sales.orders candidate-7")
def candidate(
    name: DatasetName, branch: Annotated[str, typer.Argument(metavar="BRANCH", help="The branch that it is kept on.")]
) -> None:
    """Show a commit that a contract has refused, with examples of the rows that break it."""
    with open_lake() as lake:
        found = lake.backend.candidate(name, branch)
    announce(f"Read its rows with: cordillera dataset read {name} --as-of {branch}.")
    show(found, _VIEW, [Part("Broken rules", found.violations, _VIOLATIONS)])
