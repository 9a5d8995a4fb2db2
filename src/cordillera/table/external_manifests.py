"""Whether manifests that another engine wrote are what its manifest list says, and those it took over what they were.

Writers go on from manifest lists, and read the manifests that they have to change. One that is said to have no live
files is left out of the next snapshot, and the rows in it with it; a file that is said to be of a snapshot to come is
not reached by the deletes of those before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from cordillera.errors import AccessDeniedError, InvalidInputError
from cordillera.spec.object_uri import object_key
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import Content, ManifestEntry, ManifestFile, Status
from cordillera.table.live_files import SnapshotFiles
from cordillera.table.manifests import DATA


def new_manifests(
    files: SnapshotFiles, parent: IcebergSnapshot | None, snapshot: IcebergSnapshot
) -> list[ManifestFile]:
    """Return the manifests of a snapshot that its parent has not, or that its list describes otherwise."""
    known = {one.manifest_path: one for one in files.manifests(parent)}
    return [one for one in files.manifests(snapshot) if not _is_same(known.get(one.manifest_path), one)]


def _is_same(before: ManifestFile | None, now: ManifestFile) -> bool:
    """Tell whether a manifest is described as it was; it gets row ids once, after an upgrade to version 3."""
    if before is None or before.first_row_id is not None:
        return before == now
    return before == replace(now, first_row_id=None)


def check_manifests(
    files: SnapshotFiles,
    metadata: TableMetadata,
    parent: IcebergSnapshot | None,
    snapshot: IcebergSnapshot,
    dataset: str,
) -> None:
    """Refuse a snapshot whose manifests are not what its manifest list says.

    Args:
        files: Reads them.
        metadata: The table, with the snapshot added.
        parent: The snapshot that it was made from.
        snapshot: What another engine wrote.
        dataset: The dataset's name, for messages.

    Raises:
        AccessDeniedError: If a file lies outside of the table's folder.
        InvalidInputError: Naming a manifest, and what is wrong with it.
        CorruptDataError: If one cannot be read.
    """
    specs = {spec.spec_id for spec in metadata.partition_specs}
    known = {one.manifest_path: one for one in files.manifests(parent)}
    check_place(snapshot.manifest_list, metadata, dataset)
    for manifest in new_manifests(files, parent, snapshot):
        check_place(manifest.manifest_path, metadata, dataset)
        wrong = list(_of_others(manifest, specs, known.get(manifest.manifest_path)))
        entries = () if wrong else files.entries(manifest)
        for entry in entries:
            check_place(entry.file.file_path, metadata, dataset)
        if wrong := [*wrong, *_beside_the_list(manifest, entries), *_beyond(snapshot, manifest, entries)]:
            raise InvalidInputError(
                f"The manifest list of snapshot {snapshot.snapshot_id} of {dataset} says of {manifest.manifest_path} "
                f"what cannot be: {wrong[0]}.",
                hint="Write manifests and manifest lists with one of Iceberg's libraries.",
            )


def _of_others(manifest: ManifestFile, specs: Set[int], before: ManifestFile | None) -> Iterator[str]:
    """Yield what says how the entries of a manifest are to be understood, and is not the table's or not as it was."""
    if manifest.partition_spec_id not in specs:
        yield f"the partition spec {manifest.partition_spec_id}, which the table has not"
    if before is None:
        return
    for what, was, now in (
        ("the partition spec", before.partition_spec_id, manifest.partition_spec_id),
        ("the sequence number", before.sequence_number, manifest.sequence_number),
        ("the snapshot that added it", before.added_snapshot_id, manifest.added_snapshot_id),
        ("the first row id", before.first_row_id, manifest.first_row_id),
    ):
        if was is not None and was != now:
            yield f"{what}, {now}, which was {was}"


def _beside_the_list(manifest: ManifestFile, entries: Sequence[ManifestEntry]) -> Iterator[str]:
    """Yield what a manifest list says of the files of a manifest, and they are otherwise."""
    times = Counter(entry.status for entry in entries)
    for status, said, what in (
        (Status.ADDED, manifest.added_files_count, "new"),
        (Status.EXISTING, manifest.existing_files_count, "earlier"),
        (Status.DELETED, manifest.deleted_files_count, "removed"),
    ):
        if said != times[status]:
            yield f"{said} {what} files, where there are {times[status]}"
    if any((entry.file.content is Content.DATA) is not (manifest.content == DATA) for entry in entries):
        yield f"{'data files' if manifest.content == DATA else 'deletes'}, where there are others"


def _beyond(snapshot: IcebergSnapshot, manifest: ManifestFile, entries: Sequence[ManifestEntry]) -> Iterator[str]:
    """Yield sequence numbers that nothing can have as of a snapshot."""
    live = [entry for entry in entries if entry.status is not Status.DELETED]
    numbers: list[int | None] = [manifest.sequence_number, manifest.min_sequence_number]
    numbers += [one for entry in live for one in (entry.sequence_number, entry.file_sequence_number)]
    for one in numbers:
        if not 0 <= (one or 0) <= snapshot.sequence_number:  # those of format version 1 have none
            yield f"the sequence number {one}, where that of the snapshot is {snapshot.sequence_number}"


def check_place(uri: str, metadata: TableMetadata, dataset: str) -> None:
    """Refuse a file that another engine says is the table's, unless it lies in the table's folder.

    Raises:
        AccessDeniedError: Naming it.
    """
    try:
        object_key(metadata.location, uri)
    except (AccessDeniedError, InvalidInputError) as error:
        raise AccessDeniedError(
            f"The commit to {dataset} has a file elsewhere: {uri!r}.",
            hint=f"Files of this table belong under {metadata.location}/.",
        ) from error
