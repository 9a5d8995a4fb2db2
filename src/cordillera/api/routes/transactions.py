"""Transactions: writes to several datasets in one commit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from cordillera.api.parameters import Backend, IdempotencyKey, LongText, Text
from cordillera.api.uploads import JSON, RowsOfSeveral, body
from cordillera.arrow_stream import ARROW_STREAM
from cordillera.catalog.requests import CommitResult
from cordillera.codec import Page
from cordillera.transaction_codec import writes_from_json

router = APIRouter(tags=["rows"])
Writes = Annotated[
    LongText,
    Query(
        description="JSON list of writes, at most one to a dataset. Each has `dataset` and `operation`, and may have "
        "`where` (the rows that a replacement or a delete is about), `completes` and `branch`.",
        examples=[
            '[{"dataset": "sales.orders", "operation": "upsert"}, '
            '{"dataset": "sales.carts", "operation": "delete", "where": "id = 7"}]'
        ],
    ),
]


@router.post(
    "/transactions",
    summary="Write to several datasets in one commit",
    openapi_extra=body(
        ARROW_STREAM,
        JSON,
        description="The rows of each write but deletes by a condition, in their order: Arrow IPC streams, one behind "
        "the other, or a JSON list of lists of objects.",
    ),
)
def write_together(
    backend: Backend,
    rows: RowsOfSeveral,
    idempotency_key: IdempotencyKey,
    writes: Writes,
    message: Annotated[Text, Query(description="What it is about; snapshots, events and the audit log say it.")] = "",
) -> Page[CommitResult]:
    """Write to several datasets; all of it becomes visible in one moment, or nothing."""
    asked = writes_from_json(writes)
    schemas = [partial(backend.schema, write.dataset) for write in asked if write.takes_rows]
    readers = iter(rows.readers(schemas))
    filled = [replace(write, rows=next(readers)) if write.takes_rows else write for write in asked]
    return Page(backend.write_together(filled, message=message, idempotency_key=idempotency_key), None)
