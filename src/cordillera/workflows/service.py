"""Jobs: SQL over datasets that runs when its inputs are complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid5

from cordillera.catalog.lookup import Lookup
from cordillera.catalog.queries import QueryService
from cordillera.catalog.rings import check_no_ring
from cordillera.catalog.service import CatalogService
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import (
    IdempotencyKeyReusedError,
    InvalidInputError,
    InvalidSqlError,
    JobNotFoundError,
    MetadataStoreBusyError,
    NotAllowedError,
    RunNotFoundError,
    TerminalError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.argument_types import check_idempotency_key
from cordillera.spec.calendar import EVERY_DAY
from cordillera.spec.completion import CompletionUnit
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.lineage import Edge, Node, NodeKind
from cordillera.spec.names import DatasetRef, parse_dataset_ref
from cordillera.spec.query import bind_text, column_lineage, dataset_names
from cordillera.spec.texts import check_texts
from cordillera.spec.told_errors import told_error
from cordillera.spec.workflow import Job, Run, RunState, Waiting, WantedJob
from cordillera.workflows.handlers import start_run
from cordillera.workflows.inputs import Inputs

_ANY_PARTITION = {"partition": "2000-01-01"}


class WorkflowService:
    """Manages jobs and shows runs.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        catalog: Resolves datasets.
        queries: Knows schemas.
        clock: Time and ids.
    """

    def __init__(
        self, store: MetadataStore, lookup: Lookup, catalog: CatalogService, queries: QueryService, clock: Clock
    ) -> None:
        self._store, self._lookup, self._catalog = store, lookup, catalog
        self._queries, self._clock = queries, clock

    def create_job(self, wanted: WantedJob) -> Job:
        """Create a job.

        Raises:
            InvalidSqlError, InvalidExpressionError: If the query or the condition cannot be read.
            DatasetNotFoundError: If an input or the output does not exist.
            InvalidInputError: If the inputs are cut into different partitions, and the trigger does not map them.
            NotAllowedError: If an input is the output itself, or waits for it.
            AlreadyExistsError: If the name is taken.
            AccessDeniedError: If whoever acts may not create anything in its namespace, read what it reads, or write
                what it writes.
        """
        name = wanted.name
        ref = parse_dataset_ref(name)
        check_texts("job", name, owner=wanted.owner, description=wanted.description)
        read = wanted.inputs or [str(ref) for ref in dataset_names(self._queries.without_views(wanted.sql))]
        reads = tuple(dict.fromkeys(str(parse_dataset_ref(dataset)) for dataset in read))
        if not reads:
            raise InvalidSqlError(
                f"The job {name} reads no dataset, so nothing could start it.",
                hint="Name a dataset in its FROM, or among its inputs.",
            )
        with self._store.read() as tx:
            if self._lookup.viewer(tx) is not None:  # the operator's jobs may have names of no namespace
                self._lookup.namespace(tx, ref.namespace, Privilege.CREATE)
        context, now = current(), self._clock.now()
        job = Job(
            self._clock.new_id(), name, wanted.sql, reads, wanted.output or name, wanted.output_condition,
            wanted.owner or context.principal, wanted.description, True, now, context.authority, wanted.trigger,
        )  # fmt: skip
        self._check(job)
        with self._store.write() as tx:
            upstream = [parse_dataset_ref(dataset).full_name for dataset in reads]
            check_no_ring(tx, self._lookup, parse_dataset_ref(job.output).full_name, upstream)
            tx.jobs.insert(job)
            tx.lineage.put(self._edges(job), now)
            details = {"inputs": list(reads), "output": job.output, "trigger": job.trigger.plain}
            Trail(tx, now).audit("job.create", "job", name, details)
        return job

    def job(self, name: str) -> Job:
        """Return a job by name, or raise ``JobNotFoundError``."""
        with self._store.read() as tx:
            return self._existing(tx, name)

    def jobs(self, after: str = "", limit: int = 100) -> list[Job]:
        """Return a page of jobs by name."""
        with self._store.read() as tx:
            return tx.jobs.page(after, limit, viewer=self._lookup.viewer(tx))

    def set_enabled(self, name: str, enabled: bool) -> Job:
        """Let completions start runs of a job, from then on behalf of whoever acts, or stop them doing so.

        Raises:
            AccessDeniedError: If he lets them, and may not read what it reads, or write what it writes.
        """
        if enabled:
            self._check(self.job(name))
        with self._store.write() as tx:
            found = self._existing(tx, name)
            authority = current().authority if enabled else found.on_behalf_of
            changed = replace(found, enabled=enabled, on_behalf_of=authority)
            tx.jobs.update(changed)
            action = "job.enable" if enabled else "job.disable"
            Trail(tx, self._clock.now()).audit(action, "job", name, {})
        return changed

    def delete_job(self, name: str) -> None:
        """Remove a job and its runs; the dataset it wrote stays."""
        with self._store.write() as tx:
            self._existing(tx, name)
            tx.jobs.delete(name)
            tx.lineage.remove(Node(NodeKind.JOB, name))
            Trail(tx, self._clock.now()).audit("job.delete", "job", name, {})

    def run_now(self, name: str, partition: str, *, idempotency_key: str | None = None) -> Run:
        """Start a run for a partition whose inputs are complete, even if one has been made for this state of them.

        Args:
            name: The job.
            partition: The partition's label.
            idempotency_key: Asking again under the same key starts no other run, but returns the first. The run's id
                follows from the key, so that of two who ask at once one starts it.

        Raises:
            NotAllowedError: Naming the inputs that are not complete; or if the partition does not concern the job.
            InvalidPartitionError: If there is no such partition.
            AccessDeniedError: If whoever acts may not write what it writes.
            IdempotencyKeyReusedError: If the key was used for another partition.
            MetadataStoreBusyError: If somebody else asked for the same partition at the same moment.
        """
        check_idempotency_key(idempotency_key)
        with self._store.write() as tx:
            job = self._existing(tx, name)
            self._lookup.resolve(tx, parse_dataset_ref(job.output), Privilege.WRITE)
            label = Inputs(tx).label_of(job, partition)
            run_id = self._clock.new_id() if idempotency_key is None else uuid5(job.id, idempotency_key)
            run = tx.runs.get(run_id) or self._asked(tx, job, label, run_id)
        if run.partition != label:
            raise IdempotencyKeyReusedError(
                f"The idempotency key {idempotency_key!r} was used for a run of {name} for {run.partition}.",
                hint="Use another key for another partition.",
            )
        return self._told([run])[0]

    def run(self, run_id: UUID) -> Run:
        """Return a run by id, or raise ``RunNotFoundError``."""
        with self._store.read() as tx:
            found = tx.runs.get(run_id, viewer=self._lookup.viewer(tx))
        if found is None:
            raise RunNotFoundError(f"There is no run {run_id}.", hint="List them with: cordillera run list.")
        return self._told([found])[0]

    def runs(
        self,
        *,
        job: str | None = None,
        state: str | None = None,
        partition: str | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[Run]:
        """Return a page of runs, newest first."""
        wanted = _state(state) if state else None
        with self._store.read() as tx:
            if job is not None:
                self._existing(tx, job)
            viewer = self._lookup.viewer(tx)
            found = tx.runs.page(job=job, state=wanted, partition=partition, before=before, limit=limit, viewer=viewer)
        return self._told(found)

    def run_counts(self) -> dict[tuple[str, RunState], int]:
        """Return how many runs each job has in each state."""
        with self._store.read() as tx:
            return tx.runs.counts(viewer=self._lookup.viewer(tx))

    def waiting(self, name: str, limit: int = 50) -> list[Waiting]:
        """Return the partitions that some inputs of a job are complete for and others are not, latest first."""
        with self._store.read() as tx:
            job = self._existing(tx, name)
            inputs = Inputs(tx)
            labels = sorted(inputs.begun(job, limit), reverse=True)[:limit]
            return [
                Waiting(
                    label,
                    tuple(one.dataset for one in states if not one.missing),
                    tuple(one.dataset for one in states if one.missing),
                )
                for label, states in inputs.states(job, labels).items()
                if any(one.missing for one in states)
            ]

    # --- helpers -------------------------------------------------------------------------------------------------

    def _existing(self, tx: Transaction, name: str) -> Job:
        found = tx.jobs.get(name, viewer=self._lookup.viewer(tx))
        if found is None:
            raise JobNotFoundError(f"There is no job {name!r}.", hint="List them with: cordillera job list.")
        return found

    def _asked(self, tx: Transaction, job: Job, label: str, run_id: UUID) -> Run:
        states = Inputs(tx).states(job, [label])[label]
        missing = [f"{one.dataset} {one.missing[0]}".strip() for one in states if one.missing]
        if missing:
            raise NotAllowedError(
                f"{job.name} cannot run for {label}: not complete are {', '.join(missing)}.",
                hint=f"See why with: cordillera job explain {job.name} --partition {label}.",
            )
        run = start_run(tx, job, label, states, self._clock, asked_as=run_id)
        if run is None:  # somebody who asked at the same time was faster
            run = tx.runs.get(run_id)
            if run is None:
                raise MetadataStoreBusyError(
                    f"Somebody else asked for a run of {job.name} for {label} at the same moment.",
                    hint="Ask again if there is to be another one.",
                )
            return run
        Trail(tx, self._clock.now()).audit("job.run", "job", job.name, {"partition": label})
        return run

    def _told(self, runs: Sequence[Run]) -> list[Run]:
        """Return runs with what whoever acts may be told of their errors, which can quote rows of all that is read."""
        failed = {run.job for run in runs if run.error}
        whole = {name for name in failed if self._reads_all(name)}
        what = "what the job reads and writes"
        texts = (told_error(run.error, run.error_code, reads_all=run.job in whole, what=what) for run in runs)
        return [replace(run, error=text) for run, text in zip(runs, texts, strict=True)]

    def _reads_all(self, name: str) -> bool:
        """Tell whether whoever acts may read every row that a job reads, by way of views too, or writes."""
        try:
            job = self.job(name)
            refs = {parse_dataset_ref(dataset) for dataset in (*job.inputs, job.output)}
            refs.update(dataset_names(self._queries.without_views(job.sql)))
            with self._store.read() as tx:
                return all(self._lookup.reads_all(tx, tx.datasets.get(ref.namespace, ref.name)) for ref in refs)
        except TerminalError:
            return False

    def _check(self, job: Job) -> None:
        inputs = {parse_dataset_ref(dataset).full_name for dataset in job.inputs}
        if parse_dataset_ref(job.output).full_name in inputs:
            raise NotAllowedError(
                f"The job {job.name} reads what it writes, {job.output}; it would start itself for ever.",
                hint="Let it write another dataset.",
            )
        self._catalog.dataset(job.output, Privilege.WRITE, Privilege.READ)
        read = {dataset: self._catalog.readable(dataset) for dataset in job.inputs}
        units = {dataset: CompletionUnit(one.version.completion_unit) for dataset, one in read.items()}
        job.trigger.unit(job.name, units)
        self._check_calendar(job)
        self._lineage(job.sql)
        schema = self._queries.schema_of(parse_dataset_ref(job.output))
        parse_row_filter(bind_condition(job.output_condition, _ANY_PARTITION["partition"]), schema)

    def _check_calendar(self, job: Job) -> None:
        if not job.trigger.counts_workdays:
            return
        name, output = job.name, job.output
        with self._store.read() as tx:
            inputs = Inputs(tx)
            found = inputs.meant(output)
            if found is None or inputs.calendar_of(found[1].id) != EVERY_DAY:
                return
        raise InvalidInputError(
            f"{name} counts workdays, and {output}, which it writes, has no calendar that says which days they are.",
            hint=f"Set one: cordillera completion set-rule {output} --column DAY --workdays mon-fri --holidays FILE.",
        )

    def _lineage(self, sql: str) -> dict[str, dict[DatasetRef, tuple[str, ...]]]:
        """Return, for each column of a query's result, the columns of datasets behind it, views seen through."""
        bound = self._queries.without_views(bind_text(sql, _ANY_PARTITION))
        return column_lineage(bound, self._queries.schema_of)

    def _edges(self, job: Job) -> list[Edge]:
        node = Node(NodeKind.JOB, job.name)
        by_input: dict[str, list[tuple[str, tuple[str, ...]]]] = {
            parse_dataset_ref(dataset).full_name: [] for dataset in job.inputs
        }
        for column, sources in self._lineage(job.sql).items():
            for ref, names in sources.items():
                by_input.setdefault(ref.full_name, []).append((column, names))
        edges = [Edge(Node(NodeKind.DATASET, name), node, tuple(columns)) for name, columns in by_input.items()]
        return [*edges, Edge(node, Node(NodeKind.DATASET, job.output))]


def bind_condition(condition: str, partition: str) -> str:
    """Return an output condition with ``$partition`` replaced by a literal."""
    bound = bind_text(f"SELECT 1 WHERE {condition}", {"partition": partition})
    return bound.split(" WHERE ", 1)[1]


def _state(text: str) -> RunState:
    try:
        return RunState(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no run state {text[:40]!r}.", hint=f"Use one of: {', '.join(RunState)}."
        ) from None
