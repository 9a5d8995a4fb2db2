"""Rows: writing, reading, deleting and asking for them."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from cordillera.api.downloads import DESCRIPTION, Accept, rows_response
from cordillera.api.parameters import AsOfText, Backend, Branch, Condition, IdempotencyKey, LongText, Name, Text
from cordillera.api.uploads import JSON, Rows, body
from cordillera.arrow_stream import ARROW_STREAM, limited
from cordillera.catalog.commits import CommitResult
from cordillera.merge_codec import clauses_from_json
from cordillera.spec.explanation import WriteExplanation
from cordillera.spec.table_metadata import MAIN_BRANCH

router = APIRouter(tags=["rows"])
Operation = Annotated[Text, Query(description="append, upsert, partial_update, delete, replace or replace_partitions.")]
Clauses = Annotated[
    LongText,
    Query(
        description="JSON list of clauses, the first that applies to a row decides. Each has `when` (matched, "
        "not_matched, not_matched_by_source), `then` (update, delete, insert), and may have `condition`, `columns` "
        "and `set` (column → SQL), over `source.column` and `target.column`.",
        examples=['[{"when": "matched", "then": "update"}, {"when": "not_matched", "then": "insert"}]'],
    ),
]
RowLimit = Annotated[int | None, Query(ge=0, le=2**40, description="Most rows wanted.")]


class Question(BaseModel):
    """A query over datasets."""

    sql: LongText = Field(description="One SELECT; tables are written `namespace.dataset`.")
    as_of: dict[Text, int | Text] = Field(
        {},
        description="Dataset → snapshot's sequence number, date (the end of that day in UTC), time, branch or tag to "
        "read it as of.",
    )


@router.post(
    "/datasets/{name}/rows",
    summary="Write rows",
    openapi_extra=body(ARROW_STREAM, JSON, description="An Arrow IPC stream, or a JSON list of objects."),
)
def write_rows(
    backend: Backend,
    name: Name,
    rows: Rows,
    idempotency_key: IdempotencyKey,
    operation: Operation,
    where: Condition = None,
    completes: Annotated[Text | None, Query(description="A partition that is complete with this write.")] = None,
    branch: Branch = MAIN_BRANCH,
) -> CommitResult:
    """Write rows in one commit, all of them or none."""
    return backend.write(
        name,
        rows.reader(lambda: backend.schema(name)),
        operation,
        where=where,
        idempotency_key=idempotency_key,
        completes=completes,
        branch=branch,
    )


@router.post(
    "/datasets/{name}/merges",
    summary="Merge rows by clauses",
    openapi_extra=body(ARROW_STREAM, JSON, description="The source: an Arrow IPC stream, or a JSON list of objects."),
)
def merge_rows(
    backend: Backend,
    name: Name,
    rows: Rows,
    idempotency_key: IdempotencyKey,
    clauses: Clauses,
    completes: Annotated[Text | None, Query(description="A partition that is complete with this merge.")] = None,
    branch: Branch = MAIN_BRANCH,
) -> CommitResult:
    """Merge rows conditionally in one commit, all of it or nothing."""
    source = rows.reader(lambda: backend.schema(name), others=True)
    return backend.merge(
        name,
        source,
        clauses_from_json(clauses),
        idempotency_key=idempotency_key,
        completes=completes,
        branch=branch,
    )


@router.post(
    "/datasets/{name}/rows/explanation",
    summary="Explain a write",
    openapi_extra=body(ARROW_STREAM, JSON, description="An Arrow IPC stream, or a JSON list of objects."),
)
def explain_write(
    backend: Backend,
    name: Name,
    rows: Rows,
    operation: Operation,
    where: Condition = None,
    branch: Branch = MAIN_BRANCH,
) -> WriteExplanation:
    """What writing the rows would do to the dataset's files, and why. Nothing changes."""
    return backend.explain_write(name, rows.reader(lambda: backend.schema(name)), operation, where=where, branch=branch)


@router.post(
    "/datasets/{name}/merges/explanation",
    summary="Explain a merge",
    openapi_extra=body(ARROW_STREAM, JSON, description="The source: an Arrow IPC stream, or a JSON list of objects."),
)
def explain_merge(
    backend: Backend, name: Name, rows: Rows, clauses: Clauses, branch: Branch = MAIN_BRANCH
) -> WriteExplanation:
    """What merging the rows would do to the dataset's files, and why. Nothing changes."""
    source = rows.reader(lambda: backend.schema(name), others=True)
    return backend.explain_merge(name, source, clauses_from_json(clauses), branch=branch)


@router.post("/datasets/{name}/rows/deletion-explanation", summary="Explain a delete")
def explain_delete(
    backend: Backend,
    name: Name,
    where: Annotated[LongText, Query(description="SQL condition on the rows to delete.")],
    branch: Branch = MAIN_BRANCH,
) -> WriteExplanation:
    """What deleting the rows that satisfy a condition would do to the dataset's files, and why. Nothing changes."""
    return backend.explain_delete(name, where, branch=branch)


@router.get("/datasets/{name}/rows", summary="Read rows", response_class=Response, responses=DESCRIPTION)
def read_rows(
    backend: Backend,
    name: Name,
    accept: Accept,
    columns: Annotated[list[Text] | None, Query(description="Columns wanted, in order; all by default.")] = None,
    where: Condition = None,
    as_of: AsOfText = None,
    limit: RowLimit = None,
) -> Response:
    """Rows of a dataset. Arrow and CSV are streamed; JSON holds up to 10,000 rows and says whether there are more."""

    def read(most: int | None) -> pa.RecordBatchReader:
        return backend.scan(name, columns=columns, where=where, as_of=as_of, limit=most)

    return rows_response(accept, limit, read)


@router.get("/datasets/{name}/changes", summary="Read changes", response_class=Response, responses=DESCRIPTION)
def read_changes(
    backend: Backend,
    name: Name,
    accept: Accept,
    after: Annotated[
        Text | None,
        Query(description="The state to begin from, in the forms of `as_of`; the empty dataset if it is left out."),
    ] = None,
    upto: Annotated[Text | None, Query(description="The state to end with, likewise; now if it is left out.")] = None,
    columns: Annotated[list[Text] | None, Query(description="Columns wanted, in order; all by default.")] = None,
    where: Condition = None,
    net: Annotated[
        bool, Query(description="One change for each row that differs; else those of every commit, in their order.")
    ] = True,
    limit: RowLimit = None,
) -> Response:
    """What changed between two moments: rows with `_change_type` (insert, update_before, update_after, delete) and
    `_commit_sequence_number`. The images of an update follow each other."""

    def read(most: int | None) -> pa.RecordBatchReader:
        return backend.changes(name, after=after, upto=upto, columns=columns, where=where, net=net, limit=most)

    return rows_response(accept, limit, read)


@router.delete("/datasets/{name}/rows", summary="Delete rows")
def delete_rows(
    backend: Backend,
    name: Name,
    where: Annotated[LongText, Query(description="SQL condition on the rows to delete.")],
    idempotency_key: IdempotencyKey,
    branch: Branch = MAIN_BRANCH,
) -> CommitResult:
    """Delete the rows that satisfy a condition."""
    return backend.delete_where(name, where, idempotency_key=idempotency_key, branch=branch)


@router.post("/query", summary="Run a query", response_class=Response, responses=DESCRIPTION)
def query(backend: Backend, question: Question, accept: Accept, limit: RowLimit = None) -> Response:
    """Run a SELECT over datasets, in DuckDB's dialect."""

    def read(most: int | None) -> pa.RecordBatchReader:
        return limited(backend.query(question.sql, question.as_of), most)

    return rows_response(accept, limit, read)
