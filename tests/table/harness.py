"""A table without a catalog: commits are applied to the metadata in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.adapters.storage.local import LocalStorage
from cordillera.ports.clock import SystemClock
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.commit import AddPartitionSpec, AddSchema, SetCurrentSchema, SetDefaultSpec, apply
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.maintenance import CompactionOptions
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.merge_rules import MergeDeclaration, declare
from cordillera.spec.metadata_updates import AddSortOrder, SetDefaultSortOrder
from cordillera.spec.partitioning import parse_partitioning
from cordillera.spec.requirements import check
from cordillera.spec.schema_evolution import SchemaChange, evolve
from cordillera.spec.sort_order import parse_sort_order
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.compaction import Compactor, ResolvedGroups, StagedGroup
from cordillera.table.expiry import plan_expiry
from cordillera.table.io import TableIO
from cordillera.table.prepared_write import PreparedWrite, StagedWrite
from cordillera.table.reachable import snapshot_files
from cordillera.table.scan import Scan, check_selection, stream
from cordillera.table.write import TableWriter


class LooseTable:
    """One table on local files; every write is staged, resolved, checked and applied at once."""

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        *,
        key: tuple[str, ...] = (),
        sequence: str | None = None,
        mode: WriteMode = WriteMode.MERGE_ON_READ,
        partitioning: tuple[str, ...] = (),
        format_version: int = 3,
        properties: dict[str, str] | None = None,
        rule: str = "latest-row-wins",
        aggregates: dict[str, str] | None = None,
        tracked: tuple[str, ...] = (),
    ) -> None:
        storage = LocalStorage(str(folder))
        self.io = TableIO(storage, DuckDBEngine(threads=1), SystemClock())
        semantics, schema = declare(MergeDeclaration(key, sequence, mode, rule, aggregates or {}, tracked), schema)
        iceberg = from_arrow_schema(schema, semantics.key)
        spec = parse_partitioning(partitioning, iceberg)
        self.metadata = TableMetadata(
            format_version=format_version,
            table_uuid=str(uuid4()),
            location=f"{storage.root}/table",
            last_sequence_number=0,
            last_updated_ms=0,
            last_column_id=iceberg.highest_field_id,
            schemas=(iceberg,),
            current_schema_id=0,
            partition_specs=(spec,),
            default_spec_id=0,
            last_partition_id=max([999, *(f.field_id for f in spec.fields)]),
            properties={**semantics.to_properties(iceberg), **(properties or {})},
            next_row_id=0 if format_version >= 3 else None,
        )
        self.writer = TableWriter(self.io, "test.table")

    def arrow_schema(self) -> pa.Schema:
        """The schema rows have now."""
        from cordillera.table.reader import ReadOptions

        return ReadOptions(self.metadata.schema).arrow_schema()

    def write(
        self, operation: Operation, rows: pa.Table | list[dict[str, object]], where: str | None = None
    ) -> PreparedWrite:
        """Write rows and commit."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=self.arrow_schema())
        row_filter = parse_row_filter(where, self.metadata.schema) if where else None
        staged = self.writer.stage(operation, table.to_reader(), self.metadata, where=row_filter)
        return self.commit(self.writer.resolve(staged, self.metadata))

    def merge(self, clauses: list[MergeClause], source: pa.Table) -> PreparedWrite:
        """Merge conditionally and commit."""
        staged = self.writer.stage_merge(source.to_reader(), clauses, self.metadata)
        return self.commit(self.writer.resolve(staged, self.metadata))

    def delete_where(self, where: str) -> PreparedWrite:
        """Delete rows by condition and commit."""
        staged = StagedWrite(Operation.DELETE, where=parse_row_filter(where, self.metadata.schema))
        return self.commit(self.writer.resolve(staged, self.metadata))

    def commit(self, prepared: PreparedWrite) -> PreparedWrite:
        """Apply a prepared write, by way of the metadata's JSON as another process would read it."""
        check(prepared.requirements, self.metadata)
        changed = apply(prepared.updates, self.metadata, self.io.now_ms())
        self.metadata = TableMetadata.from_json(changed.to_json())
        return prepared

    def compact(self, **options: Any) -> int:
        """Compact and commit; return how many groups were rewritten."""
        compactor = Compactor(self.io, "test.table", CompactionOptions(**options))
        staged = compactor.stage(compactor.plan(self.metadata), self.metadata)
        if staged:
            self.finish_compaction(compactor, staged)
        return len(staged)

    def finish_compaction(self, compactor: Compactor, staged: list[StagedGroup]) -> ResolvedGroups:
        """Commit what is not stale of staged groups, and remove the rest."""
        resolved = compactor.resolve(staged, self.metadata)
        compactor.discard(resolved.stale)
        if resolved.prepared is not None:
            self.commit(resolved.prepared)
        return resolved

    def expire(self, older_than_ms: int = -1, keep_last: int = 1) -> tuple[list[int], list[str]]:
        """Expire snapshots and delete their files; return the sequence numbers and the files."""
        before = self.metadata
        plan = plan_expiry(before, self.io.now_ms(), older_than_ms, keep_last)
        changed = apply(plan.updates(), before, self.io.now_ms())
        self.metadata = TableMetadata.from_json(changed.to_json())
        files = list(snapshot_files(self.io, before, self.metadata))
        self.io.storage.delete(files)
        self.forget()  # nothing is to be found in a cache that is gone
        return [snapshot.sequence_number for snapshot in plan.snapshots], files

    def forget(self) -> None:
        """Begin with empty caches, as another process would."""
        self.io = TableIO(self.io.storage, self.io.engine, self.io.clock)
        self.writer = TableWriter(self.io, "test.table")

    def evolve(self, *changes: SchemaChange) -> None:
        """Change the schema."""
        metadata = self.metadata
        schema, _ = evolve(
            metadata.schema,
            changes,
            last_column_id=metadata.last_column_id,
            new_schema_id=max(s.schema_id for s in metadata.schemas) + 1,
            fixed_ids=metadata.semantics.fixed_field_ids(metadata.schema),
        )
        changed = apply((AddSchema(schema), SetCurrentSchema()), metadata, self.io.now_ms())
        self.metadata = TableMetadata.from_json(changed.to_json())

    def partition_by(self, *terms: str) -> None:
        """Change the partitioning."""
        metadata = self.metadata
        spec = parse_partitioning(terms, metadata.schema, metadata.partition_specs, metadata.last_partition_id)
        added = [] if spec in metadata.partition_specs else [AddPartitionSpec(spec)]
        changed = apply((*added, SetDefaultSpec(spec.spec_id)), metadata, self.io.now_ms())
        self.metadata = TableMetadata.from_json(changed.to_json())

    def sort_by(self, *terms: str) -> None:
        """Change the sort order."""
        metadata = self.metadata
        order = parse_sort_order(terms, metadata.schema, metadata.sort_orders)
        added = [] if order in metadata.sort_orders else [AddSortOrder(order)]
        changed = apply((*added, SetDefaultSortOrder(order["order-id"])), metadata, self.io.now_ms())
        self.metadata = TableMetadata.from_json(changed.to_json())

    def rows(
        self,
        snapshot: IcebergSnapshot | None = None,
        where: str | None = None,
        columns: list[str] | None = None,
        lineage: bool = False,
    ) -> pa.Table:
        """Read the current rows, or those of a snapshot."""
        schema = self.metadata.schema
        row_filter = parse_row_filter(where, schema) if where else None
        names = check_selection(columns, schema, "test.table")
        metadata_columns = ("_row_id", "_last_updated_sequence_number") if lineage else ()
        scan = Scan(
            self.metadata, snapshot or self.metadata.current_snapshot, schema, names, row_filter, metadata_columns
        )
        return stream(self.io, scan).read_all()
