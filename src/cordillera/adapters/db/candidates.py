"""Rows of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap, chunks
from cordillera.adapters.db.schema import candidates
from cordillera.adapters.db.session import Session
from cordillera.spec.candidate import Candidate
from cordillera.spec.contract import Severity, Violation

CANDIDATE = RowMap(Candidate, candidates)


class SqlCandidateRows:
    """See :class:`cordillera.ports.metadata.candidates.CandidateRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, candidate: Candidate) -> None:
        """Add a candidate."""
        kept = [asdict(violation) for violation in candidate.violations]
        self._session.write(sa.insert(candidates), {**CANDIDATE.values(candidate), "violations": kept})

    def of(self, version_id: UUID) -> list[Candidate]:
        """Return the candidates of a dataset version, newest first."""
        query = CANDIDATE.select().where(candidates.c.dataset_version_id == version_id)
        return self._load(query.order_by(candidates.c.sequence_number.desc()))

    def due(self, now: datetime, limit: int) -> list[Candidate]:
        """Return candidates that have expired."""
        expires_at = candidates.c.expires_at
        return self._load(CANDIDATE.select().where(expires_at <= now).order_by(expires_at).limit(limit))

    def drop(self, version_id: UUID, branch: str) -> None:
        """Forget the candidate on a branch, if there is one."""
        mine = (candidates.c.dataset_version_id == version_id, candidates.c.branch == branch)
        self._session.write(sa.delete(candidates).where(*mine))

    def published(self, version_id: UUID, sequence_numbers: Sequence[int]) -> None:
        """Forget the candidates among snapshots."""
        for chosen in chunks(sequence_numbers):
            mine = (candidates.c.dataset_version_id == version_id, candidates.c.sequence_number.in_(chosen))
            self._session.write(sa.delete(candidates).where(*mine))

    def _load(self, query: sa.Select[Any]) -> list[Candidate]:
        found = CANDIDATE.all(self._session, query)
        return [replace(one, violations=tuple(map(_violation, one.violations))) for one in found]


def _violation(kept: object) -> Violation:
    fields = cast("Mapping[str, Any]", kept)
    return Violation(**{**fields, "severity": Severity(fields["severity"]), "examples": tuple(fields["examples"])})
