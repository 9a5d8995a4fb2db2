from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidNameError
from cordillera.spec.names import (
    DatasetRef,
    check_column_name,
    check_dataset_name,
    check_name,
    check_namespace_name,
    enclosing_names,
    innermost,
    parent_namespace,
    parse_dataset_ref,
)

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)


@pytest.mark.parametrize("name", ["", "1a", "A", "a-b", "a.b", "a b", "é", "a" * 121, "../x", "a/b", "a\n", "_a"])
def test_illegal_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_name(name, "namespace")


@pytest.mark.parametrize("name", ["orders_v2", "orders_v10"])
def test_endings_of_dataset_versions_are_reserved(name: str) -> None:
    with pytest.raises(InvalidNameError, match="dataset version"):
        check_dataset_name(name)


@pytest.mark.parametrize("name", ["", "a.b", "a\x00", "_row_id", "x" * 256])
def test_illegal_column_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_column_name(name)


@pytest.mark.parametrize("name", ["select", "Mixed Case", "größe", "a-b", "1st"])
def test_column_names_keep_their_owners_spelling(name: str) -> None:
    assert check_column_name(name) == name


NESTED = st.lists(NAMES, min_size=1, max_size=4).map(".".join)


@given(NESTED)
def test_namespaces_are_within_others(name: str) -> None:
    around = enclosing_names(check_namespace_name(name))
    assert around[0] == name
    assert [parent_namespace(one) for one in around] == [*around[1:], ""]
    assert len(around) == len(name.split("."))


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a.B", ".".join("abcdefghi"), "a." + "b" * 120])
def test_illegal_names_of_namespaces_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_namespace_name(name)


@given(namespace=NESTED, name=NAMES, number=st.one_of(st.none(), st.integers(1, 99)))
def test_references_survive_a_round_trip(namespace: str, name: str, number: int | None) -> None:
    ref = DatasetRef(namespace, name, number)
    again = parse_dataset_ref(str(ref))
    assert str(again) == str(ref)
    if number is not None:
        assert again == ref


@given(st.text())
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    try:
        ref = parse_dataset_ref(text)
    except InvalidNameError:
        return
    assert str(ref) == text


@given(levels=st.lists(st.lists(st.sampled_from(["a", "ab"]), max_size=3), min_size=2, max_size=2))
def test_the_innermost_of_two_namespaces_is_the_one_within_the_other(levels: list[list[str]]) -> None:
    one, other = levels
    inner, outer = (one, other) if len(one) >= len(other) else (other, one)
    expected = ".".join(inner) if inner[: len(outer)] == outer else None
    assert innermost(".".join(one), ".".join(other)) == expected
