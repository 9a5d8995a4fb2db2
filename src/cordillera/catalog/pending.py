"""Writes on their way to being committed: resolved once, then carried over while other writers are faster."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.requests import CommitRequest
from cordillera.errors import CorruptDataError, WriteConflictError
from cordillera.spec.arrow_types import to_arrow_type
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.isolation import Isolation, isolation_of
from cordillera.spec.merge import Operation
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.prepared_write import PreparedWrite, StagedWrite
from cordillera.table.rebase import Rebase
from cordillera.table.write import TableWriter


class PendingWrite:
    """A write whose rows have been read.

    Args:
        target: What is written to.
        writer: Has staged the rows.
        staged: The rows.
        metadata: The table as it was then, seen on the branch that is written to.
        request: What goes with the commit.
    """

    def __init__(
        self,
        target: ResolvedDataset,
        writer: TableWriter,
        staged: StagedWrite,
        metadata: TableMetadata,
        request: CommitRequest,
    ) -> None:
        self.target, self.request = target, request
        self._writer, self._staged, self._began = writer, staged, metadata
        self._prepared: PreparedWrite | None = None

    def prepare(self, metadata: TableMetadata) -> CommitRequest:
        """Work out what the write does to the table as it is.

        Where it can be, what was worked out before for another state of the table is carried over.

        Args:
            metadata: The table, seen on the branch that is written to.

        Raises:
            WriteConflictError: If the table asks for serializable writes, and rows that this one has looked at have
                changed since it began; or if partitions were to be replaced, and they are others by now.
        """
        earlier = self._prepared
        carried = self._carried_over(earlier, metadata) if earlier is not None else None
        if carried is None:
            self._prepared = None
            if earlier is not None:
                self._writer.discard(earlier)
            self._adapt(metadata)
        self._prepared = found = carried or self._writer.resolve(self._staged, metadata)
        return replace(
            self.request,
            requirements=found.requirements,
            updates=found.updates,
            manifest=found.manifest,
            storage=self._writer.io.storage,
        )

    def discard(self) -> None:
        """Remove what has been written for the commit, which will not happen."""
        if self._prepared is not None:
            self._writer.discard(self._prepared)
        self._writer.discard_staged(self._staged)

    def _carried_over(self, earlier: PreparedWrite, metadata: TableMetadata) -> PreparedWrite | None:
        rebase = Rebase(self._writer, self._staged, earlier, self._began, metadata)
        serializable = isolation_of(metadata.properties) is Isolation.SERIALIZABLE
        try:
            if not serializable or not rebase.conflicts():
                return rebase.carried_over()
        except CorruptDataError:  # the files of the state it was prepared for may be gone, expired meanwhile
            if not serializable:
                return None
        raise WriteConflictError(
            f"Rows of {self.target.name} that this write has looked at were changed while it was made.",
            hint="Read them again, and write what follows from them; the dataset asks for serializable writes.",
        )

    def _adapt(self, metadata: TableMetadata) -> None:
        """Bring a write under a schema or a partitioning, or behind deletes, that have come meanwhile."""
        staged, batch = self._staged, self._staged.batch
        outdated = any(file.spec_id != metadata.default_spec_id for file in staged.files)
        if outdated and staged.operation is Operation.REPLACE_PARTITIONS:
            raise WriteConflictError(
                f"{self.target.name} was partitioned otherwise while its partitions were to be replaced: by now the "
                "rows belong to partitions that nobody meant.",
                hint="Write them again.",
            )
        if outdated or self._writer.comes_behind_deletes(staged, metadata):
            self._restage(metadata)
            return
        if metadata.current_schema_id == self._began.current_schema_id:
            return
        if staged.clauses and batch is not None:
            rows = batch.to_reader()
            self._staged = self._writer.stage_merge(rows, staged.clauses, metadata, inspect=staged.inspect)
        elif batch is not None:
            rows = self._under_schema(batch, metadata).to_reader()
            self._staged = self._writer.stage(
                staged.operation,
                rows,
                metadata,
                where=staged.where,
                inspect=staged.inspect,
                inspect_new=staged.inspect_new,
            )
        elif staged.where is not None:
            self._staged = replace(staged, where=parse_row_filter(staged.where.sql, metadata.schema))
        self._began = self._began.with_changes(schemas=metadata.schemas, current_schema_id=metadata.current_schema_id)

    def _under_schema(self, batch: pa.Table, metadata: TableMetadata) -> pa.Table:
        """Return rows with the names that their columns have by now, and the columns that whole rows have by now."""
        ids = {field.name: field.field_id for field in self._began.schema.fields}
        names = {field.field_id: field.name for field in metadata.schema.fields}
        there = [name for name in batch.column_names if name not in ids or ids[name] in names]
        renamed = batch.select(there).rename_columns([names[ids[name]] if name in ids else name for name in there])
        if self._staged.operation is not Operation.UPSERT:
            return renamed
        for field in metadata.schema.fields:
            if field.field_id not in ids.values():
                default = pa.scalar(field.write_default, to_arrow_type(field.field_type))
                renamed = renamed.append_column(field.name, pa.repeat(default, renamed.num_rows))
        return renamed

    def _restage(self, metadata: TableMetadata) -> None:
        """Write the rows that are in files already to other files, or keep them to be looked at."""
        staged = self._staged
        where = parse_row_filter(staged.where.sql, metadata.schema) if staged.where else None
        rows = self._writer.rows_of(staged, metadata)
        self._staged = self._writer.stage(staged.operation, rows, metadata, where=where)
        self._writer.discard_staged(staged)
