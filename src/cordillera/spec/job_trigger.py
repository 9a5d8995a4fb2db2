"""Job triggers: which partitions of its inputs a run of a job needs, which partitions concern the job, and what becomes
of a run whose inputs are restated.

Partitions that concern a job are told by any of some patterns: a label (``EU``), the beginning of one (``EU-*``), or a
range of them, both ends included (``2013-02-01..2013-03-31``, ``2013-02-01..``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from cordillera.errors import InvalidInputError
from cordillera.spec.completion import CompletionUnit, partition_label
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.partition_mapping import SAME, PartitionMapping, parse_mapping

_MOST_PATTERNS = 1000
_RANGE, _REST = "..", "*"


class Restatements(StrEnum):
    """What a restated input does to a partition that a job has run for."""

    RERUN = "rerun"
    """It runs once more, with what is the latest then."""
    IGNORE = "ignore"
    """Nothing, unless the last run failed."""


@dataclass(frozen=True)
class JobTrigger:
    """When runs of a job start.

    Attributes:
        mappings: Input → the partitions of it that a run needs, where they are not those of the same label; see
            ``cordillera.spec.partition_mapping``.
        partitions: Patterns of the partitions that concern the job; none for all of them.
        restatements: What a restated input does to a partition that the job has run for.
    """

    mappings: Mapping[str, str] = field(default_factory=dict)
    partitions: tuple[str, ...] = ()
    restatements: Restatements = Restatements.RERUN

    def mapping(self, dataset: str) -> PartitionMapping:
        """Return which partitions of an input are needed."""
        return self._mappings.get(str(parse_dataset_ref(dataset)), SAME)

    def concerns(self, partition: str) -> bool:
        """Tell whether a partition concerns the job."""
        return not self.partitions or any(_matches(pattern, partition) for pattern in self.partitions)

    @property
    def counts_workdays(self) -> bool:
        """Whether it counts days on the job's own calendar."""
        return any(mapping.workdays for mapping in self._mappings.values())

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all the partitions that concern the job; none if it cannot be said so."""
        return () if any(_RANGE in one or one.endswith(_REST) for one in self.partitions) else self.partitions

    @property
    def plain(self) -> dict[str, Any]:
        """The same, as it is stored and audited."""
        return {
            "mappings": dict(self.mappings),
            "partitions": list(self.partitions),
            "restatements": self.restatements.value,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> JobTrigger:
        """Return the trigger of what ``plain`` gave."""
        if not plain:
            return UNMAPPED
        return cls(plain["mappings"], tuple(plain["partitions"]), Restatements(plain["restatements"]))

    def unit(self, job: str, inputs: Mapping[str, CompletionUnit]) -> CompletionUnit:
        """Return the unit of the partitions that a job runs for.

        Args:
            job: The job, for messages.
            inputs: The completion units of its inputs.

        Raises:
            InvalidInputError: If a mapping does not fit its input, is of none, or if the inputs do not fit together.
            InvalidPartitionError: If a label names no partition.
        """
        self._check_named(job, inputs)
        units = {name: self.mapping(name).unit_for(name, unit) for name, unit in inputs.items()}
        own = {unit for unit in units.values() if unit is not None}
        if not own:
            raise InvalidInputError(
                f"Nothing could start {job}: all that it waits for is standing ({', '.join(sorted(inputs))}).",
                hint="Map one input to the partitions of its own, for example: same.",
            )
        if len(own) > 1:
            cut = ", ".join(f"{name} by {unit}" for name, unit in sorted(units.items()) if unit)
            raise InvalidInputError(
                f"The inputs of {job} are for different partitions of it: {cut}.",
                hint='Map them to each other, for example "month of day", or to one that stands: "latest".',
            )
        (unit,) = own
        self._check_patterns(job, unit)
        return unit

    def _check_named(self, job: str, inputs: Mapping[str, CompletionUnit]) -> None:
        strangers = sorted(self._mappings.keys() - {str(parse_dataset_ref(name)) for name in inputs})
        if strangers:
            raise InvalidInputError(
                f"{strangers[0]} is mapped, but it is no input of {job}.",
                hint=f"Its inputs are: {', '.join(sorted(inputs))}.",
            )

    def _check_patterns(self, job: str, unit: CompletionUnit) -> None:
        if len(self.partitions) > _MOST_PATTERNS:
            raise InvalidInputError(f"{job} names {len(self.partitions):,} partitions, more than {_MOST_PATTERNS:,}.")
        for pattern in self.partitions:
            if not pattern.strip():
                raise InvalidInputError(f"An empty text names no partition of {job}.", hint="Leave it out.")
            if _RANGE in pattern:
                for end in filter(None, pattern.split(_RANGE, 1)):
                    partition_label(unit, end, job)
            elif not pattern.endswith(_REST):
                partition_label(unit, pattern, job)

    @cached_property
    def _mappings(self) -> dict[str, PartitionMapping]:
        return {str(parse_dataset_ref(name)): parse_mapping(text) for name, text in self.mappings.items()}


UNMAPPED = JobTrigger()
"""The trigger of a job that runs for the partition that its inputs are complete for, and again when one is restated."""


def in_words(trigger: JobTrigger, inputs: Sequence[str]) -> str:
    """Return what a job waits for as a phrase."""
    parts = [name if (found := trigger.mapping(name)) == SAME else f"{name} ({found})" for name in inputs]
    only = f"; for {', '.join(trigger.partitions)} only" if trigger.partitions else ""
    once = "; not again when they are restated" if trigger.restatements is Restatements.IGNORE else ""
    return f"{', '.join(parts)}{only}{once}"


def _matches(pattern: str, label: str) -> bool:
    if _RANGE in pattern:
        first, _, last = pattern.partition(_RANGE)
        return first <= label and (not last or label <= last)
    return label.startswith(pattern[:-1]) if pattern.endswith(_REST) else label == pattern
