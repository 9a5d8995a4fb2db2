from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cordillera.errors import StorageFullError, StorageUnavailableError
from cordillera.testing.storage_memory import FaultyStorage, MemoryStorage
from cordillera.testing.storage_suite import StorageSuite


class TestMemoryStorage(StorageSuite):
    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()


class TestFaultyStorageWithoutFaults(StorageSuite):
    @pytest.fixture
    def storage(self) -> FaultyStorage:
        return FaultyStorage(MemoryStorage())


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(MemoryStorage())


def stream(storage: FaultyStorage, name: str, *chunks: bytes) -> None:
    with storage.open_output(f"{storage.root}/{name}") as file:
        for chunk in chunks:
            file.write(chunk)


def names(storage: FaultyStorage) -> list[str]:
    return sorted(found.uri.removeprefix(f"{storage.root}/") for found in storage.list(storage.root))


def test_memory_storage_takes_the_time_from_its_clock() -> None:
    instant = datetime(2026, 1, 2, tzinfo=UTC)
    storage = MemoryStorage(now=lambda: instant)
    storage.write(f"{storage.root}/x", b"x")
    assert [found.modified_at for found in storage.list(storage.root)] == [instant]


def test_the_nth_write_fails_once_and_leaves_nothing(storage: FaultyStorage) -> None:
    storage.fail_write(3)
    storage.write(f"{storage.root}/1", b"x")
    stream(storage, "2", b"x")
    with pytest.raises(StorageUnavailableError, match="lake/3"):
        stream(storage, "3", b"x", b"y")
    assert names(storage) == ["1", "2"]
    stream(storage, "3", b"x", b"y")
    storage.fail_write()
    with pytest.raises(StorageUnavailableError, match="lake/4"):
        storage.write(f"{storage.root}/4", b"x")
    assert names(storage) == ["1", "2", "3"]


def test_a_write_fails_midway_once(storage: FaultyStorage) -> None:
    storage.fail_after(10)
    storage.write(f"{storage.root}/1", b"12345")
    with pytest.raises(StorageUnavailableError, match="lake/2"):
        stream(storage, "2", b"12345", b"6")
    assert names(storage) == ["1"]
    stream(storage, "2", b"12345", b"6")
    assert storage.read(f"{storage.root}/2") == b"123456"


def test_a_full_storage_refuses_until_something_is_deleted(storage: FaultyStorage) -> None:
    storage.limit(10)
    storage.write(f"{storage.root}/1", b"1234567890")
    with pytest.raises(StorageFullError):
        storage.write(f"{storage.root}/2", b"1")
    with pytest.raises(StorageFullError):
        stream(storage, "2", b"1")
    assert names(storage) == ["1"]
    storage.delete([f"{storage.root}/1"])
    with pytest.raises(StorageFullError):
        stream(storage, "2", b"123456", b"78901")
    stream(storage, "2", b"123456", b"7890")
    storage.limit(None)
    storage.write(f"{storage.root}/3", b"any")
    assert names(storage) == ["2", "3"]
