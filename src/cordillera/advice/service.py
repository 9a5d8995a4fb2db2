"""Advice about the layout of tables, from the use that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from cordillera.advice.evidence import (
    MergeTrace,
    TableStatistics,
    merge_demands,
    merge_facts,
    recent_merges,
    scan_demands,
)
from cordillera.advice.recorder import ScanRecorder
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.advice import LEAST_USES, LayoutAdvice, advise
from cordillera.spec.layout import LayoutFacts
from cordillera.spec.maintenance import MaintenancePolicy, TableCounters
from cordillera.spec.partitioning import describe_partitioning
from cordillera.spec.scan_statistics import ALL_COLUMNS, ColumnScans, ColumnUse
from cordillera.spec.sort_order import describe_sort_order
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table import parquet_encoding
from cordillera.table.bloom_filter import filtered_columns

_PERIOD = timedelta(days=30)
"""How far back the use of a table tells how it will be used."""
_MOST_SAMPLED = 8


class AdviceService:
    """Says how a table might better be laid out.

    Args:
        store: Keeps counts of scans, and snapshots.
        catalog: Resolves names.
        tables: Loads table metadata.
        scans: Counts scans; what it has not written down yet is to count too.
        clock: Says what is recent.
    """

    def __init__(
        self, store: MetadataStore, catalog: CatalogService, tables: TableService, scans: ScanRecorder, clock: Clock
    ) -> None:
        self._store, self._catalog, self._tables = store, catalog, tables
        self._scans, self._clock = scans, clock

    def advise(self, name: str) -> LayoutAdvice:
        """Return what could be done about a dataset's layout.

        Raises:
            DatasetNotFoundError: If there is none of that name.
        """
        target = self._catalog.dataset(name, Privilege.READ)
        metadata = self._tables.load(target.version)
        self._scans.flush()
        since = self._clock.now() - _PERIOD
        with self._store.read() as tx:
            totals = tx.scans.totals(target.version.id, since.date())
        merges = recent_merges(self._store, target.version.id, since)
        facts = replace(_table(target.name, metadata), scans=_scans(totals), merges=merge_facts(merges))
        return advise(self._with_use(facts, metadata, totals, merges))

    def _with_use(
        self, facts: LayoutFacts, metadata: TableMetadata, totals: Sequence[ColumnScans], merges: Sequence[MergeTrace]
    ) -> LayoutFacts:
        """Add what is asked of which columns, and what the files' statistics say about these."""
        if metadata.current_snapshot is None:
            return facts
        statistics = TableStatistics(self._tables.io, self._tables.reporter, metadata)
        fields = {field.name: field for field in metadata.schema.fields if field.field_type.is_primitive}
        keys = [fields[key] for key in metadata.semantics.key if key in fields]
        demands = [
            *scan_demands(totals, {field.field_id: name for name, field in fields.items()}),
            *merge_demands(merges, statistics, keys),
        ]
        equal = {one.column for one in demands if one.use is ColumnUse.EQUALITY and one.count >= LEAST_USES}
        often = sorted(demands, key=lambda one: one.count, reverse=True)
        sampled = [name for name in dict.fromkeys(one.column for one in often) if name in equal][:_MOST_SAMPLED]
        return replace(
            facts,
            columns={
                name: statistics.column(fields[name], sampled=name in sampled)
                for name in dict.fromkeys(one.column for one in demands)
            },
            demands=tuple(demands),
            partitions=statistics.partitions,
        )


def _table(name: str, metadata: TableMetadata) -> LayoutFacts:
    counters = TableCounters.of(metadata)
    return LayoutFacts(
        dataset=name,
        days=_PERIOD.days,
        partitioning=describe_partitioning(metadata.partition_spec, metadata.schema),
        sort_order=describe_sort_order(metadata),
        bloom_filters=filtered_columns(metadata.properties),
        files=counters.files,
        bytes=counters.bytes,
        rows=counters.records - counters.deleted,
        row_group=parquet_encoding.ROW_GROUP_ROWS,
        policy=MaintenancePolicy.or_usual(metadata.properties).under(metadata),
        write_mode=metadata.write_mode,
        format_version=metadata.format_version,
    )


def _scans(totals: Sequence[ColumnScans]) -> int:
    return sum(one.scans for one in totals if one.column_id == ALL_COLUMNS)
