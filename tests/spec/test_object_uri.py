from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import AccessDeniedError, CordilleraError, CorruptDataError, InvalidInputError
from cordillera.spec.object_uri import (
    canonical,
    check_range,
    folder_key,
    is_object_key,
    is_unfinished,
    object_key,
    unfinished_key,
)

ROOT = "file:///data/lake"
anything = st.text(st.sampled_from("ab./%2eEfF\\ #?\x00\n") | st.characters(), max_size=12)


@given(anything)
def test_a_key_comes_back_literally_or_not_at_all(key: str) -> None:
    if is_object_key(key):
        assert object_key(ROOT, f"{ROOT}/{key}") == key
        assert folder_key(ROOT, f"{ROOT}/{key}") == folder_key(ROOT, f"{ROOT}/{key}/") == key
    else:
        with pytest.raises((AccessDeniedError, InvalidInputError)):
            object_key(ROOT, f"{ROOT}/{key}")


@given(anything)
def test_no_legal_key_has_a_second_spelling_or_leaves_the_root(key: str) -> None:
    if is_object_key(key):
        assert not {"", ".", ".."} & set(key.split("/"))
        assert "\\" not in key


@pytest.mark.parametrize("uri", ["file:/data/lake/a/b", "file:///data/lake/a/b"])
def test_local_files_may_be_written_as_hadoop_does(uri: str) -> None:
    assert canonical(uri) == "file:///data/lake/a/b"
    assert object_key(ROOT, uri) == "a/b"
    assert folder_key(ROOT, f"{uri}/") == "a/b"


@pytest.mark.parametrize("uri", ["file:/data/lake2/a", "file:/data/a", "file://data/lake/a", "file:data/lake/a"])
def test_and_are_outside_all_the_same_if_they_are(uri: str) -> None:
    with pytest.raises(AccessDeniedError, match="outside"):
        object_key(ROOT, uri)


@given(st.text(max_size=30))
def test_what_does_not_begin_with_the_root_is_outside(uri: str) -> None:
    with pytest.raises(AccessDeniedError, match="outside"):
        object_key(ROOT, uri)


@pytest.mark.parametrize("prefix", [ROOT, f"{ROOT}/"])
def test_the_root_is_a_folder_and_no_object(prefix: str) -> None:
    assert folder_key(ROOT, prefix) == ""
    with pytest.raises(CordilleraError):
        object_key(ROOT, prefix)


@pytest.mark.parametrize("key", ["p=a%2Fb", "p=%2E%2E%2Fetc", "a b", "...", "..a", "x.tmp-1", "%"])
def test_escapes_are_text(key: str) -> None:
    assert object_key(ROOT, f"{ROOT}/{key}") == key


@pytest.mark.parametrize("key", ["..", "a/..", "./a", "%2e%2e/a", ".%2E", "a/%2e"])
def test_dot_segments_are_denied_also_when_encoded(key: str) -> None:
    with pytest.raises(AccessDeniedError, match="dot segment"):
        object_key(ROOT, f"{ROOT}/{key}")


def test_unfinished_names() -> None:
    assert is_unfinished(".tmp-" + "0f" * 16)
    assert is_unfinished("data.parquet.tmp-" + "0f" * 16)
    assert not is_unfinished(".tmp-" + "0f" * 16 + "x")


@given(offset=st.integers(0, 20), length=st.none() | st.integers(0, 20), size=st.integers(0, 20))
def test_a_range_is_within_the_object_or_refused(offset: int, length: int | None, size: int) -> None:
    data = bytes(size)
    whole = len(data[offset:]) if length is None else length
    fits = offset <= size and len(data[offset : offset + whole]) == whole
    if fits:
        check_range("x", offset, length, size)
    else:
        with pytest.raises(CorruptDataError):
            check_range("x", offset, length, size)


def test_an_unfinished_file_lies_inside_the_root() -> None:
    name = ".tmp-" + "0f" * 16
    assert unfinished_key("file:///lake", f"file:///lake/{name}") == name
    assert unfinished_key("file:///lake", f"file:///lake/a/b/{name}") == f"a/b/{name}"
    for uri in (f"file:///other/{name}", f"file:///lake/../{name}", f"file:///lake/a/%2e%2e/{name}", name):
        with pytest.raises(AccessDeniedError):
            unfinished_key("file:///lake", uri)
    for uri in ("file:///lake/data.parquet", "file:///lake/a", f"file:///lake/a//{name}"):
        with pytest.raises(InvalidInputError):
            unfinished_key("file:///lake", uri)
