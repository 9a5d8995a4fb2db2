"""Reading rows as somebody sees who does not see all of them.

What is shown is worked out before anything that was asked for: a query or condition of the reader's own gets a stream
that holds nothing else, so no predicate, join or failing cast of his ever meets a value that he may not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cordillera.errors import AccessDeniedError, InvalidSqlError
from cordillera.spec import sql
from cordillera.spec.masks import HASH_KEY
from cordillera.spec.row_access import RowView
from cordillera.table.io import TableIO
from cordillera.table.reader import ReadOptions


@dataclass(frozen=True, slots=True)
class ShownRows:
    """What is shown of a table's rows.

    Attributes:
        view: As SQL over them.
        key: The lake's key, with which values are hashed.
        dataset: The dataset's name, for messages.
    """

    view: RowView
    key: str
    dataset: str

    def __repr__(self) -> str:
        return f"ShownRows(dataset={self.dataset!r}, key=…)"

    def of(
        self, io: TableIO, rows: pa.RecordBatchReader, columns: Sequence[str], others: Mapping[str, str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream what is shown of some rows.

        Args:
            io: Access to the engine.
            rows: The rows, with all columns that are named here or that the view looks at.
            columns: The columns wanted, of those that are shown.
            others: More columns of the rows, by what they are to be called: to know rows by, for nobody to see.

        Raises:
            AccessDeniedError: If the condition of a grant fails on a row; its message tells nothing of the row.
        """
        wanted = [f"{self.view.expressions[name]} AS {sql.quote(name)}" for name in columns]
        wanted += [f"{sql.quote(name)} AS {sql.quote(called)}" for called, name in (others or {}).items()]
        # The key is named in any case, so that it is a parameter of the statement whether or not something is hashed.
        condition = f"{HASH_KEY} IS NOT NULL AND ({self.view.condition})"
        declared = ReadOptions(self.view.schema.select(*columns)).arrow_schema()
        schema = pa.schema(
            [
                *(declared.field(name) for name in columns),
                *(rows.schema.field(name).with_name(called) for called, name in (others or {}).items()),
            ]
        )
        statement = f"SELECT {', '.join(wanted)} FROM stored WHERE {condition}"
        return pa.RecordBatchReader.from_batches(schema, self._batches(io, statement, rows, schema))

    def _batches(
        self, io: TableIO, statement: str, rows: pa.RecordBatchReader, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        try:
            for batch in io.engine.query(statement, {"stored": rows}, [self.key]):
                yield batch.cast(schema)
        except (InvalidSqlError, pa.ArrowInvalid):
            raise AccessDeniedError(
                f"The row filter of a grant on {self.dataset} fails on some of its rows, so none are shown.",
                hint="Ask who granted it to write a filter that is true or false of every row, for one with TRY_CAST.",
            ) from None
