"""Which files of a table are worth rewriting, and which of them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.types import NestedField

from cordillera.errors import InvalidInputError
from cordillera.spec.arrow_types import primitive
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.maintenance import DEFAULT_TARGET_FILE_SIZE, SORTED_AT_ONCE, CompactionOptions, Strategy
from cordillera.spec.sort_order import describe_sort_order, terms_of
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.data_writer import TARGET_FILE_SIZE_PROPERTY
from cordillera.table.io import TableIO
from cordillera.table.key_ranges import KeyRanges
from cordillera.table.live_files import LiveFile
from cordillera.table.partitions import comparable
from cordillera.table.pruning import FilterPruner
from cordillera.table.row_order import sorts

_SMALL, _LARGE = 0.75, 1.8  # of the target size; between them a file is left as it is
_TIER = 4


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


class CompactionPlanner:
    """Plans compactions of one table.

    Args:
        io: Access to the table's files.
        dataset: The dataset's name, for error messages.
        options: What to do.
    """

    def __init__(self, io: TableIO, dataset: str, options: CompactionOptions) -> None:
        options.check()
        self._io, self._dataset, self._options = io, dataset, options

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
        written = ceil(sum(map(live_bytes, group.files)) / target)
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


def live_bytes(live: LiveFile) -> float:
    """Estimate what the live rows of a file will take in a new one."""
    return live.file.file_size_in_bytes * live.live_rows / max(live.file.record_count, 1)


def _packed(files: Sequence[LiveFile], most: int) -> Iterator[RewriteGroup]:
    """Cut files, in order, into groups of at most so many live bytes."""
    group: list[LiveFile] = []
    size = 0.0
    for live in files:
        if group and size + live_bytes(live) > most:
            yield RewriteGroup(tuple(group))
            group, size = [], 0.0
        group.append(live)
        size += live_bytes(live)
    if group:
        yield RewriteGroup(tuple(group))


def _order(field: NestedField | None) -> Any:
    """Return what sorts files so that those of neighbouring values, else of neighbouring rows, become one."""

    def place(live: LiveFile) -> tuple[bool, Any, int]:
        bound = live.file.lower_bounds.get(field.field_id) if field else None
        low = from_bytes(primitive(field), bound) if field and bound is not None else None
        return low is None, 0 if low is None else low, live.file.first_row_id or live.data.sequence_number or 0

    return place
