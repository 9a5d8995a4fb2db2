"""The audit log: chained so that its past cannot be changed unseen, and exported into a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from cordillera.catalog.lookup import Lookup
from cordillera.catalog.namespaces import NamespaceService
from cordillera.catalog.new_table import TableOptions
from cordillera.catalog.service import CatalogService
from cordillera.catalog.writes import WriteService
from cordillera.errors import AlreadyExistsError, DatasetNotFoundError, NamespaceNotFoundError
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.audit_chain import (
    AUDIT_DATASET,
    AuditVerification,
    chained,
    head_of,
    parse_head,
    place_of,
    problem_of,
)
from cordillera.spec.event import AuditEntry
from cordillera.spec.merge import Operation
from cordillera.spec.names import parse_dataset_ref

_CHAINED_AT_ONCE, _READ_AT_ONCE, _EXPORTED_AT_ONCE = 500, 1_000, 20_000
_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("principal", pa.string()),
        pa.field("action", pa.string()),
        pa.field("object_kind", pa.string()),
        pa.field("object_name", pa.string()),
        pa.field("details", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("hash", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class AuditExport:
    """What an export did: how many entries it brought to which dataset."""

    dataset: str
    entries: int


class AuditService:
    """Keeps the audit log.

    Args:
        store: Where it is.
        lookup: Knows who may see it.
        namespaces, catalog, writes: Make and fill the dataset it is exported to.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        namespaces: NamespaceService,
        catalog: CatalogService,
        writes: WriteService,
    ) -> None:
        self._store, self._lookup = store, lookup
        self._namespaces, self._catalog, self._writes = namespaces, catalog, writes

    def chain(self) -> int:
        """Give some of the entries that wait their place in the chain; return how many.

        Commits do not wait for each other's hashes: whoever works gives out places behind them, one at a time.
        """
        with self._store.read() as tx:
            if not tx.audit.waiting(1):
                return 0
        with self._store.write() as tx:
            newest = tx.audit.lock_chain()
            links = chained(tx.audit.waiting(_CHAINED_AT_ONCE), newest)
            tx.audit.chain(links)
        return len(links)

    def verify(self, head: str = "", *, newest: int | None = None) -> AuditVerification:
        """Look whether the chain holds, from its beginning, and take in what waits; an administrator may.

        Args:
            head: What an earlier look had given, and was kept elsewhere: the entry there has to be the same still.
            newest: Look at so many of the newest entries only, and take in nothing.

        Raises:
            InvalidInputError: If the head has not the form of one.
        """
        expected = parse_head(head) if head else None
        self._check_may_administer()
        while newest is None and self.chain():
            pass
        with self._store.read() as tx:
            last = tx.audit.chain_end()
            after = 0 if newest is None else max(0, place_of(last) - newest)
            begin = tx.audit.chained(after - 1, 1) if after else []
        found = self._follow(begin[0] if begin else None, last)
        if found.holds and expected is not None:
            with self._store.read() as tx:
                there = next(iter(tx.audit.chained(expected[0] - 1, 1)), None)
            if head_of(there) != head:
                problem = f"The entry at place {expected[0]} is not the one that was there: the chain was made anew."
                found = replace(found, holds=False, problem=problem, number=there.number if there else None)
        return found

    def export(self, name: str = AUDIT_DATASET) -> AuditExport:
        """Bring what is new in the audit log into a dataset, which is made if need be.

        Its rows have the key ``position``: repeating an export, or two at once, changes nothing.

        Args:
            name: The dataset.

        Raises:
            AccessDeniedError: If whoever asks does not administer the lake.
        """
        self._check_may_administer()
        while self.chain():
            pass
        after = exported = self._exported(name)
        with self._store.read() as tx:
            last = tx.audit.chain_end()
        end = place_of(last)  # what the export's own commits add is for the next one
        while after < end:
            upto = min(after + _EXPORTED_AT_ONCE, end)
            rows = pa.RecordBatchReader.from_batches(_SCHEMA, self._batches(after, upto))
            self._writes.write(name, rows, Operation.UPSERT)
            after = upto
        return AuditExport(name, after - exported)

    def _exported(self, name: str) -> int:
        """Return how many entries a dataset has, and make it if it is not there; places have no gaps."""
        try:
            newest = self._catalog.snapshots(name, limit=1)
        except (DatasetNotFoundError, NamespaceNotFoundError):
            with suppress(AlreadyExistsError):
                self._namespaces.create(parse_dataset_ref(name).namespace, description="What the lake keeps of itself")
            options = TableOptions(key=("position",), partitioning=("month(at)",))
            self._catalog.create_dataset(name, _SCHEMA, options, description="The audit log, exported")
            return 0
        return newest[0].rows if newest else 0

    def _batches(self, after: int, upto: int) -> Iterator[pa.RecordBatch]:
        while after < upto:
            with self._store.read() as tx:
                entries = tx.audit.chained(after, min(_READ_AT_ONCE, upto - after))
            if not entries:
                return
            yield pa.RecordBatch.from_pylist([_row(entry) for entry in entries], _SCHEMA)
            after = place_of(entries[-1])

    def _follow(self, previous: AuditEntry | None, last: AuditEntry | None) -> AuditVerification:
        """Look at the entries behind one, up to another."""
        looked_at, end = 0, place_of(last)
        while place_of(previous) < end:
            with self._store.read() as tx:
                entries = tx.audit.chained(place_of(previous), _READ_AT_ONCE)
            for entry in entries:
                if problem := problem_of(entry, previous):
                    number = entry.number if entry.position == place_of(previous) + 1 else None
                    return AuditVerification(False, looked_at, head_of(previous), problem, number)
                previous, looked_at = entry, looked_at + 1
                if entry.position == end:
                    break
        return AuditVerification(True, looked_at, head_of(previous))

    def _check_may_administer(self) -> None:
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)


def _row(entry: AuditEntry) -> dict[str, object]:
    return {
        "position": entry.position,
        "number": entry.number,
        "at": entry.at,
        "principal": entry.principal,
        "action": entry.action,
        "object_kind": entry.object_kind,
        "object_name": entry.object_name,
        "details": json.dumps(entry.details, sort_keys=True, ensure_ascii=False),
        "trace_id": entry.trace_id,
        "hash": entry.hash,
    }
