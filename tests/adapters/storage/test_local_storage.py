from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO

from cordillera.adapters.storage.local import LocalStorage
from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CorruptDataError,
    InvalidConfigurationError,
    InvalidInputError,
    StorageUnavailableError,
)
from cordillera.ports.storage import UnfinishedObject
from cordillera.testing.storage_suite import StorageSuite


class TestLocalStorage(StorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(str(tmp_path / "not yet there" / "lake"))


class TestLocalStorageBehindALink(StorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        return LocalStorage(f"file://{tmp_path}/link/lake")


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path / "lake"))


def files(storage: LocalStorage) -> list[str]:
    """Every file below the root, also those that no listing shows."""
    root = Path(storage.root.removeprefix("file://"))
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


# --- nothing half-written --------------------------------------------------------------------------------------------


def test_no_unfinished_file_remains(storage: LocalStorage) -> None:
    storage.write(f"{storage.root}/a/written", b"x")
    with storage.open_output(f"{storage.root}/a/streamed") as file:
        file.write(b"x")
        assert len(files(storage)) == 2  # the second is unfinished
    with pytest.raises(ZeroDivisionError), storage.open_output(f"{storage.root}/a/failed"):
        raise ZeroDivisionError
    with pytest.raises(AlreadyExistsError):
        storage.write(f"{storage.root}/a/written", b"y")
    assert files(storage) == ["a/streamed", "a/written"]


def test_a_killed_writer_leaves_nothing_visible(
    storage: LocalStorage, kill_a_writer: Callable[[str, Mapping[str, str], str], None]
) -> None:
    uri = f"{storage.root}/a/killed"
    kill_a_writer(storage.root, {}, uri)
    assert not storage.exists(uri)
    assert list(storage.list(storage.root)) == []
    assert len(files(storage)) == 1  # the file it could not remove, under its unfinished name
    storage.write(uri, b"the next attempt succeeds")
    assert [found.uri for found in storage.list(storage.root)] == [uri]
    (left,) = storage.list_unfinished(storage.root)
    assert left.size > 0
    storage.discard([left])
    assert files(storage) == ["a/killed"]


def test_only_unfinished_files_are_discarded(storage: LocalStorage) -> None:
    storage.write(f"{storage.root}/a/written", b"x")
    written = UnfinishedObject(f"{storage.root}/a/written", 1, datetime.now(UTC))
    with pytest.raises(InvalidInputError, match="unfinished"):
        storage.discard([written])
    assert files(storage) == ["a/written"]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_object_is_made_durable_before_it_is_visible(
    tmp_path: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    steps: list[tuple[str, Path]] = []
    fsync, link = os.fsync, os.link

    def record_fsync(descriptor: int) -> None:
        steps.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def record_link(source: str, target: str) -> None:
        steps.append(("link", Path(target)))
        link(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "link", record_link)
    if streamed:
        with storage.open_output(f"{storage.root}/folder/x") as file:
            file.write(b"x")
    else:
        storage.write(f"{storage.root}/folder/x", b"x")
    lake = tmp_path / "lake"
    unfinished = steps[2][1]
    assert unfinished.name.startswith(".tmp-")
    assert steps == [
        ("fsync", tmp_path),  # holds the new directory lake
        ("fsync", lake),  # holds the new directory folder
        ("fsync", unfinished),
        ("link", lake / "folder" / "x"),
        ("fsync", lake / "folder"),
    ]


@pytest.mark.parametrize("failing", [1, 2])  # the sync of the file, that of its directory
def test_an_object_that_cannot_be_made_durable_does_not_appear(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    storage.write(f"{storage.root}/folder/first", b"x")
    calls = iter(range(1, 10))

    def failing_fsync(descriptor: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.EIO, "the disk failed")

    monkeypatch.setattr(os, "fsync", failing_fsync)
    with pytest.raises(StorageUnavailableError, match="folder/second"):
        storage.write(f"{storage.root}/folder/second", b"x")
    assert files(storage) == ["folder/first"]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes of what was made durable."""
    made: list[int] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        made.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return made


def test_what_is_settled_is_durable_once_and_its_names_with_it(storage: LocalStorage, synced: list[int]) -> None:
    for folder in ("a", "b"):
        storage.make_folder(f"{storage.root}/{folder}")
    together = storage.together()
    synced.clear()
    for name in ("a/1", "a/2", "b/3", "b/gone"):
        together.write(f"{storage.root}/{name}", b"x")
    together.delete([f"{storage.root}/b/gone"])
    lake = Path(storage.root.removeprefix("file://"))
    assert synced == [(lake / "b").stat().st_ino]  # the removal
    synced.clear()
    together.settle()
    together.settle()
    assert sorted(synced) == sorted((lake / one).stat().st_ino for one in ("a/1", "a/2", "b/3", "a", "b"))
    assert files(storage) == ["a/1", "a/2", "b/3"]


def test_what_is_large_or_much_is_durable_before_it_is_settled(storage: LocalStorage, synced: list[int]) -> None:
    storage.make_folder(storage.root)
    together = storage.together()
    synced.clear()
    together.write(f"{storage.root}/large", bytes(2_000_000))
    assert len(synced) == 2
    for number in range(40):
        together.write(f"{storage.root}/{number}", b"x")
    assert len(synced) == 2 + 2 * 8
    together.settle()
    assert len(set(synced)) == 41 + 1


def test_what_cannot_be_settled_is_said(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.make_folder(f"{storage.root}/folder")
    for failing in range(3):  # of two files and their directory
        together = storage.together()
        for number in range(2):
            together.write(f"{storage.root}/folder/{failing}-{number}", b"x")
        calls = iter(range(3))

        def failing_fsync(descriptor: int, failing: int = failing, calls: Iterator[int] = calls) -> None:
            if next(calls) == failing:
                raise OSError(errno.EIO, "the disk failed")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing_fsync)
            with pytest.raises(StorageUnavailableError, match="folder"):
                together.settle()


def test_views_leave_no_descriptors_open(storage: LocalStorage) -> None:
    def kept() -> set[str]:
        paths = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
        return {path for path in paths if storage.root.removeprefix("file://") in path}

    for end in ("settled", "forgotten"):
        together = storage.together()
        for number in range(3):
            together.write(f"{storage.root}/{end}/{number}", b"x")
        assert len(kept()) == 3
        if end == "settled":
            together.settle()
            assert kept() == set()
    del together
    assert kept() == set()


def test_threads_that_settle_at_the_same_time_wait_for_their_own(storage: LocalStorage, synced: list[int]) -> None:
    def write(number: int) -> None:
        together = storage.together()
        paths = [f"{number}/{one}" for one in range(4)]
        for path in paths:
            together.write(f"{storage.root}/{path}", b"x")
        together.settle()
        lake = Path(storage.root.removeprefix("file://"))
        assert {(lake / path).stat().st_ino for path in paths} <= set(synced)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(24)))


_FORK = """
import os, sys
from cordillera.adapters.storage.local import LocalStorage
storage = LocalStorage(sys.argv[1])

def write(name):
    together = storage.together()
    for number in range(3):
        together.write(f"{storage.root}/{name}/{number}", b"x")
    together.settle()

write("parent")
child = os.fork()
if child == 0:
    write("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_process_settles_too(storage: LocalStorage) -> None:
    subprocess.run([sys.executable, "-c", _FORK, storage.root], check=True, timeout=120)
    assert files(storage) == [f"{who}/{number}" for who in ("child", "parent") for number in range(3)]


def test_a_file_system_without_hard_links_is_refused(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(InvalidConfigurationError, match="hard links"):
        storage.write(f"{storage.root}/x", b"x")
    assert files(storage) == []


# --- a full disk -----------------------------------------------------------------------------------------------------

_FILL = """
import json, resource, sys
from pathlib import Path
from tempfile import TemporaryDirectory
import pyarrow as pa, pyarrow.parquet as pq
from cordillera.adapters.storage.local import LocalStorage
from cordillera.errors import CordilleraError
root, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
storage = LocalStorage(root)
storage.write(f"{storage.root}/folder/first", b"fits")

def write():
    storage.write(f"{storage.root}/folder/written", bytes(3_000_000))

def stream():
    with storage.open_output(f"{storage.root}/folder/streamed") as file:
        for _ in range(30):
            file.write(bytes(100_000))

def parquet():
    rows = pa.table({"n": pa.array(range(1_000_000))})
    with storage.open_output(f"{storage.root}/folder/parquet") as file:
        with pq.ParquetWriter(file, rows.schema, use_dictionary=False, compression="none") as writer:
            writer.write_table(rows, row_group_size=50_000)

raised = []
for attempt in (write, stream, parquet):
    try:
        attempt()
        raised.append("nothing")
    except CordilleraError as error:
        raised.append(type(error).__name__)
storage.write(f"{storage.root}/folder/last", b"fits again")
files = [p.name for p in Path(root).rglob("*") if p.is_file()]
print(json.dumps({"raised": raised, "files": sorted(files), "listed": len(list(storage.list(storage.root)))}))
"""

_MOUNT_AND_FILL = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -c "$3" "$1/lake" 0'


def _fill_a_small_file_system(directory: Path) -> subprocess.CompletedProcess[str]:
    """Fill a 2 MB file system, mounted in a namespace of its own (so it is gone with the process)."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    command = [*unshare, "sh", "-c", _MOUNT_AND_FILL, "sh", str(directory), sys.executable, _FILL]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _fill_up_to_a_file_size(directory: Path) -> subprocess.CompletedProcess[str]:
    """Write beyond the largest file the process may write, which needs no privilege."""
    command = [sys.executable, "-c", _FILL, str(directory / "lake"), "2000000"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _can_mount() -> bool:
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mount = ["sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    return subprocess.run([*unshare, *mount], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("fill", [_fill_up_to_a_file_size, *([_fill_a_small_file_system] if _can_mount() else [])])
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, fill: Callable[[Path], subprocess.CompletedProcess[str]]
) -> None:
    done = fill(tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "raised": ["StorageFullError"] * 3,
        "files": ["first", "last"],
        "listed": 2,
    }


# --- what the operating system refuses -------------------------------------------------------------------------------

_ACT_AS_SOMEBODY_ELSE = """
import os, sys
from cordillera.adapters.storage.local import LocalStorage
from cordillera.errors import AccessDeniedError
storage = LocalStorage(sys.argv[1])
if os.geteuid() == 0:  # whom no mode keeps out
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
uri = f"{storage.root}/closed/x"
def open_output():
    with storage.open_output(f"{storage.root}/closed/z"):
        pass
attempts = {
    "read": lambda: storage.read(uri),
    "write": lambda: storage.write(f"{storage.root}/closed/y", b"x"),
    "open_output": open_output,
    "exists": lambda: storage.exists(uri),
    "delete": lambda: storage.delete([uri]),
    "list": lambda: list(storage.list(f"{storage.root}/closed")),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "succeeded")
    except AccessDeniedError as error:
        assert "closed" in str(error), error
        assert "owner and mode" in error.hint
"""


def test_files_of_others_are_denied() -> None:
    with TemporaryDirectory() as directory:  # pytest's own directories are closed to others
        Path(directory).chmod(0o755)
        storage = LocalStorage(directory)
        storage.write(f"{storage.root}/closed/x", b"x")
        closed = Path(directory) / "closed"
        closed.chmod(0)
        try:
            command = [sys.executable, "-c", _ACT_AS_SOMEBODY_ELSE, directory]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            closed.chmod(0o700)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert files(storage) == ["closed/x"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_file_system_is_denied(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    storage.write(f"{storage.root}/there", b"x")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AccessDeniedError, match=os.strerror(number)):
        storage.write(f"{storage.root}/x", b"x")


def test_a_name_too_long_is_refused(storage: LocalStorage) -> None:
    with pytest.raises(InvalidInputError, match="too long"):
        storage.write(f"{storage.root}/{'x' * 300}", b"x")


def test_the_longest_name_is_written(storage: LocalStorage) -> None:
    storage.write(f"{storage.root}/{'x' * 255}", b"x")
    assert files(storage) == ["x" * 255]


def test_an_object_is_no_folder_and_a_folder_no_object(storage: LocalStorage) -> None:
    storage.write(f"{storage.root}/a/b", b"x")
    for uri in (f"{storage.root}/a", f"{storage.root}/a/b/c", f"{storage.root}/a/b/c/d"):
        with pytest.raises(AlreadyExistsError):
            storage.write(uri, b"x")
    assert files(storage) == ["a/b"]


# --- links -----------------------------------------------------------------------------------------------------------


def test_links_out_of_the_root_are_denied(tmp_path: Path, storage: LocalStorage) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    storage.write(f"{storage.root}/inside", b"x")
    (tmp_path / "lake" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "lake" / "file").symlink_to(tmp_path / "outside" / "secret")
    (tmp_path / "lake" / "dangling").symlink_to(tmp_path / "outside" / "new")
    for name in ("folder/secret", "file", "dangling"):
        uri = f"{storage.root}/{name}"
        for attempt in (
            lambda uri=uri: storage.read(uri),
            lambda uri=uri: storage.write(uri, b"x"),
            lambda uri=uri: storage.exists(uri),
            lambda uri=uri: storage.delete([uri]),
            lambda uri=uri: storage.list(uri),
        ):
            with pytest.raises(AccessDeniedError, match="link"):
                attempt()
        with pytest.raises(AccessDeniedError), storage.open_input(uri):
            pass
        with pytest.raises(AccessDeniedError), storage.open_output(uri):
            pass
    assert [found.uri for found in storage.list(storage.root)] == [f"{storage.root}/inside"]
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_unfinished_files_are_not_looked_for_behind_links(tmp_path: Path, storage: LocalStorage) -> None:
    name = ".tmp-" + "0f" * 16
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / name).write_bytes(b"of somebody else")
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "lake" / name).symlink_to(tmp_path / "outside" / name)
    assert list(storage.list_unfinished(storage.root)) == []
    with pytest.raises(AccessDeniedError, match="link"):
        storage.list_unfinished(f"{storage.root}/folder")
    for uri in (f"{storage.root}/folder/{name}", f"{storage.root}/{name}"):
        with pytest.raises(AccessDeniedError, match="link"):
            storage.discard([UnfinishedObject(uri, 1, datetime.now(UTC))])
    assert (tmp_path / "outside" / name).read_bytes() == b"of somebody else"


def test_a_link_loop_is_denied(tmp_path: Path, storage: LocalStorage) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "loop").symlink_to(tmp_path / "lake" / "loop")
    with pytest.raises(AccessDeniedError):
        storage.read(f"{storage.root}/loop")


# --- damage, and other readers ---------------------------------------------------------------------------------------


def test_a_file_cut_short_while_it_is_open_is_an_error_not_a_crash(storage: LocalStorage) -> None:
    uri = f"{storage.root}/cut"
    table = pa.table({"n": pa.array(range(1_000_000))})
    with storage.open_output(uri) as file:
        pq.write_table(table, file, compression="none", use_dictionary=False)
    with storage.open_input(uri) as file:
        parquet = pq.ParquetFile(file)
        os.truncate(uri.removeprefix("file://"), 100_000)
        with pytest.raises(OSError, match=r"end of stream|bytes"):
            parquet.read()
    with pytest.raises(CorruptDataError, match="100000 bytes"):
        storage.read(uri, 200_000, 10)


def test_errors_of_the_block_are_left_alone(tmp_path: Path, storage: LocalStorage) -> None:
    storage.write(f"{storage.root}/x", b"x")
    with pytest.raises(FileNotFoundError), storage.open_output(f"{storage.root}/y"):
        (tmp_path / "of the block's own").read_bytes()
    with pytest.raises(FileNotFoundError), storage.open_input(f"{storage.root}/x"):
        (tmp_path / "of the block's own").read_bytes()


def test_a_disk_that_fails_under_a_stream_is_unavailable(storage: LocalStorage) -> None:
    storage.write(f"{storage.root}/x", b"x")
    failure = OSError(errno.EIO, "Error reading bytes from file")  # what pyarrow raises
    with pytest.raises(StorageUnavailableError, match="lake/x"), storage.open_input(f"{storage.root}/x"):
        raise failure
    with pytest.raises(StorageUnavailableError, match="lake/y"), storage.open_output(f"{storage.root}/y"):
        raise failure
    assert files(storage) == ["x"]


@pytest.mark.parametrize("name", ["a space", "per%20cent", "p=a%2Fb", "Ünïcødé 日本語", "p+lus"])
def test_other_readers_find_the_same_file(storage: LocalStorage, name: str) -> None:
    uri = f"{storage.root}/{name}/{name}.parquet"
    with storage.open_output(uri) as file:
        pq.write_table(pa.table({"name": [name]}), file)
    with PyArrowFileIO().new_input(uri).open() as file:
        assert file.read() == storage.read(uri)
    assert duckdb.sql("SELECT name FROM read_parquet($uri)", params={"uri": uri}).fetchall() == [(name,)]


@pytest.mark.parametrize("name", ["number#sign", "question?mark"])
def test_duckdb_finds_a_file_that_pyiceberg_would_cut(storage: LocalStorage, name: str) -> None:
    uri = f"{storage.root}/{name}/{name}.parquet"
    with storage.open_output(uri) as file:
        pq.write_table(pa.table({"name": [name]}), file)
    assert duckdb.sql("SELECT name FROM read_parquet($uri)", params={"uri": uri}).fetchall() == [(name,)]
    assert not PyArrowFileIO().new_input(uri).exists()  # remove the remark in spec/object_uri.py when this changes
