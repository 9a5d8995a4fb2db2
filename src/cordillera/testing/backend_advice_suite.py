"""What every lake must do, embedded or behind a server, as tests: advice about layout. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.errors import DatasetNotFoundError
from cordillera.spec.advice import LayoutAdvice, Proposal, ProposalKind
from cordillera.testing.backend_suite import LakeSuite

_FILES, _ROWS = 8, 4_000
_FIRST = (date(2025, 1, 1) - date(1970, 1, 1)).days
_SMALL_FILES = {"write.target-file-size-bytes": "30000", "cordillera.maintenance.enabled": "false"}
_SCHEMA = pa.schema({"id": pa.int64(), "day": pa.date32(), "note": pa.string()})


class AdviceSuite(LakeSuite):
    """Advice follows from what was asked of a dataset, and what it foretells comes true."""

    @pytest.fixture
    def scattered(self, backend: LakeBackend, namespace: str) -> Dataset:
        """Return a dataset each of whose files holds rows of the whole year."""
        backend.create_dataset(f"{namespace}.scattered", _SCHEMA, TableOptions(key=("id",), properties=_SMALL_FILES))
        dataset, random = Dataset(backend, f"{namespace}.scattered"), np.random.default_rng(7)
        for ids in np.split(random.permutation(_FILES * _ROWS), _FILES):
            days = pa.array(_FIRST + random.integers(0, 360, _ROWS), pa.int32()).cast(pa.date32())
            notes = [f"{number:x}" for number in random.integers(0, 2**60, _ROWS)]
            dataset.write(pa.table({"id": ids, "day": days, "note": notes}, schema=_SCHEMA), "append")
        return dataset

    def only(self, advice: LayoutAdvice, kind: ProposalKind) -> Proposal:
        (proposal,) = advice.proposals
        assert proposal.kind is kind
        return proposal

    def test_without_evidence_it_says_so(self, backend: LakeBackend, scattered: Dataset) -> None:
        advice = scattered.advise()
        assert advice.proposals == ()
        assert advice.note.startswith("There is no evidence to advise by: 0 scans and 0 merges in 30 days")
        assert (advice.files, advice.rows) == (_FILES, _FILES * _ROWS)
        with pytest.raises(DatasetNotFoundError):
            backend.advise("nowhere.nothing")

    def test_queries_of_days_lead_to_partitions(self, backend: LakeBackend, scattered: Dataset) -> None:
        for month in range(1, 13):
            last = f"2025-{month:02d}-10"
            backend.query(f"SELECT count(*) FROM {scattered.name} WHERE day BETWEEN '2025-{month:02d}-01' AND '{last}'")
        proposal = self.only(scattered.advise(), ProposalKind.PARTITION)
        assert proposal.what == "Partition by month(day)."
        assert "12 of 12 scans in 30 days asked for a range of day" in proposal.why
        assert proposal.read_now == proposal.files_now
        scattered.partition_by("month(day)")
        scattered.compact(rewrite_all=True)
        assert scattered.advise().proposals == ()

    def test_small_files_lead_to_compaction(self, backend: LakeBackend, namespace: str) -> None:
        options = TableOptions(properties={"cordillera.maintenance.small-files": "5"})
        backend.create_dataset(f"{namespace}.small", _SCHEMA, options)
        dataset = Dataset(backend, f"{namespace}.small")
        for number in range(6):
            dataset.write([{"id": number}], "append")
        proposal = self.only(dataset.advise(), ProposalKind.COMPACT)
        assert proposal.commands == (f"cordillera dataset compact {dataset.name}",)
        dataset.compact()
        assert dataset.advise().files == proposal.files_then == 1
