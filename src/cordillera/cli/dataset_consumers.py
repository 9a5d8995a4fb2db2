"""``cordillera dataset consumers``: who relies on a dataset version, and how far each has moved to the next."""

from __future__ import annotations

from cordillera.cli.command import command
from cordillera.cli.dataset import app
from cordillera.cli.options import DatasetName
from cordillera.cli.output import Part, View, show
from cordillera.cli.session import open_lake

_VIEW: View = {
    "dataset": "dataset",
    "successor": "successor",
    "deprecated_from": "deprecated_from",
    "retired_on": "retired_on",
}
_CONSUMERS: View = {
    "consumer": "consumer",
    "migration": "migration",
    "uses": "uses",
    "successor_uses": "successor_uses",
    "reads": "reads",
    "bytes_read": "bytes_read",
    "last_read": "last_read",
    "successor_last_read": "successor_last_read",
}


@command(app, "consumers", example="cordillera dataset consumers sales.orders_v1")
def consumers(name: DatasetName) -> None:
    """Show who relies on a dataset version, and how far each has moved to the one that takes its place."""
    with open_lake() as lake:
        found = lake.backend.consumers(name)
    show(found, _VIEW, [Part("Consumers", found.consumers, _CONSUMERS)])
