"""What every object storage must do, as tests. Needs pytest.

Subclass :class:`StorageSuite` in a test module and provide the fixture ``storage``::

    class TestMyStorage(StorageSuite):
        @pytest.fixture
        def storage(self):
            return MyStorage("my://bucket/empty-folder")
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CorruptDataError,
    InvalidInputError,
    StorageUnavailableError,
)
from cordillera.ports.storage import Storage, UnfinishedObject

ODD_NAMES = [
    "a space",
    "p+lus",
    "per%cent",
    "%2Fescaped%20slash",
    "p=x%2F..%2Fy",
    "number#sign",
    "question?mark=1&b",
    "quote'double\"",
    "[brackets]*{braces}",
    "tilde~$,;:@!()^`|",
    "Ünïcødé 日本語 🏔",
    ".hidden",
    "...",
    "trailing.",
    "<xml>&amp;",
]
"""Names that are ordinary text to storage, but mean something to shells, URLs, globs or XML."""


class StorageSuite:
    """The behaviour of the storage port. Every test needs an empty storage of its own from the fixture."""

    @pytest.fixture
    def storage(self) -> Storage:
        """Return the storage to test."""
        raise NotImplementedError("Override the fixture 'storage' in the subclass.")

    # --- reading
    # ----------------------------------------------------------------------------------------------------

    def test_what_was_written_is_read(self, storage: Storage) -> None:
        uri = f"{storage.root}/a/b/c.bin"
        storage.write(uri, b"0123456789")
        assert storage.read(uri) == b"0123456789"
        assert storage.exists(uri)

    def test_a_folder_to_be_is_no_object(self, storage: Storage) -> None:
        storage.make_folder(f"{storage.root}/new/folder")
        storage.make_folder(f"{storage.root}/new/folder")
        assert list(storage.list(f"{storage.root}/new")) == []
        storage.write(f"{storage.root}/new/folder/object", b"1")
        assert [found.uri for found in storage.list(f"{storage.root}/new")] == [f"{storage.root}/new/folder/object"]
        with pytest.raises(AccessDeniedError):
            storage.make_folder(f"{storage.root}/../elsewhere")

    def test_an_empty_object_is_an_object(self, storage: Storage) -> None:
        storage.write(f"{storage.root}/empty", b"")
        with storage.open_output(f"{storage.root}/empty-stream"):
            pass
        for name in ("empty", "empty-stream"):
            assert storage.read(f"{storage.root}/{name}") == b""
            assert storage.exists(f"{storage.root}/{name}")

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, 4, b"0123"),
            (3, 4, b"3456"),
            (3, None, b"3456789"),
            (9, 1, b"9"),
            (0, 10, b"0123456789"),
            (5, 0, b""),
            (10, 0, b""),
            (10, None, b""),
        ],
    )
    def test_a_range_is_read(self, storage: Storage, offset: int, length: int | None, expected: bytes) -> None:
        uri = f"{storage.root}/ranges"
        storage.write(uri, b"0123456789")
        assert storage.read(uri, offset, length) == expected

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (8, 3), (10, 1), (11, 0), (11, None), (99, 5)])
    def test_a_range_beyond_the_end_is_corrupt(self, storage: Storage, offset: int, length: int | None) -> None:
        uri = f"{storage.root}/ranges"
        storage.write(uri, b"0123456789")
        with pytest.raises(CorruptDataError, match="10 bytes"):
            storage.read(uri, offset, length)

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_a_negative_range_is_refused(self, storage: Storage, offset: int, length: int | None) -> None:
        storage.write(f"{storage.root}/ranges", b"0123456789")
        with pytest.raises(InvalidInputError):
            storage.read(f"{storage.root}/ranges", offset, length)

    def test_an_object_is_open_for_random_access(self, storage: Storage) -> None:
        uri = f"{storage.root}/random"
        storage.write(uri, bytes(range(256)))
        with storage.open_input(uri) as file:
            assert isinstance(file, pa.NativeFile)
            assert file.size() == 256
            file.seek(200)
            assert file.read(3) == bytes([200, 201, 202])
            file.seek(0)
            assert file.read() == bytes(range(256))
        assert file.closed

    def test_a_missing_object_is_corrupt_data(self, storage: Storage) -> None:
        uri = f"{storage.root}/folder/missing"
        storage.write(f"{storage.root}/folder/there", b"x")
        for missing in (uri, f"{storage.root}/folder", f"{storage.root}/no/such/folder/x"):
            with pytest.raises(CorruptDataError, match="does not exist"):
                storage.read(missing)
            with pytest.raises(CorruptDataError, match="does not exist"):
                storage.read(missing, 0, 0)
            with pytest.raises(CorruptDataError, match="does not exist"), storage.open_input(missing):
                pass
            assert not storage.exists(missing)

    # --- writing
    # ----------------------------------------------------------------------------------------------------

    def test_an_object_is_written_once(self, storage: Storage) -> None:
        uri = f"{storage.root}/once"
        storage.write(uri, b"first")
        with pytest.raises(AlreadyExistsError, match="once"):
            storage.write(uri, b"second")
        with pytest.raises(AlreadyExistsError, match="once"), storage.open_output(uri) as file:
            file.write(b"third")
        assert storage.read(uri) == b"first"
        assert [found.uri for found in storage.list(storage.root)] == [uri]

    def test_a_large_stream_is_written_once(self, storage: Storage) -> None:
        uri = f"{storage.root}/once"
        storage.write(uri, b"first")
        with pytest.raises(AlreadyExistsError, match="once"), storage.open_output(uri) as file:
            _write_chunks(file, _random_bytes(12_000_000))
        assert storage.read(uri) == b"first"

    def test_a_large_stream_arrives_whole(self, storage: Storage) -> None:
        uri = f"{storage.root}/deep/er/large.bin"
        data = _random_bytes(25_000_001)
        with storage.open_output(uri) as file:
            assert isinstance(file, pa.NativeFile)
            _write_chunks(file, data)
        assert storage.read(uri) == data
        assert [found.size for found in storage.list(storage.root)] == [len(data)]
        with storage.open_input(uri) as file:
            file.seek(20_000_000)
            assert file.read(1_000) == data[20_000_000:20_001_000]

    def test_a_large_object_is_written_at_once(self, storage: Storage) -> None:
        data = _random_bytes(17_000_000)
        storage.write(f"{storage.root}/large", data)
        assert storage.read(f"{storage.root}/large", 16_999_990) == data[-10:]

    def test_parquet_makes_the_round_trip(self, storage: Storage) -> None:
        uri = f"{storage.root}/data/part.parquet"
        table = pa.table({"n": pa.array(range(200_000)), "s": pa.array(["x", None] * 100_000)})
        with storage.open_output(uri) as file:
            pq.write_table(table, file, row_group_size=20_000)
        with storage.open_input(uri) as file:
            assert pq.ParquetFile(file, pre_buffer=True).read().equals(table)

    def test_the_writer_may_close_the_stream(self, storage: Storage) -> None:
        with storage.open_output(f"{storage.root}/closed") as file:
            file.write(b"all")
            file.close()
        assert storage.read(f"{storage.root}/closed") == b"all"

    @pytest.mark.parametrize("size", [10, 20_000_000])
    def test_an_object_is_visible_at_the_end_only(self, storage: Storage, size: int) -> None:
        uri = f"{storage.root}/folder/later"
        with storage.open_output(uri) as file:
            _write_chunks(file, bytes(size))
            file.flush()
            assert not storage.exists(uri)
            assert list(storage.list(storage.root)) == []
            with pytest.raises(CorruptDataError):
                storage.read(uri)
        assert storage.exists(uri)

    @pytest.mark.parametrize("size", [0, 10, 20_000_000])
    def test_nothing_remains_of_a_failed_stream(self, storage: Storage, size: int) -> None:
        uri = f"{storage.root}/folder/failed"

        def write_and_fail() -> None:
            with storage.open_output(uri) as file:
                _write_chunks(file, bytes(size))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write_and_fail()
        assert not storage.exists(uri)
        assert list(storage.list(storage.root)) == []
        storage.write(uri, b"the next attempt succeeds")
        assert storage.read(uri) == b"the next attempt succeeds"

    @pytest.mark.parametrize("streamed", [False, True])
    def test_of_concurrent_writers_exactly_one_wins(self, storage: Storage, streamed: bool) -> None:
        writers, rounds = 8, 5
        barrier = Barrier(writers, timeout=60)

        def write(uri: str, data: bytes) -> bytes | None:
            barrier.wait()
            try:
                if streamed:
                    with storage.open_output(uri) as file:
                        file.write(data)
                else:
                    storage.write(uri, data)
            except AlreadyExistsError:
                return None
            return data

        with ThreadPoolExecutor(writers) as threads:
            for number in range(rounds):
                uri = f"{storage.root}/contested/{number}"
                claims = [threads.submit(write, uri, f"writer {n}".encode()) for n in range(writers)]
                winners = [claim.result() for claim in claims if claim.result() is not None]
                assert winners == [storage.read(uri)]

    # --- deleting and listing
    # ---------------------------------------------------------------------------------------

    def test_delete_can_be_repeated(self, storage: Storage) -> None:
        uris = [f"{storage.root}/d/{n}" for n in range(3)]
        for uri in uris:
            storage.write(uri, b"x")
        storage.delete([*uris[:2], f"{storage.root}/never/was"])
        storage.delete(iter(uris[:2]))
        storage.delete([])
        assert [found.uri for found in storage.list(storage.root)] == uris[2:]
        storage.write(uris[0], b"again")
        assert storage.read(uris[0]) == b"again"

    def test_deleting_a_folder_deletes_no_object(self, storage: Storage) -> None:
        storage.write(f"{storage.root}/folder/x", b"x")
        storage.delete([f"{storage.root}/folder", f"{storage.root}/folder/x/y"])
        assert storage.exists(f"{storage.root}/folder/x")

    def test_a_listing_describes_the_objects(self, storage: Storage) -> None:
        before = datetime.now(UTC)
        storage.write(f"{storage.root}/a/one", b"1")
        storage.write(f"{storage.root}/a/deep/er/two", b"22")
        found = {stored.uri: stored for stored in storage.list(storage.root)}
        assert {uri: stored.size for uri, stored in found.items()} == {
            f"{storage.root}/a/one": 1,
            f"{storage.root}/a/deep/er/two": 2,
        }
        for stored in found.values():
            assert stored.modified_at.tzinfo is not None
            assert abs(stored.modified_at - before) < timedelta(minutes=5)

    def test_the_prefix_is_a_folder(self, storage: Storage) -> None:
        for name in ("a/b/x", "a/b/c/y", "a/bc/x", "a/b.txt", "b/x"):
            storage.write(f"{storage.root}/{name}", b"x")
        expected = {f"{storage.root}/a/b/x", f"{storage.root}/a/b/c/y"}
        assert {found.uri for found in storage.list(f"{storage.root}/a/b")} == expected
        assert {found.uri for found in storage.list(f"{storage.root}/a/b/")} == expected
        assert len(list(storage.list(f"{storage.root}/"))) == 5
        assert list(storage.list(f"{storage.root}/no/such/folder")) == []
        assert list(storage.list(f"{storage.root}/b/x")) == []

    def test_a_listing_has_no_limit(self, storage: Storage) -> None:
        uris = [f"{storage.root}/many/{n % 7}/{n:05d}" for n in range(1_500)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda uri: storage.write(uri, b"x"), uris))
        assert sorted(found.uri for found in storage.list(f"{storage.root}/many")) == sorted(uris)
        storage.delete(uris[1:])
        assert [found.uri for found in storage.list(storage.root)] == uris[:1]

    # --- what is settled together
    # -----------------------------------------------------------------------------------

    def test_what_is_to_be_settled_is_there_at_once(self, storage: Storage) -> None:
        together = storage.together()
        together.write(f"{storage.root}/a/written", b"x")
        with together.open_output(f"{storage.root}/b/streamed") as file:
            file.write(b"yy")
        together.write(f"{storage.root}/a/large", bytes(2_000_000))
        sizes = {found.uri.rpartition("/")[2]: found.size for found in storage.list(storage.root)}
        assert sizes == {"written": 1, "streamed": 2, "large": 2_000_000}
        with pytest.raises(AlreadyExistsError):
            together.write(f"{storage.root}/a/written", b"z")
        together.delete([f"{storage.root}/b/streamed"])
        together.settle()
        together.settle()
        assert storage.read(f"{storage.root}/a/written") == b"x"
        assert len(list(together.list(storage.root))) == 2

    # --- what is not finished
    # ---------------------------------------------------------------------------------------

    def test_what_is_being_written_is_listed_as_unfinished(self, storage: Storage) -> None:
        storage.write(f"{storage.root}/a/done", b"x")
        with (
            storage.open_output(f"{storage.root}/a/b/begun") as file,
            storage.open_output(f"{storage.root}/c") as other,
        ):
            _write_chunks(file, bytes(20_000_000))
            _write_chunks(other, bytes(20_000_000))
            (found,) = storage.list_unfinished(f"{storage.root}/a")
            assert found.uri.startswith(f"{storage.root}/a/b/")
            assert 0 <= found.size <= 20_000_000
            assert abs(found.modified_at - datetime.now(UTC)) < timedelta(minutes=5)
            assert len(list(storage.list_unfinished(storage.root))) == 2
            assert list(storage.list_unfinished(f"{storage.root}/b")) == []
        assert list(storage.list_unfinished(storage.root)) == []
        assert storage.exists(f"{storage.root}/a/b/begun")

    def test_what_was_discarded_is_never_published(self, storage: Storage) -> None:
        uri = f"{storage.root}/folder/begun"

        def write_what_is_discarded() -> None:
            with storage.open_output(uri) as file:
                _write_chunks(file, bytes(20_000_000))
                found = list(storage.list_unfinished(storage.root))
                assert len(found) == 1
                storage.discard(found)
                storage.discard(found)

        with pytest.raises(StorageUnavailableError):
            write_what_is_discarded()
        assert not storage.exists(uri)
        assert list(storage.list_unfinished(storage.root)) == []
        storage.write(uri, b"the next attempt succeeds")

    def test_discarding_what_was_published_meanwhile_changes_nothing(self, storage: Storage) -> None:
        uri = f"{storage.root}/folder/begun"
        with storage.open_output(uri) as file:
            _write_chunks(file, bytes(20_000_000))
            found = list(storage.list_unfinished(storage.root))
        storage.discard(found)
        assert [(stored.uri, stored.size) for stored in storage.list(storage.root)] == [(uri, 20_000_000)]

    def test_nothing_outside_the_root_is_discarded(self, storage: Storage) -> None:
        name = ".tmp-" + "0" * 32
        for uri in (f"{storage.root}/../{name}", f"{storage.root}/a/%2e%2e/{name}", f"{storage.root}-sibling/{name}"):
            with pytest.raises(AccessDeniedError):
                storage.discard([UnfinishedObject(uri, 1, datetime.now(UTC), "upload")])
            with pytest.raises(AccessDeniedError):
                list(storage.list_unfinished(uri.removesuffix(f"/{name}")))

    # --- names
    # ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_names_are_taken_literally(self, storage: Storage, name: str) -> None:
        uri = f"{storage.root}/{name}/{name}.parquet"
        storage.write(uri, name.encode())
        assert storage.exists(uri)
        assert storage.read(uri) == name.encode()
        with storage.open_input(uri) as file:
            assert file.read() == name.encode()
        assert [found.uri for found in storage.list(f"{storage.root}/{name}")] == [uri]
        with storage.open_output(f"{uri}-streamed") as file:
            file.write(b"x")
        storage.delete([uri])
        assert [found.uri for found in storage.list(storage.root)] == [f"{uri}-streamed"]

    @pytest.mark.parametrize(
        "uri",
        [
            "{root}/../outside",
            "{root}/a/../../outside",
            "{root}/a/../b",
            "{root}/./a",
            "{root}/%2e%2e/outside",
            "{root}/%2E./outside",
            "{root}-sibling/x",
            "/etc/passwd",
            "other://{root}/x",
            "",
        ],
    )
    def test_a_uri_outside_the_root_is_denied(self, storage: Storage, uri: str) -> None:
        self._assert_refused(storage, uri.format(root=storage.root), AccessDeniedError)

    @pytest.mark.parametrize(
        "name", ["", "a//b", "/a", "a/", "a\nb", "nul\0", "back\\slash", "\ud800", "x.tmp-" + "0" * 32]
    )
    def test_a_name_that_no_object_can_have_is_refused(self, storage: Storage, name: str) -> None:
        self._assert_refused(storage, f"{storage.root}/{name}", InvalidInputError, listing=False)

    def _assert_refused(self, storage: Storage, uri: str, refusal: type[Exception], *, listing: bool = True) -> None:
        def open_input() -> None:
            with storage.open_input(uri):
                pass

        def open_output() -> None:
            with storage.open_output(uri):
                pass

        attempts: list[Callable[[], object]] = [
            lambda: storage.read(uri),
            lambda: storage.write(uri, b"x"),
            open_input,
            open_output,
            lambda: storage.exists(uri),
            lambda: storage.delete([uri]),
        ]
        if listing:  # a listing's folder may end in a slash
            attempts.append(lambda: list(storage.list(uri)))
        for attempt in attempts:
            with pytest.raises(refusal):
                attempt()
        assert list(storage.list(storage.root)) == []


def _random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 # test data


def _write_chunks(file: pa.NativeFile, data: bytes) -> None:
    view = memoryview(data)
    for start in range(0, len(data), 700_000):
        file.write(view[start : start + 700_000])
