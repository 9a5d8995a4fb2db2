"""The audit log says what commits did, and nothing of those that did nothing."""

from __future__ import annotations

import pyarrow as pa

from cordillera.client import Lake


def test_what_a_commit_did_is_audited(lake: Lake) -> None:
    lake.create_namespace("a")
    dataset = lake.create_dataset(
        "a.b", {"id": pa.int64(), "revision": pa.int64()}, key=["id"], sequence="revision", completion_unit="day"
    )
    dataset.write([{"id": 1, "revision": 2}], "upsert")
    dataset.write([{"id": 1, "revision": 1}], "upsert")  # late
    dataset.write(pa.table({"id": pa.array([], pa.int64()), "revision": pa.array([], pa.int64())}), "upsert")
    dataset.write([{"id": 1, "revision": 0}], "upsert", completes="2026-01-01")
    dataset.complete("2026-01-02")
    dataset.write([{"id": 1, "revision": 3}], "upsert", completes="2026-01-03")
    assert [(entry.action, entry.details.get("completed")) for entry in lake.backend.audit(object_name="a.b")] == [
        ("dataset.commit", "2026-01-03"),
        ("dataset.complete", "2026-01-02"),
        ("dataset.complete", "2026-01-01"),
        ("dataset.commit", None),
        ("dataset.create", None),
    ]
