"""Rows into datasets and out of them, in every file format."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest

import cordillera
from tests.cli.furniture import ROWS
from tests.cli.harness import Cli

MORE = ROWS.set_column(0, "id", pa.array([11, 12, 13], pa.int64()))
TYPES = "k:long,b:boolean,i:int,f:float,d:double,m:decimal(10,2),day:date,t:time,ts:timestamp,tz:timestamptz,s:string"
TYPED_CSV = """k,b,i,f,d,m,day,t,ts,tz,s
1,true,7,1.5,2.25,3.10,2026-01-31,07:30:00,2026-01-31 07:30:00.000001,2026-01-31T09:30:00+02:00,""
2,,,,,,,,,,
"""
TYPED_JSON = """\
{"k":1,"b":true,"i":7,"f":1.5,"d":2.25,"m":"3.10","day":"2026-01-31","t":"07:30:00","ts":"2026-01-31 07:30:00.000001",\
"tz":"2026-01-31T09:30:00+02:00","s":""}
{"k":2,"b":null,"s":null}
"""
TYPED_ROW = {
    "k": 1,
    "b": True,
    "i": 7,
    "f": 1.5,
    "d": 2.25,
    "m": Decimal("3.10"),
    "day": datetime.date(2026, 1, 31),
    "t": datetime.time(7, 30),
    "ts": datetime.datetime(2026, 1, 31, 7, 30, 0, 1),
    "tz": datetime.datetime(2026, 1, 31, 7, 30, tzinfo=datetime.UTC),
    "s": "",
}


def _parquet(file: Path) -> None:
    pyarrow.parquet.write_table(MORE, file)


def _csv(file: Path) -> None:
    pyarrow.csv.write_csv(MORE, file)


def _arrow_file(file: Path) -> None:
    with pyarrow.ipc.new_file(file, MORE.schema) as writer:
        writer.write_table(MORE)


def _arrow_stream(file: Path) -> None:
    with pyarrow.ipc.new_stream(file, MORE.schema) as writer:
        writer.write_table(MORE)


def _json_lines(file: Path) -> None:
    file.write_text("".join(f'{{"id":{row["id"]},"day":"{row["day"]}"}}\n' for row in MORE.to_pylist()))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("new.parquet", _parquet),
        ("new.csv", _csv),
        ("new.arrow", _arrow_file),
        ("new.arrows", _arrow_stream),
        ("new.jsonl", _json_lines),
    ],
)
def test_files_of_every_format_are_written(
    name: str, write: Callable[[Path], None], orders: Path, cli: Cli, tmp_path: Path
) -> None:
    write(tmp_path / name)
    result = cli("dataset", "write", "sales.orders", tmp_path / name, "--output", "json")
    assert result.code == 0, result.err
    assert result.json()["rows_inserted"] == 3
    ids = cli("dataset", "read", "sales.orders", "--columns", "id", "--where", "id > 10", "--output", "json").json()
    assert sorted(row["id"] for row in ids) == [11, 12, 13]


@pytest.mark.parametrize(("suffix", "write"), [("parquet", _parquet), ("arrow", _arrow_stream), ("csv", _csv)])
def test_rows_come_from_stdin(
    suffix: str, write: Callable[[Path], None], orders: Path, cli: Cli, tmp_path: Path
) -> None:
    write(tmp_path / "rows")
    content = (tmp_path / "rows").read_bytes()
    assert cli("dataset", "write", "sales.orders", "-", "--format", suffix, stdin=content).code == 0
    without = cli("dataset", "write", "sales.orders", "-", stdin=content)
    assert without.code == 2
    assert "--format: parquet, csv, jsonl, arrow" in without.err


@pytest.mark.parametrize(("name", "content"), [("typed.csv", TYPED_CSV), ("typed.jsonl", TYPED_JSON)])
def test_text_takes_the_types_of_the_dataset(name: str, content: str, orders: Path, cli: Cli, tmp_path: Path) -> None:
    cli("dataset", "create", "sales.typed", "--schema", TYPES, "--key", "k")
    (tmp_path / name).write_text(content)
    result = cli("dataset", "write", "sales.typed", tmp_path / name)
    assert result.code == 0, result.err
    with cordillera.open(orders) as lake:
        rows = {row["k"]: row for row in lake.dataset("sales.typed").scan().to_arrow().to_pylist()}
    assert rows[1] == TYPED_ROW
    assert rows[2] == {**dict.fromkeys(TYPED_ROW), "k": 2}


def test_a_json_key_left_out_is_not_touched_by_a_partial_update(orders: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "change.jsonl").write_text('{"id":1,"country":"BO"}\n')
    cli("dataset", "write", "sales.orders", tmp_path / "change.jsonl", "--operation", "partial_update")
    (row,) = cli("dataset", "read", "sales.orders", "--where", "id = 1", "--output", "json").json()
    assert row == {"id": 1, "day": "2026-01-30", "total": "10.00", "country": "BO"}


def test_a_json_key_that_comes_late_is_refused_not_dropped(orders: Path, cli: Cli, tmp_path: Path) -> None:
    filler = "".join(f'{{"id":{number},"day":"2026-02-01"}}\n' for number in range(100, 60_000))
    (tmp_path / "late.jsonl").write_text(filler + '{"id":99,"country":"PE"}\n')
    result = cli("dataset", "write", "sales.orders", tmp_path / "late.jsonl")
    assert result.code == 2
    assert "unexpected field" in result.err
    assert len(cli("dataset", "read", "sales.orders", "--output", "json").json()) == 3


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rows.csv", "id,day\n77,yesterday\n", "conversion error"),
        ("rows.csv", "id,price\n77,1\n", "price"),
        ("rows.csv", "id,day\n77\n", "Expected 2 columns"),
        ("rows.parquet", "no parquet", "cannot be read"),
        ("rows.arrow", "no arrow", "cannot be read"),
        ("rows.json", '[{"id":77}]', "holds one JSON array"),
        ("rows.jsonl", '{"id":77,"day":"yesterday"}\n', "day"),
        ("rows.jsonl", "{id:77}\n", "cannot be read"),
        ("rows.xlsx", "", "What format the file"),
    ],
)
def test_rows_that_cannot_be_read_change_nothing(
    name: str, content: str, problem: str, orders: Path, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    result = cli("dataset", "write", "sales.orders", tmp_path / name)
    assert result.code == 2, result.err
    assert problem in result.err
    assert "unexpected went wrong" not in result.err
    assert len(cli("snapshot", "list", "sales.orders", "--output", "json").json()) == 1


@pytest.mark.parametrize("kind", ["binary", "fixed[4]", "uuid"])
def test_text_is_not_guessed_to_be_binary(kind: str, orders: Path, cli: Cli, tmp_path: Path) -> None:
    cli("dataset", "create", "sales.blobs", "--schema", f"k:long,x:{kind}")
    (tmp_path / "rows.csv").write_text("k,x\n1,abcd\n")
    (tmp_path / "rows.jsonl").write_text('{"k":1,"x":"abcd"}\n')
    for name, what in (("rows.csv", "CSV"), ("rows.jsonl", "JSON")):
        result = cli("dataset", "write", "sales.blobs", tmp_path / name)
        assert result.code == 2
        assert f"{what} cannot hold the column 'x'" in result.err


def test_nested_columns_come_from_json_lines(orders: Path, cli: Cli, tmp_path: Path) -> None:
    cli("dataset", "create", "sales.nested", "--schema", "k:long,tags:list<string>,home:struct<city:string,zip:int>")
    (tmp_path / "rows.jsonl").write_text('{"k":1,"tags":["a",null],"home":{"city":"Lima","zip":null}}\n{"k":2}\n')
    assert cli("dataset", "write", "sales.nested", tmp_path / "rows.jsonl").code == 0
    assert sorted(cli("dataset", "read", "sales.nested", "-o", "json").json(), key=lambda row: row["k"]) == [
        {"k": 1, "tags": ["a", None], "home": {"city": "Lima", "zip": None}},
        {"k": 2, "tags": None, "home": None},
    ]


def test_a_missing_file(orders: Path, cli: Cli) -> None:
    for name in ("no.csv", "no.parquet", "no.jsonl", "no.arrow"):
        result = cli("dataset", "write", "sales.orders", name)
        assert result.code == 2
        assert f"The file {name} cannot be read" in result.err


def test_replace_with_a_condition_and_a_completion(orders: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("id,day,total,country\n9,2026-01-31,1.00,EC\n")
    arguments = ["dataset", "write", "sales.orders", tmp_path / "day.csv", "--operation", "replace"]
    arguments += ["--where", "day = '2026-01-31'", "--completes", "2026-01-31", "--idempotency-key", "monday"]
    first, second = cli(*arguments), cli(*arguments)
    assert "2026-01-31 is complete." in first.err
    assert "It had been committed before" in second.err
    rows = cli("dataset", "read", "sales.orders", "--columns", "id", "--output", "json").json()
    assert sorted(row["id"] for row in rows) == [1, 9]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_rows_are_written_into_files(suffix: str, orders: Path, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / f"out.{suffix}"
    result = cli("dataset", "read", "sales.orders", "--to", file, "--columns", "id,country")
    assert result.code == 0, result.err
    assert result.out == ""
    read = {
        "parquet": pyarrow.parquet.read_table,
        "csv": pyarrow.csv.read_csv,
        "arrow": lambda path: pyarrow.ipc.open_file(path).read_all(),
    }
    found = read[suffix](file)
    assert sorted(zip(*found.to_pydict().values(), strict=True)) == [(1, "PE"), (2, "CL"), (3, "PE")]
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_a_failed_export_leaves_the_earlier_file_alone(orders: Path, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("kept")
    cli("dataset", "evolve", "sales.orders", "--add", "tags:list<string>")
    result = cli("dataset", "read", "sales.orders", "--to", file)
    assert result.code == 2
    assert "CSV cannot hold the column 'tags'" in result.err
    assert file.read_text() == "kept"


def test_an_export_into_a_place_that_is_not_there(orders: Path, cli: Cli) -> None:
    assert "No such file" in cli("dataset", "read", "sales.orders", "--to", "no/where.csv").err
    assert "Let it end in" in cli("dataset", "read", "sales.orders", "--to", "rows.xlsx").err


def test_csv_out_is_csv_in(orders: Path, cli: Cli, tmp_path: Path) -> None:
    """NULL and the empty string survive the way through CSV."""
    (tmp_path / "odd.csv").write_text('id,day,total,country\n21,,,""\n22,,,\n23,,,"a, ""b"""\n')
    cli("dataset", "write", "sales.orders", tmp_path / "odd.csv")
    shown = cli("dataset", "read", "sales.orders", "--where", "id > 20", "--output", "csv")
    (tmp_path / "again.csv").write_text(shown.out)
    cli("dataset", "create", "sales.again", "--like", tmp_path / "odd.csv")
    cli("dataset", "evolve", "sales.again", "--drop", "day", "--drop", "total")
    cli("dataset", "delete-rows", "sales.orders", "--where", "id > 20", "--yes")
    assert cli("dataset", "write", "sales.orders", tmp_path / "again.csv").code == 0
    found = cli("dataset", "read", "sales.orders", "--where", "id > 20", "--output", "json").json()
    assert {row["id"]: row["country"] for row in found} == {21: "", 22: None, 23: 'a, "b"'}


def test_a_table_shows_the_first_rows_and_says_so(orders: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(100, 150)))
    cli("dataset", "write", "sales.orders", tmp_path / "many.csv")
    few, all_rows = cli("dataset", "read", "sales.orders"), cli("dataset", "read", "sales.orders", "--limit", 53)
    assert len(few.out.splitlines()) == 21
    assert "The first 20 rows are shown" in few.err
    assert len(all_rows.out.splitlines()) == 54
    assert all_rows.err == ""
    assert len(cli("dataset", "read", "sales.orders", "--output", "json").json()) == 53
    assert len(cli("dataset", "read", "sales.orders", "--output", "csv", "--limit", 7).out.splitlines()) == 8


def test_reading_the_past(orders: Path, cli: Cli) -> None:
    cli("dataset", "delete-rows", "sales.orders", "--where", "id = 1", "--yes")
    count = "SELECT count(*) AS n FROM sales.orders"
    assert cli("sql", count, "--output", "json").json() == [{"n": 2}]
    assert cli("sql", count, "--as-of", "sales.orders=1", "--output", "json").json() == [{"n": 3}]
    assert len(cli("dataset", "read", "sales.orders", "--as-of", "1", "--output", "json").json()) == 3
    early = cli("dataset", "read", "sales.orders", "--as-of", "2001-01-01")
    assert early.code == 3
    assert cli("dataset", "read", "sales.orders", "--as-of", "soon").code == 3
    assert cli("sql", count, "--as-of", "1").code == 2


def test_reading_a_history(orders: Path, cli: Cli, tmp_path: Path) -> None:
    create = ["--schema", "id:long,at:int,city:string", "--key", "id", "--sequence", "at", "--merge", "scd2"]
    assert cli("dataset", "create", "sales.people", *create).code == 0
    file = tmp_path / "people.csv"
    file.write_text("id,at,city\n1,10,Oslo\n1,20,Rome\n2,15,Lima\n")
    assert cli("dataset", "write", "sales.people", file, "--operation", "upsert").code == 0

    def cities(*options: object) -> list[str]:
        rows = cli("dataset", "read", "sales.people", "--columns", "city", *options, "--output", "json").json()
        return sorted(row["city"] for row in rows)

    assert cities() == ["Lima", "Oslo", "Rome"]
    assert cities("--where", "is_current") == ["Lima", "Rome"]
    assert cities("--as-was", 15) == ["Lima", "Oslo"]
    assert cities("--as-was", 15, "--where", "id = 1") == ["Oslo"]
    assert cli("dataset", "read", "sales.orders", "--as-was", "2026-01-01").code == 4


def test_writes_are_explained_and_not_done(orders: Path, cli: Cli, tmp_path: Path) -> None:
    file, clauses = tmp_path / "change.csv", tmp_path / "merge.yaml"
    file.write_text("id,day,total,country\n1,2026-01-30,11.00,PE\n4,2026-01-30,1.00,PE\n")
    clauses.write_text("[{when: matched, then: delete}]")
    before = cli("dataset", "read", "sales.orders", "--output", "json").json()
    write = ["dataset", "write", "sales.orders", file, "--operation", "upsert", "--explain"]
    told = cli(*write, "--output", "json").json()
    assert (told["rows_inserted"], told["rows_updated"], told["files"][0]["action"]) == (1, 1, "mark")
    assert "The write mode is merge-on-read." in " ".join(cli(*write).out.split())
    merge = cli("dataset", "merge", "sales.orders", file, "--clauses", clauses, "--explain", "--output", "json").json()
    assert (merge["rows_deleted"], merge["files_written"]) == (1, 0)
    gone = cli("dataset", "delete-rows", "sales.orders", "--where", "id > 0", "--explain", "--output", "json").json()
    assert (gone["rows_deleted"], gone["files_searched"], gone["files"][0]["action"]) == (3, 0, "drop")
    assert cli("dataset", "read", "sales.orders", "--output", "json").json() == before


def test_a_query_from_stdin(orders: Path, cli: Cli) -> None:
    result = cli("sql", "-", "--output", "json", stdin=b"SELECT country FROM sales.orders WHERE id = 2")
    assert result.json() == [{"country": "CL"}]


def test_no_rows(orders: Path, cli: Cli) -> None:
    arguments = ["dataset", "read", "sales.orders", "--where", "id = 99", "--columns", "id,day"]
    assert cli(*arguments, "--output", "json").json() == []
    assert cli(*arguments, "--output", "csv").out == '"id","day"\n'
    assert cli(*arguments).out.split() == ["id", "day"]


def test_values_as_json(orders: Path, cli: Cli) -> None:
    query = "SELECT 'NaN'::DOUBLE AS n, 1.5::DECIMAL(4,2) AS m, [1, NULL] AS l, {'a': DATE '2026-01-31'} AS s"
    (row,) = cli("sql", query, "--output", "json").json()
    assert row["m"] == "1.50"
    assert row["l"] == [1, None]
    assert row["s"] == {"a": "2026-01-31"}


def test_a_broken_contract_says_which_rule(orders: Path, cli: Cli, tmp_path: Path) -> None:
    draft = cli("contract", "draft", "sales.orders").out
    (tmp_path / "contract.yaml").write_text(draft.replace("- name: country", "- name: country\n    required: true"))
    assert cli("contract", "put", "sales.orders", tmp_path / "contract.yaml").code == 0
    (tmp_path / "bad.csv").write_text("id,day,total,country\n50,2026-01-31,1.00,\n")
    refused = cli("dataset", "write", "sales.orders", tmp_path / "bad.csv")
    assert refused.code == 5
    assert "country" in refused.err


def test_a_contract_goes_in_and_comes_out_byte_for_byte(orders: Path, cli: Cli, tmp_path: Path) -> None:
    text = cli("contract", "draft", "sales.orders").out.replace("\n", "\r\n").rstrip() + "\r\nacme: 1  # ☃"
    (tmp_path / "contract.yaml").write_bytes(text.encode())
    assert cli("contract", "put", "sales.orders", tmp_path / "contract.yaml").code == 0
    with cordillera.open(orders) as lake:
        assert lake.dataset("sales.orders").contract().text == text


def test_a_job_whose_output_is_cut_otherwise_is_told_of_it(orders: Path, cli: Cli) -> None:
    for name, unit in (("sales.all_days", "whole"), ("sales.by_day", "day")):
        columns = ("--schema", "day:date,orders:long", "--completion-unit", unit)
        assert cli("dataset", "create", name, *columns).code == 0
        query = "SELECT day, count(*) AS orders FROM sales.orders GROUP BY day"
        made = cli("job", "create", name, "--sql", query, "--output-condition", "true")
        assert made.code == 0
        told = "partitions by day, and sales.all_days is cut by whole: none of it becomes complete" in made.err
        assert told == (unit == "whole")
