"""A dataset as people work with it: lazy, printable, and readable by every Arrow library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from uuid import UUID

import pyarrow as pa

from cordillera.catalog.commits import CommitResult
from cordillera.client.backend import DatasetDetails, LakeBackend
from cordillera.client.candidates import DatasetCandidates
from cordillera.client.consumption import DatasetConsumption
from cordillera.client.contract_proposals import DatasetContractProposals
from cordillera.client.contracts import DatasetContracts
from cordillera.client.dataset_branches import DatasetBranches
from cordillera.client.dataset_completions import DatasetCompletions
from cordillera.client.dataset_maintenance import DatasetMaintenance
from cordillera.client.dataset_rows import DatasetRows
from cordillera.spec.access_request import AccessRequest
from cordillera.spec.counting import counted
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.lineage import LineageGraph, Node, NodeKind
from cordillera.spec.schema_evolution import SchemaChange
from cordillera.spec.subscription import CopyAtEnd, Subscription, SubscriptionMode, SubscriptionStatus
from cordillera.spec.wanted_subscription import WantedSubscription


class Dataset(
    DatasetRows,
    DatasetBranches,
    DatasetCandidates,
    DatasetCompletions,
    DatasetConsumption,
    DatasetContracts,
    DatasetContractProposals,
    DatasetMaintenance,
):
    """A dataset of a lake, by name. Nothing is fetched until something is asked.

    Args:
        backend: The lake.
        name: ``namespace.dataset``, or ``namespace.dataset_v2`` for one dataset version.
    """

    def __init__(self, backend: LakeBackend, name: str) -> None:
        self._backend, self.name = backend, name

    # --- what it is ----------------------------------------------------------------------------------------------

    def details(self) -> DatasetDetails:
        """Return everything the catalog knows of it."""
        return self._backend.dataset(self.name)

    @property
    def schema(self) -> pa.Schema:
        """Its Arrow schema."""
        return self._backend.schema(self.name)

    @property
    def metadata_location(self) -> str:
        """URI of the current Iceberg metadata file, for engines that read tables by path."""
        return self._backend.metadata_location(self.name)

    def update(
        self, *, owner: str | None = None, description: str | None = None, tags: Sequence[str] | None = None
    ) -> Dataset:
        """Change owner, description or tags."""
        self._backend.update_dataset(self.name, owner=owner, description=description, tags=tags)
        return self

    def evolve(self, *changes: SchemaChange) -> CommitResult:
        """Change the schema: ``AddColumn``, ``RenameColumn``, ``WidenColumn``, ``MoveColumn``, ``DropColumn`` …"""
        return self._backend.evolve(self.name, changes)

    def partition_by(self, *terms: str) -> CommitResult:
        """Lay out new files by other partitions: ``partition_by("month(ordered_at)", "region")``; none for one of all.

        Files there are stay as they are; they move to the new partitions as they are rewritten, for one by
        ``compact``.
        """
        return self._backend.partition_by(self.name, terms)

    def sort_by(self, *terms: str) -> CommitResult:
        """Sort the rows within new files: ``sort_by("ordered_at", "amount desc nulls last")``; none for as they come.

        Files there are stay as they are until they are rewritten, for one by ``compact(strategy="sort")``.
        """
        return self._backend.sort_by(self.name, terms)

    def set_write_mode(self, mode: str) -> CommitResult:
        """Take rows out of files in another way from now on: ``merge-on-read``, ``copy-on-write`` or ``auto``."""
        return self._backend.set_write_mode(self.name, mode)

    def bloom_filters(self) -> list[str]:
        """The columns of which new files have Bloom filters."""
        return self._backend.bloom_filters(self.name)

    def set_bloom_filters(self, *columns: str, false_positives: float = 0.01) -> CommitResult:
        """Give new files Bloom filters of columns, by which single values are found that lie scattered; none for none.

        Files there are stay as they are until they are rewritten, for one by ``compact(rewrite_all=True)``.

        Args:
            columns: All that are to have filters: whole numbers, dates, strings, binary values, UUIDs.
            false_positives: How often a filter may say "perhaps" wrongly; less makes filters larger.
        """
        return self._backend.set_bloom_filters(self.name, columns, false_positives=false_positives)

    def rename(self, new_name: str) -> Dataset:
        """Call the dataset otherwise, or move it to another namespace; return it under its new name.

        Subscriptions and its history go with it, its files stay where they are. The old name is free then.

        Raises:
            NotAllowedError: If a job reads or writes it.
        """
        return Dataset(self._backend, self._backend.rename_dataset(self.name, new_name).full_name)

    def delete(self) -> None:
        """Delete the dataset; ``Lake.restore_dataset`` brings it back until its retention passes."""
        self._backend.delete_dataset(self.name)

    # --- subscriptions, lineage ----------------------------------------------------------------------------------

    def subscribe(
        self,
        target: str,
        *,
        table: str = "",
        consumer: str = "",
        purpose: str = "",
        columns: Sequence[str] = (),
        row_filter: str = "",
        verify_every_seconds: int | None = None,
        cost_owner: str = "",
        days: int | None = None,
        copy_at_end: str = CopyAtEnd.FREEZE,
        mode: str = SubscriptionMode.MIRROR,
        trigger: str = ON_COMMIT,
    ) -> Subscription:
        """Ask for a target to be kept like this dataset, and compared with it so often.

        If you may not read it, and give a purpose, access is asked for as well; deliveries begin when it is approved.

        Args:
            target: The target's name.
            table: The table's name there; the dataset's by default.
            consumer: Who asks; you by default.
            purpose: What for.
            columns, row_filter: What is wanted of it; everything by default.
            verify_every_seconds: How often to compare, besides after deliveries of everything.
            cost_owner: Who pays for it; the consumer by default.
            days: For how long; by default until it is revoked.
            copy_at_end: What becomes of the table at the end: freeze or remove.
            mode: What the table holds: mirror, the rows as they are; log, every change of them; history, every state of
                them with the time for which it held.
            trigger: What deliveries wait for: commit, completion, or a cron expression in UTC. The first does not wait.
        """
        wanted = WantedSubscription(
            self.name, target, table=table, consumer=consumer, purpose=purpose, columns=tuple(columns),
            row_filter=row_filter, verify_every_seconds=verify_every_seconds, cost_owner=cost_owner, days=days,
            copy_at_end=copy_at_end, mode=mode, trigger=trigger,
        )  # fmt: skip
        return self._backend.subscribe(wanted)

    def subscriptions(self, after: UUID | None = None, limit: int = 100) -> list[SubscriptionStatus]:
        """Return its subscriptions with their lag."""
        return self._backend.subscriptions(dataset=self.name, after=after, limit=limit)

    def request_access(
        self, privileges: str | Sequence[str] = "read", *, purpose: str, days: int = 90
    ) -> AccessRequest:
        """Ask for privileges on it, for yourself; see ``Lake.request_access``."""
        wanted = [privileges] if isinstance(privileges, str) else list(privileges)
        return self._backend.request_access(self.name, wanted, purpose=purpose, days=days)

    def lineage(self, upstream: int = 1, downstream: int = 1) -> LineageGraph:
        """Return what it is made from, and what is made from it."""
        full_name = self.details().dataset.full_name
        return self._backend.lineage(Node(NodeKind.DATASET, full_name), upstream=upstream, downstream=downstream)

    # --- showing -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Dataset({self.name!r})"

    def __str__(self) -> str:
        found = self.details()
        version = found.version
        lines = [
            f"{found.dataset.full_name}  (dataset version {version.number}, {version.lifecycle})",
            f"  {found.dataset.description}" if found.dataset.description else "",
            f"  owner {found.dataset.owner}, {counted(version.rows, 'row')}, snapshot {version.sequence_number}",
            f"  key ({', '.join(version.key)})" if version.key else "  no key",
            *(f"    {column.name:<24} {column.type:<16} {column.doc}".rstrip() for column in found.columns),
        ]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        found = self.details()
        rows = "".join(
            f"<tr><td>{escape(c.name)}</td><td><code>{escape(c.type)}</code></td><td>{escape(c.doc)}</td></tr>"
            for c in found.columns
        )
        return (
            f"<b>{escape(found.dataset.full_name)}</b> {escape(found.dataset.description)}<br>"
            f"{counted(found.version.rows, 'row')}, snapshot {found.version.sequence_number}, "
            f"owner {escape(found.dataset.owner)}<table>{rows}</table>"
        )
