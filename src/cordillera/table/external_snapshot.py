"""What a snapshot that another engine wrote does to a table, and whether it may.

Nothing it says of itself is trusted: where its files lie, what it calls its operation and how many rows it has are
looked up in its manifests. The work grows with the files by which it differs from its parent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import pyarrow as pa

from cordillera.errors import InvalidInputError, NotAllowedError, NullKeyError
from cordillera.spec import sql
from cordillera.spec.manifest import Manifest
from cordillera.spec.object_uri import canonical
from cordillera.spec.snapshot_summary import ENGINE_NAME, is_own, moves_rows
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.branching import SOURCE_SUMMARY
from cordillera.table.change_batch import duplicate_keys
from cordillera.table.content_file import Content, ContentFile, ManifestFile
from cordillera.table.describe import describe_files
from cordillera.table.difference import DifferingFiles, differing_files
from cordillera.table.external_files import check_files
from cordillera.table.external_manifests import check_manifests, new_manifests
from cordillera.table.io import TableIO
from cordillera.table.keyed_write import keys_stored
from cordillera.table.live_files import LiveFile
from cordillera.table.reader import ReadOptions
from cordillera.table.stored_keys import refuse_stored_keys

_Place = tuple[str, int | None]


class ExternalSnapshot:
    """A snapshot that is about to be committed.

    Args:
        io: Access to the table's files.
        metadata: The table, with the snapshot added.
        snapshot: What the other engine wrote.
        dataset: The dataset's name, for messages.
        free_row_id: From which on no row has an id yet.
    """

    def __init__(
        self, io: TableIO, metadata: TableMetadata, snapshot: IcebergSnapshot, dataset: str, free_row_id: int = 0
    ) -> None:
        self._free_row_id = free_row_id
        self._io, self._metadata, self._snapshot, self._dataset = io, metadata, snapshot, dataset
        self._parent = (
            None if snapshot.parent_snapshot_id is None else metadata.snapshot_by_id(snapshot.parent_snapshot_id)
        )

    def check(self) -> None:
        """Make sure that the snapshot's files are the table's, and that its rows may be stored.

        Raises:
            AccessDeniedError: If a file lies outside of the table's folder.
            NullKeyError, DuplicateKeyError: If rows break the key.
            NotAllowedError: If the table's rows are Cordillera's alone to write.
            InvalidInputError: If the snapshot says that it moves rows, and changes some; if a manifest is not what its
                list says, or a file what its manifest says; if a file is live twice.
            CorruptDataError: If its files cannot be read.
        """
        self._check_summary()
        check_manifests(self._io.files, self._metadata, self._parent, self._snapshot, self._dataset)
        self._check_files()
        if self.moves_rows:
            self._check_same_rows()
        elif self._differing:
            self._check_rows()

    @property
    def partition_specs(self) -> frozenset[int]:
        """What the files in its own manifests are laid out by."""
        return frozenset(manifest.partition_spec_id for manifest in self._new_manifests)

    @cached_property
    def moves_rows(self) -> bool:
        """Whether it says that rows are in other files and are the same; ``check`` has found that true."""
        return moves_rows(self._snapshot)

    @cached_property
    def manifest(self) -> Manifest:
        """What the snapshot changes, file by file; a replaced row counts as one deleted and one inserted."""
        before, after = ({live.path: live for live in side} for side in (self._differing.before, self._differing.after))
        fewer = [live.live_rows - (after[path].live_rows if path in after else 0) for path, live in before.items()]
        inserted = sum(live.live_rows for path, live in after.items() if path not in before)
        entries = describe_files(self._come, self._gone, self._metadata)
        return Manifest(
            operation=None,
            key=self._metadata.semantics.key,
            rows_inserted=inserted - sum(rows for rows in fewer if rows < 0),
            rows_deleted=sum(rows for rows in fewer if rows > 0),
            partitions=tuple(sorted({entry.partition for entry in entries})),
            entries=entries,
        )

    def with_totals(self) -> IcebergSnapshot:
        """Return the snapshot with totals that follow from its parent's and its files.

        Engines leave them out, or count in other ways. ``total-position-deletes`` becomes the number of rows that
        deletes of whatever kind take out, so that what remains of ``total-records`` is what readers get.
        """
        come, gone, counted = self._come, self._gone, self.manifest
        rows = self._total("records") - self._total("position-deletes") + counted.rows_inserted - counted.rows_deleted
        records = self._total("records") + _records(come) - _records(gone)
        totals = {
            "total-records": records,
            "total-data-files": self._total("data-files") + len(_data(come)) - len(_data(gone)),
            "total-files-size": self._total("files-size") + sum(map(_size, come)) - sum(map(_size, gone)),
            "total-delete-files": self._total("delete-files") + _deletes(come) - _deletes(gone),
            "total-position-deletes": records - rows,
        }
        summary = {**self._snapshot.summary, **{name: str(max(value, 0)) for name, value in totals.items()}}
        return replace(self._snapshot, summary=summary)

    @cached_property
    def _new_manifests(self) -> list[ManifestFile]:
        return new_manifests(self._io.files, self._parent, self._snapshot)

    @cached_property
    def _fresh(self) -> list[LiveFile]:
        """The data files that its parent has not."""
        before = {live.path for live in self._differing.before}
        return [live for live in self._differing.after if live.path not in before]

    @cached_property
    def _come(self) -> list[ContentFile]:
        old, new = (_files_of(side) for side in (self._differing.before, self._differing.after))
        return [file for place, file in new.items() if place not in old]

    @cached_property
    def _gone(self) -> list[ContentFile]:
        old, new = (_files_of(side) for side in (self._differing.before, self._differing.after))
        return [file for place, file in old.items() if place not in new]

    def _total(self, what: str) -> int:
        return int(self._parent.summary.get(f"total-{what}", 0)) if self._parent else 0

    # --- checks --------------------------------------------------------------------------------------------------

    @cached_property
    def _differing(self) -> DifferingFiles:
        plain = replace(self._snapshot, summary={**self._snapshot.summary, "operation": "overwrite"})
        return differing_files(self._io, self._metadata, self._parent, plain)

    def _check_summary(self) -> None:
        """Refuse a snapshot that passes itself off as one of ours, whose summaries are believed."""
        summary = self._snapshot.summary
        ours = is_own(self._snapshot) or any(name.startswith(f"{ENGINE_NAME}.") for name in summary)
        if ours or not summary.get(SOURCE_SUMMARY, "0").isdigit():
            raise InvalidInputError(
                f"The summary of snapshot {self._snapshot.snapshot_id} of {self._dataset} has what only snapshots of "
                "Cordillera's have.",
                hint="Leave out the engine name and properties that begin with 'cordillera.'.",
            )

    def _check_files(self) -> None:
        live = self._io.files.live(self._snapshot)
        times = Counter(canonical(one.path) for one in live)
        if len(times) < len(live):
            [(path, _)] = times.most_common(1)
            raise InvalidInputError(
                f"The snapshot {self._snapshot.snapshot_id} of {self._dataset} has the data file {path} twice.",
                hint="Add a file once.",
            )
        fresh = self._fresh
        check_files(self._io, self._metadata, fresh, self._dataset)
        for one in self._differing.after:
            self._io.files.deleted_positions(one)
        if self._metadata.format_version >= 3:
            self._check_row_ids(fresh)

    def _check_row_ids(self, fresh: Sequence[LiveFile]) -> None:
        """Make sure that new rows have ids that the snapshot is given, each its own: rows are told apart by them."""
        own = [one for one in fresh if one.data.snapshot_id == self._snapshot.snapshot_id]
        ranges = sorted((one.file.first_row_id, one.file.record_count) for one in own if one.file.record_count)
        reached = self._free_row_id
        for start, rows in ranges:
            if start is None or start < reached:
                raise InvalidInputError(
                    f"New rows of snapshot {self._snapshot.snapshot_id} of {self._dataset} have row ids of others.",
                    hint="Leave the first row id out in manifests; it is inherited.",
                )
            reached = start + rows
        if reached > (self._metadata.next_row_id or 0):
            raise InvalidInputError(
                f"The snapshot {self._snapshot.snapshot_id} of {self._dataset} says that it adds "
                f"{self._snapshot.added_rows} rows, but its new rows have row ids beyond that.",
                hint="Count the rows of all new data files in added-rows.",
            )

    def _check_rows(self) -> None:
        semantics, fresh = self._metadata.semantics, self._differing.after
        if semantics.history is not None:
            raise NotAllowedError(
                f"{self._dataset} keeps a history, whose columns only Cordillera's own writes keep in step.",
                hint="Write to it through Cordillera.",
            )
        if not semantics.key or not fresh:
            return
        self._refuse_null_keys(fresh)
        repeated = duplicate_keys(self._keys(fresh), semantics.key, self._io.engine)
        if repeated.num_rows:
            raise keys_stored(self._dataset, repeated.drop_columns(["rows"]), None)
        new = {live.path for live in fresh}
        stored = [live for live in self._io.files.live(self._snapshot) if live.path not in new]
        refuse_stored_keys(self._io, fresh, self._metadata, stored, {}, self._dataset)

    def _refuse_null_keys(self, fresh: Sequence[LiveFile]) -> None:
        key = self._metadata.semantics.key
        missing = " OR ".join(f"{sql.quote(name)} IS NULL" for name in key)
        found = self._io.engine.table(f"SELECT count(*) AS n FROM added WHERE {missing}", {"added": self._keys(fresh)})
        if count := found.column("n")[0].as_py():
            raise NullKeyError(
                f"{count} rows of the snapshot have no value in a key column of {self._dataset} ({', '.join(key)}).",
                hint="Give every row a key.",
            )

    def _check_same_rows(self) -> None:
        """Make sure that what claims to move rows does only that: subscriptions pass over such snapshots."""
        before, after = (self._fingerprint(side) for side in (self._differing.before, self._differing.after))
        if before != after:
            raise InvalidInputError(
                f"The snapshot {self._snapshot.snapshot_id} of {self._dataset} says that it replaces files by others "
                f"with the same rows, but {before[0]} rows became {after[0]}, or other ones.",
                hint="Commit changes of rows as append, overwrite or delete.",
            )

    def _fingerprint(self, files: Sequence[LiveFile]) -> tuple[int, int]:
        """Return the number of rows in files and an order-free hash of them."""
        if not files:
            return 0, 0
        schema = self._metadata.schema
        names = sql.columns([field.name for field in schema.fields])
        found = self._io.engine.table(
            f"SELECT count(*) AS n, coalesce(sum(hash({names})::HUGEINT), 0)::VARCHAR AS h FROM stored",
            {"stored": self._io.reader.stream(files, ReadOptions(schema))},
        )
        return found.column("n")[0].as_py(), int(found.column("h")[0].as_py())

    def _keys(self, files: Sequence[LiveFile]) -> pa.RecordBatchReader:
        return self._io.reader.stream(files, ReadOptions(self._metadata.schema.select(*self._metadata.semantics.key)))


def _files_of(files: Iterable[LiveFile]) -> dict[_Place, ContentFile]:
    """Return data files and the deletes that apply to them, by place."""
    found = list(files)
    return {**{(live.path, None): live.file for live in found}, **_delete_files(found)}


def _delete_files(files: Iterable[LiveFile]) -> dict[_Place, ContentFile]:
    """Return the deletion vectors and delete files that apply to data files, each once."""
    deletes: dict[_Place, ContentFile] = {}
    for live in files:
        applying = [one.file for one in live.deletes]
        applying += [live.vector.file] if live.vector is not None else []
        deletes |= {(file.file_path, file.content_offset): file for file in applying}
    return deletes


def _size(file: ContentFile) -> int:
    return file.content_size_in_bytes or file.file_size_in_bytes


def _data(files: Sequence[ContentFile]) -> list[ContentFile]:
    return [file for file in files if file.content is Content.DATA]


def _deletes(files: Sequence[ContentFile]) -> int:
    return len(files) - len(_data(files))


def _records(files: Sequence[ContentFile]) -> int:
    return sum(file.record_count for file in _data(files))
