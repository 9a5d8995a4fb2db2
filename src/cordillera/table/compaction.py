"""Compaction: rows move into fewer, larger or better sorted files. No row changes, so no reader sees a difference.

A group of files is rewritten without holding anything; only the commit looks at the table again. Rows that were
deleted from a rewritten file meanwhile are found in the new files by their row ids and deleted there as well. A group
one of whose files is gone by then, or has changed in another way, is stale: its new files are of no use.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.types import NestedField
from pyroaring import BitMap64

from cordillera.errors import CorruptDataError, InvalidInputError
from cordillera.spec import sql
from cordillera.spec.arrow_types import primitive
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.maintenance import DEFAULT_TARGET_FILE_SIZE, SORTED_AT_ONCE, CompactionOptions, Strategy
from cordillera.spec.manifest import Manifest, TableOperation
from cordillera.spec.sort_order import describe_sort_order, terms_of
from cordillera.spec.table_metadata import UNSORTED, TableMetadata
from cordillera.table.content_file import ContentFile, ManifestEntry, Status
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.data_writer import ROW_ID, TARGET_FILE_SIZE_PROPERTY
from cordillera.table.describe import describe_changes
from cordillera.table.file_changes import LINEAGE, data_writer, write_vectors
from cordillera.table.io import TableIO
from cordillera.table.key_ranges import KeyRanges
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import positions_by_file
from cordillera.table.partitions import comparable
from cordillera.table.prepared_write import PreparedWrite
from cordillera.table.pruning import FilterPruner
from cordillera.table.reader import ReadOptions
from cordillera.table.row_order import sorts
from cordillera.table.snapshot_producer import FileChanges, SnapshotProducer
from cordillera.table.z_order import z_values

_SMALL, _LARGE = 0.75, 1.8  # of the target size; between them a file is left as it is
_TIER = 4
_PLACE = "_place"
_AT_ONCE = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class RewriteGroup:
    """Files whose rows move together, all of one partition."""

    files: tuple[LiveFile, ...]

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(live.file.file_size_in_bytes for live in self.files)

    @property
    def rows(self) -> int:
        """Rows that will be in the new files."""
        return sum(live.live_rows for live in self.files)


@dataclass(frozen=True, slots=True)
class StagedGroup:
    """A group whose rows have been written to new files."""

    group: RewriteGroup
    files: tuple[ContentFile, ...]
    format_version: int
    spec_id: int


@dataclass(frozen=True, slots=True)
class ResolvedGroups:
    """What can be committed of staged groups, and those that other commits have overtaken."""

    prepared: PreparedWrite | None
    kept: tuple[StagedGroup, ...]
    stale: tuple[StagedGroup, ...]


class Compactor:
    """Plans, stages and prepares compactions of one table.

    Args:
        io: Access to the table's files.
        dataset: The dataset's name, for error messages.
        options: What to do.
    """

    def __init__(self, io: TableIO, dataset: str, options: CompactionOptions) -> None:
        options.check()
        self._io, self._dataset, self._options = io, dataset, options

    # --- planning ----------------------------------------------------------------------------------------------------

    def plan(self, metadata: TableMetadata) -> list[RewriteGroup]:
        """Return the groups of files worth rewriting, those of most use first.

        Raises:
            InvalidInputError, UnknownColumnError, InvalidExpressionError: If the options do not fit the table.
        """
        self._columns(metadata)
        partitions: defaultdict[Any, list[LiveFile]] = defaultdict(list)
        for live in self._candidates(metadata):
            # Files of earlier partitionings go together: their rows are partitioned anew.
            current = live.file.spec_id == metadata.default_spec_id
            partitions[comparable(live.file.partition) if current else None].append(live)
        groups = [
            group
            for partition, files in partitions.items()
            for group in self._groups(files, metadata, moved=partition is None)
        ]
        return sorted(groups, key=lambda group: len(group.files) / max(group.bytes, 1), reverse=True)

    def _candidates(self, metadata: TableMetadata) -> Iterator[LiveFile]:
        where = parse_row_filter(self._options.where, metadata.schema) if self._options.where else None
        may_match = FilterPruner(metadata, metadata.schema, where.pruning if where else AlwaysTrue())
        upto = self._options.upto
        for live in self._io.files.live(metadata.current_snapshot):
            if (upto is None or (live.data.sequence_number or 0) <= upto) and may_match(live.file):
                yield live

    def _groups(self, files: Sequence[LiveFile], metadata: TableMetadata, *, moved: bool) -> Iterator[RewriteGroup]:
        """Yield groups of files of one partition; of files whose rows are ``moved`` to others, large ones.

        A group of one file's size would leave a small file in every partition that its rows go to.
        """
        target = self._target(metadata)
        everything = self._rewrites_all()
        chosen = [live for live in files if everything or self._needs_rewriting(live, target)]
        if self._options.tiered:
            chosen = self._without_far_larger(chosen)
        alone = self._options.strategy is Strategy.BIN_PACK and not moved
        most = target if alone else max(target, SORTED_AT_ONCE)
        leading = self._leading(metadata)
        in_ranges = self._options.strategy is Strategy.SORT and not everything and not moved and leading is not None
        for run in self._runs(files, chosen, leading) if leading and in_ranges else [chosen]:
            for group in _packed(sorted(run, key=_order(leading)), most):
                if everything or self._is_worth_it(group, target):
                    yield group

    def _runs(
        self, files: Sequence[LiveFile], chosen: Collection[LiveFile], leading: NestedField
    ) -> Iterator[list[LiveFile]]:
        """Return chosen files in runs that can be sorted without new files that meet the ranges of others.

        Files whose ranges meet those of chosen ones are sorted with them, unless they are far larger: then the chosen
        ones wait for more. One small file waits, too, as it may be what a sort has left over.
        """
        wanted, run = set(chosen), list[LiveFile]()
        for meeting in KeyRanges(leading).meeting(files):
            picked = [live for live in meeting if live in wanted]
            size = sum(live.file.file_size_in_bytes for live in picked)
            together = sum(live.file.file_size_in_bytes for live in meeting)
            if len(picked) == len(meeting) or (len(picked) > 1 and together - size <= _TIER * size):
                run += meeting
                continue
            yield run
            yield picked
            run = []
        yield run

    def _needs_rewriting(self, live: LiveFile, target: int) -> bool:
        size = live.file.file_size_in_bytes
        return size < _SMALL * target or size > _LARGE * target or self._has_many_deletes(live)

    def _has_many_deletes(self, live: LiveFile) -> bool:
        deleted = live.file.record_count - live.live_rows
        return deleted > self._options.delete_ratio * live.file.record_count

    def _without_far_larger(self, files: Sequence[LiveFile]) -> list[LiveFile]:
        """Return the small files, with the larger ones that the smaller ones add at least a quarter to."""
        chosen: list[LiveFile] = []
        together = 0
        for live in sorted(files, key=lambda live: live.file.file_size_in_bytes):
            size = live.file.file_size_in_bytes
            if self._has_many_deletes(live) or not chosen or size <= _TIER * together:
                chosen.append(live)
                together += size
        return chosen

    def _is_worth_it(self, group: RewriteGroup, target: int) -> bool:
        """Tell whether rewriting a group leaves fewer files, or fewer deletes, or files of a better size."""
        if any(self._has_many_deletes(live) for live in group.files):
            return True
        written = ceil(sum(map(_live_bytes, group.files)) / target)
        return written != len(group.files) if written > 1 else len(group.files) > 1

    def _rewrites_all(self) -> bool:
        if self._options.rewrite_all is not None:
            return self._options.rewrite_all
        return self._options.strategy is not Strategy.BIN_PACK

    def _target(self, metadata: TableMetadata) -> int:
        declared = int(metadata.properties.get(TARGET_FILE_SIZE_PROPERTY, DEFAULT_TARGET_FILE_SIZE))
        return self._options.target_file_size or declared

    def _columns(self, metadata: TableMetadata) -> tuple[str, ...]:
        """Return the columns to sort or order by, where that is not the table's sort order."""
        if self._options.strategy is Strategy.BIN_PACK or self._in_table_order(metadata):
            return ()
        columns = self._options.columns or metadata.semantics.key
        if not columns:
            raise InvalidInputError(
                f"{self._dataset} has neither a sort order nor a key to sort by.", hint="Give columns to sort by."
            )
        by_name = {field.name: field for field in metadata.schema.fields}
        for name in columns:
            if name not in by_name or not by_name[name].field_type.is_primitive:
                raise InvalidInputError(
                    f"{self._dataset} cannot be sorted by {name!r}.",
                    hint=f"Columns: {', '.join(n for n, f in by_name.items() if f.field_type.is_primitive)}.",
                )
        return tuple(columns)

    def _in_table_order(self, metadata: TableMetadata) -> bool:
        """Tell whether new files are sorted as the table says: unless they are to be in an order of their own."""
        columns = self._options.columns
        own = self._options.strategy is Strategy.Z_ORDER or (columns and columns != describe_sort_order(metadata))
        return not own and sorts(metadata)

    def _leading(self, metadata: TableMetadata) -> NestedField | None:
        """Return the column whose ranges tell which files lie side by side: what is sorted by first, else the key's."""
        if self._in_table_order(metadata):
            first = terms_of(metadata.sort_order)[0]
            return metadata.schema.find_field(first.source_id) if first.transform.preserves_order else None
        names = self._columns(metadata) or metadata.semantics.key
        return metadata.schema.find_field(names[0]) if names else None

    def still_there(self, groups: Sequence[RewriteGroup], metadata: TableMetadata) -> list[RewriteGroup]:
        """Return the groups none of whose files is gone by now."""
        live = {one.path for one in self._io.files.live(metadata.current_snapshot)}
        return [group for group in groups if all(one.path in live for one in group.files)]

    # --- staging -----------------------------------------------------------------------------------------------------

    def stage(self, groups: Sequence[RewriteGroup], metadata: TableMetadata) -> list[StagedGroup]:
        """Write the rows of groups to new files, in bounded memory. On an error nothing remains in storage."""
        staged: list[StagedGroup] = []
        # Sorting has the engine's threads already, and its memory.
        sorting = self._options.strategy is not Strategy.BIN_PACK or self._in_table_order(metadata)
        at_once = 1 if sorting else _AT_ONCE
        with ThreadPoolExecutor(at_once, thread_name_prefix="cordillera-compact") as pool:
            futures = [pool.submit(self._stage, group, metadata) for group in groups]
            failures = [failure for future in futures if (failure := future.exception())]
            staged = [future.result() for future in futures if not future.exception()]
        if failures:
            self.discard(staged)
            raise failures[0]
        return staged

    def discard(self, staged: Sequence[StagedGroup]) -> None:
        """Remove the new files of groups that will not be committed."""
        self._io.storage.delete(file.file_path for one in staged for file in one.files)

    def _stage(self, group: RewriteGroup, metadata: TableMetadata) -> StagedGroup:
        target = self._target(metadata)
        if self._options.strategy is Strategy.BIN_PACK and sum(map(_live_bytes, group.files)) <= target:
            target *= 2  # the rows are one file; a little more than was estimated is not to become a second one
        properties = {**metadata.properties, TARGET_FILE_SIZE_PROPERTY: str(target)}
        laid_out = metadata.with_changes(properties=properties)
        if not self._in_table_order(metadata):
            laid_out = laid_out.with_changes(default_sort_order_id=UNSORTED["order-id"])
        files = data_writer(self._io, laid_out).write(self._rows(group, metadata))
        staged = StagedGroup(group, tuple(files), metadata.format_version, metadata.default_spec_id)
        if sum(file.record_count for file in files) != group.rows:
            self.discard([staged])
            raise CorruptDataError(
                f"Compacting {self._dataset} moved {sum(file.record_count for file in files)} of {group.rows} rows, "
                "so it was given up.",
                hint="Look for damaged files with: cordillera doctor.",
            )
        return staged

    def _rows(self, group: RewriteGroup, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
        lineage = LINEAGE if metadata.format_version >= 3 else ()
        options = ReadOptions(metadata.schema, lineage)
        rows = self._io.reader.stream(group.files, options)
        columns = self._columns(metadata)
        if not columns:
            return iter(rows)  # which are sorted as they are written, if the table has a sort order
        match self._options.strategy:
            case Strategy.SORT:
                return self._sorted(rows, ", ".join(_sort_terms(columns, rows.schema)))
            case _:
                return self._sorted(self._placed(rows, group, columns, metadata), _PLACE)

    def _sorted(self, rows: pa.RecordBatchReader, terms: str) -> Iterator[pa.RecordBatch]:
        """Sort by the engine, which spills what its memory does not hold."""
        schema = pa.schema([field for field in rows.schema if field.name != _PLACE])
        ordered = self._io.engine.query(
            f"SELECT {sql.columns(schema.names)} FROM source ORDER BY {terms}", {"source": rows}
        )
        return (batch.cast(schema) for batch in ordered)

    def _placed(
        self, rows: pa.RecordBatchReader, group: RewriteGroup, columns: Sequence[str], metadata: TableMetadata
    ) -> pa.RecordBatchReader:
        """Return the rows with their places on the curve, for which the columns are read beforehand."""
        read = ReadOptions(metadata.schema.select(*columns))
        table = self._io.reader.stream(group.files, read).read_all()
        places = z_values([table.column(name) for name in columns]) if table.num_rows else np.zeros(0, np.uint64)
        schema = rows.schema.append(pa.field(_PLACE, pa.uint64()))

        def batches() -> Iterator[pa.RecordBatch]:
            first = 0
            for batch in rows:
                place = pa.array(places[first : first + batch.num_rows], pa.uint64())
                yield pa.RecordBatch.from_arrays([*batch.columns, place], schema=schema)
                first += batch.num_rows

        return pa.RecordBatchReader.from_batches(schema, batches())

    # --- resolving ---------------------------------------------------------------------------------------------------

    def resolve(self, staged: Sequence[StagedGroup], metadata: TableMetadata) -> ResolvedGroups:
        """Prepare the commit of staged groups on the table as it is now."""
        live = {one.path: one for one in self._io.files.live(metadata.current_snapshot)}
        kept: list[StagedGroup] = []
        removed: list[LiveFile] = []
        late: dict[LiveFile, BitMap64] = {}
        for one in staged:
            now = [live[then.path] for then in one.group.files if then.path in live]
            deletes = self._deleted_meanwhile(one, now, metadata) if len(now) == len(one.group.files) else None
            if deletes is None:
                continue
            kept.append(one)
            removed += now
            late |= deletes
        stale = tuple(one for one in staged if one not in kept)
        if not kept:
            return ResolvedGroups(None, (), stale)
        vectors = write_vectors(self._io, metadata, late)
        added = tuple(file for one in kept for file in one.files)
        changes = FileChanges(added, tuple(removed), vectors)
        return ResolvedGroups(self._prepare(changes, metadata), tuple(kept), stale)

    def _prepare(self, changes: FileChanges, metadata: TableMetadata) -> PreparedWrite:
        summary = {"operation": "replace", "cordillera.operation": TableOperation.COMPACT.value}
        io = self._io
        producer = SnapshotProducer(io.storage, io.files, metadata, io.clock.new_id, io.now_ms())
        produced = producer.produce(changes, summary)
        entries = describe_changes(changes, metadata)
        manifest = Manifest(
            TableOperation.COMPACT,
            metadata.semantics.key,
            partitions=tuple(sorted({entry.partition for entry in entries})),
            entries=entries,
        )
        written = dict.fromkeys([*(vector.file_path for _, vector in changes.vectors), *produced.written])
        return PreparedWrite(produced.requirements, produced.updates, manifest, produced.snapshot, tuple(written))

    def _deleted_meanwhile(
        self, staged: StagedGroup, now: Sequence[LiveFile], metadata: TableMetadata
    ) -> dict[LiveFile, BitMap64] | None:
        """Return where in the new files rows lie that have been deleted from the old ones since; None if it is stale.

        Only deletion vectors are carried over, and only where rows have ids to be found by.
        """
        if metadata.format_version != staged.format_version:
            return None  # after an upgrade the old files have row ids that the new ones do not know
        if metadata.default_spec_id != staged.spec_id:
            return None  # the new files are not laid out as files are by now
        pairs = [pair for pair in zip(staged.group.files, now, strict=True) if pair[0].key != pair[1].key]
        if any(replace(after, vector=before.vector).key != before.key for before, after in pairs):
            return None
        ids = [self._ids_deleted(before, after, metadata) for before, after in pairs]
        wanted = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        if not len(wanted):
            return {}
        return self._positions_of(wanted, staged.files, metadata) if metadata.format_version >= 3 else None

    def _ids_deleted(self, before: LiveFile, after: LiveFile, metadata: TableMetadata) -> Any:
        """Return the row ids of rows that are deleted from a file now and were not before."""
        files = self._io.files
        gone = (files.deleted_positions(after) or BitMap64()) - (files.deleted_positions(before) or BitMap64())
        positions = pa.array(np.asarray(gone.to_array(), dtype=np.int64))
        options = ReadOptions(metadata.schema.select(), (ROW_ID, POSITION))
        rows = self._io.reader.stream([before], options).read_all()
        found = rows.filter(pc.is_in(rows.column(POSITION), value_set=positions))
        return found.column(ROW_ID).to_numpy()

    def _positions_of(
        self, row_ids: Any, files: Sequence[ContentFile], metadata: TableMetadata
    ) -> dict[LiveFile, BitMap64] | None:
        new = [LiveFile(ManifestEntry(Status.ADDED, None, None, None, file), None) for file in files]
        options = ReadOptions(metadata.schema.select(), (FILE_INDEX, POSITION, ROW_ID))
        wanted = pa.array(row_ids)
        found = pa.Table.from_batches(
            (
                batch.filter(pc.is_in(batch.column(ROW_ID), value_set=wanted))
                for batch in self._io.reader.stream(new, options)
            ),
            schema=options.arrow_schema(),
        )
        return positions_by_file(found, new) if found.num_rows == len(wanted) else None


def _live_bytes(live: LiveFile) -> float:
    """Estimate what the live rows of a file will take in a new one."""
    return live.file.file_size_in_bytes * live.live_rows / max(live.file.record_count, 1)


def _packed(files: Sequence[LiveFile], most: int) -> Iterator[RewriteGroup]:
    """Cut files, in order, into groups of at most so many live bytes."""
    group: list[LiveFile] = []
    size = 0.0
    for live in files:
        if group and size + _live_bytes(live) > most:
            yield RewriteGroup(tuple(group))
            group, size = [], 0.0
        group.append(live)
        size += _live_bytes(live)
    if group:
        yield RewriteGroup(tuple(group))


def _order(field: NestedField | None) -> Any:
    """Return what sorts files so that those of neighbouring values, else of neighbouring rows, become one."""

    def place(live: LiveFile) -> tuple[bool, Any, int]:
        bound = live.file.lower_bounds.get(field.field_id) if field else None
        low = from_bytes(primitive(field), bound) if field and bound is not None else None
        return low is None, 0 if low is None else low, live.file.first_row_id or live.data.sequence_number or 0

    return place


def _sort_terms(columns: Sequence[str], schema: pa.Schema) -> list[str]:
    return [f"{sql.sort_terms([name], schema)} NULLS LAST" for name in columns]
