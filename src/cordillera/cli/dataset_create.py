"""``cordillera dataset create`` and ``add-version``: new datasets and new dataset versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.dataset import DETAILS, app
from cordillera.cli.options import DatasetName, Description, Owner, parse_pairs, read_text, split_names
from cordillera.cli.output import show_outcome
from cordillera.cli.session import open_lake
from cordillera.errors import InvalidInputError
from cordillera.spec.counting import counted

if TYPE_CHECKING:
    import pyarrow as pa

_Schema = Annotated[
    str | None,
    typer.Option("--schema", metavar="COLUMNS", help="name:type,… with Iceberg types, e.g. 'id:long,day:date'."),
]
_Contract = Annotated[
    Path | None,
    typer.Option("--contract", metavar="FILE", help="ODCS document that gives schema and key, and is put in force."),
]
_Like = Annotated[
    Path | None,
    typer.Option("--like", metavar="FILE", help="Parquet, CSV, JSON-lines or Arrow file to take the columns from."),
]
_Key = Annotated[
    list[str] | None, typer.Option("--key", metavar="NAMES", help="Columns that identify a row, separated by commas.")
]
_Sequence = Annotated[
    str | None, typer.Option("--sequence", metavar="NAME", help="Column that tells the later of two rows of a key.")
]
_Partition = Annotated[
    list[str] | None,
    typer.Option("--partition", metavar="TERMS", help="How files are laid out, e.g. 'month(day), bucket(16, id)'."),
]
_Sort = Annotated[
    list[str] | None,
    typer.Option("--sort", metavar="TERMS", help="What rows are sorted by within each file, e.g. 'day, total desc'."),
]
_Unit = Annotated[
    str,
    typer.Option("--completion-unit", help="How partitions are cut: whole, hour, day, week, month or value."),
]
_WriteMode = Annotated[str, typer.Option("--write-mode", help="merge-on-read, copy-on-write or auto.")]
_Merge = Annotated[
    str,
    typer.Option("--merge", metavar="RULE", help="Rows of a key kept: latest-row-wins, first-row-wins, scd2, scd7."),
]
_Aggregates = Annotated[
    list[str] | None,
    typer.Option("--aggregate", metavar="COLUMN=HOW", help="Column combines: sum, max, min, first, last_non_null."),
]
_Tracked = Annotated[
    list[str] | None,
    typer.Option("--tracked", metavar="NAMES", help="Columns whose change a history (scd2, scd7) keeps."),
]
_Format = Annotated[int, typer.Option("--format-version", help="Iceberg's; 2 for clients that cannot read 3.")]
_Properties = Annotated[
    list[str] | None, typer.Option("--property", metavar="KEY=VALUE", help="Further Iceberg table property.")
]
_Tags = Annotated[list[str] | None, typer.Option("--tags", metavar="NAMES", help="Labels, separated by commas.")]


@command(
    app,
    "create",
    example=(
        "cordillera dataset create sales.orders --schema 'id:long,day:date,total:decimal(10,2)' --key id\n"
        "cordillera dataset create sales.orders --contract orders.odcs.yaml --completion-unit day\n"
        "cordillera dataset create sales.orders --like orders.parquet --partition 'month(day)'"
    ),
)
def create(
    name: DatasetName,
    schema: _Schema = None,
    contract: _Contract = None,
    like: _Like = None,
    key: _Key = None,
    sequence: _Sequence = None,
    partition: _Partition = None,
    sort: _Sort = None,
    completion_unit: _Unit = "whole",
    write_mode: _WriteMode = "merge-on-read",
    merge: _Merge = "latest-row-wins",
    aggregate: _Aggregates = None,
    tracked: _Tracked = None,
    format_version: _Format = 3,
    property: _Properties = None,
    owner: Owner = "",
    description: Description = "",
    tags: _Tags = None,
) -> None:
    """Create a dataset. Its columns come from --schema, --contract or --like."""
    columns = _columns(schema, contract, like)
    with open_lake() as lake:
        made = lake.create_dataset(
            name,
            columns,
            contract=None if contract is None else read_text(contract),
            key=split_names(key),
            sequence=sequence,
            partitioning=_terms(partition),
            sort_order=_terms(sort),
            completion_unit=completion_unit,
            write_mode=write_mode,
            merge=merge,
            aggregates=parse_pairs(aggregate or [], "aggregate"),
            tracked=split_names(tracked),
            format_version=format_version,
            properties=parse_pairs(property or [], "property"),
            owner=owner,
            description=description,
            tags=split_names(tags),
        ).details()
    show_outcome(f"Created the dataset {name} with {counted(len(made.columns), 'column')}.", made, DETAILS)


@command(
    app,
    "add-version",
    example="cordillera dataset add-version sales.orders --schema 'id:string,day:date' --key id --active",
)
def add_version(
    name: DatasetName,
    schema: _Schema = None,
    like: _Like = None,
    key: _Key = None,
    sequence: _Sequence = None,
    partition: _Partition = None,
    sort: _Sort = None,
    completion_unit: _Unit = "whole",
    write_mode: _WriteMode = "merge-on-read",
    merge: _Merge = "latest-row-wins",
    aggregate: _Aggregates = None,
    tracked: _Tracked = None,
    format_version: _Format = 3,
    property: _Properties = None,
    active: Annotated[bool, typer.Option("--active", help="Activate it at once; else it is unreleased.")] = False,
) -> None:
    """Create the next dataset version, beside the existing ones: for changes that old readers could not follow."""
    from cordillera.catalog.new_table import TableOptions

    columns = _columns(schema, None, like)
    options = TableOptions(
        key=tuple(split_names(key)),
        sequence=sequence,
        partitioning=tuple(_terms(partition)),
        sort_order=tuple(_terms(sort)),
        completion_unit=completion_unit,
        write_mode=write_mode,
        merge=merge,
        aggregates=parse_pairs(aggregate or [], "aggregate"),
        tracked=tuple(split_names(tracked)),
        format_version=format_version,
        properties=parse_pairs(property or [], "property"),
    )
    with open_lake() as lake:
        made = lake.backend.create_dataset_version(name, columns, options, active=active)
    label = made.dataset.ref(made.version.number)
    show_outcome(f"Created {label}, which is {made.version.lifecycle}.", made, DETAILS, answer=str(label))


def _columns(schema: str | None, contract: Path | None, like: Path | None) -> pa.Schema | None:
    """Return the columns that were described; None where the contract does."""
    if sum(source is not None for source in (schema, contract, like)) != 1:
        raise InvalidInputError(
            "The columns have to be described in one way.", hint="Give --schema, --like or, to create, --contract."
        )
    if schema is not None:
        from cordillera.cli.schema_text import parse_schema

        return parse_schema(schema)
    if like is not None:
        from cordillera.cli.files import rows_of

        with rows_of(like, None, None) as rows:
            return rows.schema
    return None


def _terms(texts: list[str] | None) -> list[str]:
    from cordillera.cli.schema_text import split_terms

    return [term for text in texts or [] for term in split_terms(text)]
