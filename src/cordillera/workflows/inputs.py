"""How the inputs of a job stand for its partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from cordillera.catalog.lookup import meant_version
from cordillera.errors import NotAllowedError, NotFoundError
from cordillera.ports.metadata import Transaction
from cordillera.spec.calendar import EVERY_DAY, Calendar
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.completion import Completion, CompletionUnit, partition_label
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.partition_mapping import MappingKind, PartitionMapping
from cordillera.spec.readiness import LATEST, InputState
from cordillera.spec.workflow import Job


class Inputs:
    """Inputs of jobs, as a transaction finds them. What names mean and calendars say is asked once, however many jobs
    are looked at; what is complete is asked every time.

    Args:
        tx: The transaction.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._meant: dict[str, tuple[Dataset, DatasetVersion] | None] = {}
        self._calendars: dict[UUID, Calendar] = {}

    def states(self, job: Job, partitions: Sequence[str]) -> dict[str, list[InputState]]:
        """Return, for each of some partitions of a job, how its inputs stand, in the job's order."""
        states: dict[str, list[InputState]] = {partition: [] for partition in partitions}
        own = self.own_calendar(job) if job.trigger.counts_workdays else EVERY_DAY
        for name in job.inputs:
            mapping, found = job.trigger.mapping(name), self.meant(name)
            if found is None:
                for partition in partitions:
                    states[partition].append(InputState(name, name, mapping, ("",), {}))
                continue
            dataset, version = found
            pinned = str(dataset.ref(version.number if version.number > 1 else None))
            needed, complete = self._needed(version, own, mapping, partitions)
            for partition, labels in needed.items():
                have = {label: complete[label] for label in labels if label in complete}
                states[partition].append(InputState(name, pinned, mapping, tuple(labels), have))
        return states

    def begun(self, job: Job, limit: int) -> set[str]:
        """Return partitions of a job that its inputs speak of, by the latest ``limit`` completions of each."""
        found, own = set[str](), self.own_calendar(job)
        for name in job.inputs:
            mapping, resolved = job.trigger.mapping(name), self.meant(name)
            if mapping.standing or resolved is None:
                continue
            _, version = resolved
            calendar = self.calendar_of(version.id)
            for completion in self._tx.completions.page(version.id, None, limit):
                served = mapping.served(completion.partition, calendar, own)
                trailing = mapping.kind is MappingKind.TRAILING
                found.update(label for label in served if not trailing or label == completion.partition)
        return {label for label in found if job.trigger.concerns(label) and own.includes(label)}

    def label_of(self, job: Job, partition: str) -> str:
        """Return the label of a partition of a job.

        Raises:
            InvalidPartitionError: If there is none like it.
            InvalidInputError: If the job's inputs have changed so that they do not fit together any more.
            NotAllowedError: If it does not concern the job, or is none that is expected of its output.
        """
        versions = {name: found[1] for name in job.inputs if (found := self.meant(name)) is not None}
        units = {name: CompletionUnit(version.completion_unit) for name, version in versions.items()}
        label = partition_label(job.trigger.unit(job.name, units), partition, job.name)
        if not job.trigger.concerns(label):
            raise NotAllowedError(
                f"{label} does not concern {job.name}, which runs for: {', '.join(job.trigger.partitions)}.",
                hint=f"See: cordillera job show {job.name}.",
            )
        if not self.own_calendar(job).includes(label):
            raise NotAllowedError(
                f"{label} is not expected of {job.output}, so that {job.name}, which writes it, does not run for it.",
                hint=f"See its calendar with: cordillera completion rule {job.output}.",
            )
        return label

    def meant(self, name: str) -> tuple[Dataset, DatasetVersion] | None:
        """Return the dataset, and the dataset version of it, that an input means now; None if it is gone."""
        if name not in self._meant:
            self._meant[name] = self._look_up(name)
        return self._meant[name]

    def calendar_of(self, version_id: UUID) -> Calendar:
        """Return when partitions of a dataset version are expected; every day where no rule says otherwise."""
        if version_id not in self._calendars:
            found = self._tx.completion_rules.get(version_id)
            self._calendars[version_id] = EVERY_DAY if found is None else found.rule.calendar
        return self._calendars[version_id]

    def own_calendar(self, job: Job) -> Calendar:
        """Return when partitions of a job are expected: those of its output are."""
        found = self.meant(job.output)
        return EVERY_DAY if found is None else self.calendar_of(found[1].id)

    def _look_up(self, name: str) -> tuple[Dataset, DatasetVersion] | None:
        ref = parse_dataset_ref(name)
        dataset = self._tx.datasets.get(ref.namespace, ref.name)
        if dataset is None:
            return None
        try:
            return dataset, meant_version(self._tx, dataset, ref.version)
        except NotFoundError:
            return None

    def _needed(
        self, version: DatasetVersion, own: Calendar, mapping: PartitionMapping, partitions: Sequence[str]
    ) -> tuple[dict[str, list[str]], Mapping[str, Completion]]:
        """Return what each partition needs of an input, and what of that is complete."""
        if mapping.kind is MappingKind.LATEST:
            newest = self._tx.completions.page(version.id, None, 1)
            latest = {completion.partition: completion for completion in newest}
            label = next(iter(latest), LATEST)
            return {partition: [label] for partition in partitions}, latest
        calendar = self.calendar_of(version.id)
        needed = {partition: mapping.needed(partition, calendar, own) for partition in partitions}
        every = sorted({label for labels in needed.values() for label in labels})
        return needed, self._tx.completions.latest_of(version.id, every)
