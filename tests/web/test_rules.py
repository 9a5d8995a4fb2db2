"""The pure parts of the pages: how values are written, links are made, pages are cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError
from cordillera.web import formatting
from cordillera.web.levels import Level, level_of, worst
from cordillera.web.links import link, local_path, with_query
from cordillera.web.paging import number_or_none, slice_of, uuid_or_none
from cordillera.web.preview import preview_of

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(milliseconds=12), "12 ms"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=1), "1 min"),
        (timedelta(minutes=119), "1 h"),
        (timedelta(hours=47), "47 h"),
        (timedelta(hours=48), "2 days"),
        (timedelta(days=60), "2 months"),
        (timedelta(days=800), "2 years"),
        (-timedelta(seconds=5), "5 s"),
    ],
)
def test_durations(length: timedelta, text: str) -> None:
    assert formatting.duration(length) == text


def test_moments() -> None:
    assert formatting.relative(NOW, NOW) == "just now"
    assert formatting.relative(NOW - timedelta(hours=3), NOW) == "3 h ago"
    assert formatting.relative(NOW + timedelta(days=3), NOW) == "in 3 days"
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert formatting.utc(elsewhere) == "2026-03-14 15:09:26 UTC"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (10**18, "1,000.0 PB")],
)
def test_sizes(count: int, text: str) -> None:
    assert formatting.size(count) == text


def test_values_of_events() -> None:
    assert formatting.plain({"a": [1, 2], "b": {}}) == "a 1, 2, b none"
    assert formatting.plain([]) == "none"
    assert formatting.plain(12345) == "12,345"
    assert formatting.plain(True) == "True"


@given(st.text(max_size=60), st.integers(2, 30))
def test_shortened_text_is_never_longer(text: str, most: int) -> None:
    cut = formatting.shortened(text, most)
    assert len(cut) <= most
    assert cut == text or cut.endswith("…")


@given(st.text(max_size=60), st.text(max_size=20))
def test_marking_words_changes_no_text(text: str, query: str) -> None:
    pieces = formatting.highlighted(text, query)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(piece for piece, _ in pieces)


def test_words_are_marked_from_their_beginning() -> None:
    assert formatting.highlighted("Spaß: ß!", "ss") == [("Spaß: ", False), ("ß", True), ("!", False)]
    assert formatting.highlighted("Dep_delay of departures", "dep de") == [
        ("Dep", True), ("_", False), ("de", True), ("lay of ", False), ("dep", True), ("artures", False),
    ]  # fmt: skip


@given(st.text(max_size=40))
def test_a_login_stays_on_this_server(text: str) -> None:
    path = local_path(text)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert not any(character < " " for character in path)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_what_a_link_carries_comes_back(value: str, other: str) -> None:
    query = parse_qs(
        urlsplit(link("/search", q=value, tag=other)).query, keep_blank_values=True, errors="surrogatepass"
    )
    assert query.get("q") == [value]
    assert query.get("tag", [""]) == [other]


def test_links_leave_out_what_is_empty() -> None:
    assert link("/a b/ü", "part", x="", y=None, z=()) == "/a%20b/%C3%BC#part"
    assert with_query("/runs", {"state": "failed", "before": "x"}, before="") == "/runs?state=failed"
    assert link("/x", expand=["a", "b"]) == "/x?expand=a&expand=b"


def test_a_list_is_cut_into_pages() -> None:
    whole = list(range(7))

    def page(after: int) -> tuple[tuple[int, ...], str]:
        cut = slice_of(lambda limit: [n for n in whole if n > after][:limit], lambda n: n, length=3)
        return cut.items, cut.next

    assert page(-1) == ((0, 1, 2), "2")
    assert page(2) == ((3, 4, 5), "5")
    assert page(5) == ((6,), "")
    assert page(6) == ((), "")
    assert page(3) == ((4, 5, 6), ""), "a full last page has no following one"


def test_places_in_lists_are_read_strictly() -> None:
    assert number_or_none("") is None
    assert number_or_none("12") == 12
    one = uuid4()
    assert uuid_or_none(str(one)) == one
    for wrong in ("x", "-1", "1.5", "٣", "9" * 30, " 1"):
        with pytest.raises(InvalidInputError):
            number_or_none(wrong)
    with pytest.raises(InvalidInputError):
        uuid_or_none("12")


def test_the_worse_level_wins() -> None:
    assert worst([]) is Level.NONE
    assert worst([Level.OK, Level.NONE]) is Level.OK
    assert worst([Level.WARN, Level.OK, Level.BAD, Level.INFO]) is Level.BAD
    assert level_of("failed") is Level.BAD
    assert level_of("never heard of") is Level.NONE


def test_a_preview_writes_every_kind_of_value() -> None:
    table = pa.table(
        {
            "text": pa.array(["x" * 150, "", None]),
            "number": pa.array([1.5, float("nan"), None]),
            "time": pa.array([NOW, NOW.replace(microsecond=5000), None], pa.timestamp("us", "UTC")),
            "bytes": pa.array([b"\x00\xff", b"x" * 1000, None]),
            "nested": pa.array([{"a": [1]}, {"a": []}, None]),
            "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
            "flag": pa.array([True, False, None]),
            "nothing": pa.nulls(3),
        }
    )
    shown = preview_of(table)
    assert [column.name for column in shown.columns if column.numeric] == ["number"]
    first, second, third = shown.rows
    assert first[0] == "x" * 100 + "…"
    assert first[1:5] == ("1.5", "2026-03-14 15:09:26Z", "0x00ff", '{"a":[1]}')
    assert second[0] == ""
    assert second[2] == "2026-03-14 15:09:26.005000Z"
    assert second[3] == f"0x{'78' * 24}… (1,000 bytes)"
    assert first[5:7] == ('[["k",1]]', "true")
    assert third == (None,) * 8


def test_a_preview_of_no_rows() -> None:
    assert preview_of(pa.table({"a": pa.array([], pa.int64())})).rows == ()
