"""Reading YAML: what is refused, where complaints point, and how plain values are read."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidContractError
from cordillera.spec.contract.document import MAX_BYTES, MAX_DEPTH, NOT_TEXT, Node, read_document


def plain(node: Node) -> object:
    match node.value:
        case dict() as entries:
            return {key: plain(value) for key, value in entries.items()}
        case list() as elements:
            return [plain(element) for element in elements]
        case value:
            return value


def test_plain_values_are_read_by_the_yaml_1_2_core_schema() -> None:
    text = (
        "a: NO, b: yes, c: true, d: 06:00, e: 2013-01-01, f: 010, g: 0x1F, h: 1e3, i: ~, j:, k: '1', l: -2.5, m: 1_000"
    )
    read = plain(read_document(text.replace(", ", "\n")))
    assert read == {
        **{"a": "NO", "b": "yes", "c": True, "d": "06:00", "e": "2013-01-01", "f": 10, "g": 31, "h": 1000.0},
        **{"i": None, "j": None, "k": "1", "l": -2.5, "m": "1_000"},
    }


def test_json_is_read_as_well() -> None:
    assert plain(read_document(b'{"a": [1, {"b": null}], "c": "x"}')) == {"a": [1, {"b": None}], "c": "x"}


def test_a_byte_order_mark_is_skipped() -> None:
    assert plain(read_document(b"\xef\xbb\xbfa: 1")) == {"a": 1}


def test_nodes_know_their_path_and_line() -> None:
    root = read_document("schema:\n  - name: a\n    quality:\n      - metric: x\n")
    node = root.list_at("schema")[0].list_at("quality")[0].entries()["metric"]
    assert (node.path, node.line) == ("schema[0].quality[0].metric", 4)


@pytest.mark.parametrize(
    ("text", "complaint", "line"),
    [
        ("a: &x 1\nb: 2", "anchors", 1),
        ("a: 1\nb: *x", "anchors", 2),
        ("a: &x [1]\nb: [*x, *x]", "anchors", 1),
        ("a: 1\nb: 2\na: 3", "twice", 3),
        ("x:\n  - {a: 1, a: 2}", "twice", 2),
        ("a: !!python/object:os.system x", "tag", 1),
        ("a: !mine [1]", "tag", 1),
        ("a: !!binary aGk=", "tag", 1),
        ("a: 1\n---\nb: 2", "second document", 2),
        ("? [a, b]\n: 1", "key", 1),
        ("", "empty", 1),
        ("# only a comment", "empty", 1),
        ("- a\n- b", "not a mapping", 1),
        ("just text", "not a mapping", 1),
        ("a: [1, 2\nb: 3", "not valid YAML", None),
        ("a: 'x\n", "not valid YAML", None),
        ("a: \x07", "not valid YAML", None),
        ("[" * 200, "nested deeper", 1),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused(text: str, complaint: str, line: int | None) -> None:
    with pytest.raises(InvalidContractError, match=complaint) as refused:
        read_document(text)
    if line is not None:
        assert refused.value.details["line"] == line


def test_a_bomb_of_aliases_is_refused_before_it_is_expanded() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    with pytest.raises(InvalidContractError, match="anchors"):
        read_document(bomb)


def test_size_depth_and_encoding_are_limited() -> None:
    with pytest.raises(InvalidContractError, match="limit is 1,048,576"):
        read_document("a: " + "x" * MAX_BYTES)
    assert read_document("a: " + "x" * (MAX_BYTES - 10))
    deep = "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    with pytest.raises(InvalidContractError, match="nested deeper than 40"):
        read_document(deep)
    with pytest.raises(InvalidContractError, match="not UTF-8"):
        read_document(b"a: \xff")
    with pytest.raises(InvalidContractError, match="not UTF-8"):
        read_document("a: \ud800")


def test_an_unknown_key_suggests_the_one_that_was_meant() -> None:
    node = read_document("requried: true")
    with pytest.raises(InvalidContractError, match="'requried'") as refused:
        node.check_keys(("required", "unique"))
    assert "Did you mean 'required'?" in refused.value.hint


@given(st.text())
def test_text_never_fails_with_another_error(text: str) -> None:
    with suppress(InvalidContractError):
        read_document(text)


@given(st.binary())
def test_bytes_never_fail_with_another_error(raw: bytes) -> None:
    with suppress(InvalidContractError):
        read_document(raw)


_TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]))
_SCALARS = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | _TEXT
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner), max_leaves=20)


@given(st.dictionaries(_TEXT, _JSON))
def test_json_values_are_read_back_as_they_are(value: dict[str, object]) -> None:
    assert plain(read_document(json.dumps(value, ensure_ascii=False))) == value


@given(st.text(alphabet="0123456789.eExXo+-truefalsnNULi_", min_size=1, max_size=12))
def test_what_is_read_as_something_else_than_text_is_recognised(text: str) -> None:
    read = plain(read_document(f"a: +{text}"))  # the sign keeps it from being a list or a document mark
    assert isinstance(read, dict)
    assert isinstance(read["a"], str) == (NOT_TEXT.match(f"+{text}") is None)


def test_the_loader_is_the_safe_one() -> None:
    from cordillera.spec.contract import document

    assert document._LOADER in (getattr(yaml, "CSafeLoader", None), yaml.SafeLoader)
