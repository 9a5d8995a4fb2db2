"""Completions: "partition P of this dataset version is complete as of snapshot S".

A partition here is a unit of meaning (a day of flights), named by a label, and need not be how files are laid out. A
dataset version declares its unit; labels are canonical, so that the same day is the same partition whoever writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cordillera.errors import InvalidPartitionError


class CompletionUnit(StrEnum):
    """How the partitions of a dataset version are cut."""

    WHOLE = "whole"
    """The dataset version is one partition, labelled ``all``."""
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    """From Monday, numbered as ISO 8601 does: ``2013-W05``."""
    MONTH = "month"
    VALUE = "value"
    """Any label, for example a region."""


WHOLE_LABEL = "all"
LABEL_FORMATS = {
    CompletionUnit.HOUR: "%Y-%m-%dT%H",
    CompletionUnit.DAY: "%Y-%m-%d",
    CompletionUnit.WEEK: "%G-W%V",
    CompletionUnit.MONTH: "%Y-%m",
}
"""How labels are written, for the units of time; they sort as time goes."""
FIRST_YEAR, LAST_YEAR = 1500, 9500
"""The years in which partitions of time lie: those around them, which mappings and calendars look for, can be told too.
9999-12-31, which means never in many tables, is no partition."""
MOST_AT_ONCE = 1000
"""So many partitions can be declared complete in one call."""
_VALUE = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True, slots=True)
class Completion:
    """A declaration that a partition is complete.

    Attributes:
        partition: The label.
        revision: 1 for the first completion of the partition, 2 and up for restatements.
        sequence_number: The snapshot as of which it is complete.
    """

    dataset_version_id: UUID
    partition: str
    revision: int
    sequence_number: int
    declared_by: str
    declared_at: datetime

    @property
    def restated(self) -> bool:
        """Whether the partition had been complete before."""
        return self.revision > 1


def parse_unit(text: str) -> CompletionUnit:
    """Return the completion unit of that name.

    Raises:
        InvalidPartitionError: Listing the units there are.
    """
    try:
        return CompletionUnit(text)
    except ValueError:
        raise InvalidPartitionError(
            f"There is no completion unit {text[:40]!r}.", hint=f"Use one of: {', '.join(CompletionUnit)}."
        ) from None


def partition_label(unit: CompletionUnit, value: str | date | datetime, dataset: str) -> str:
    """Return the canonical label of a partition.

    Args:
        unit: The dataset version's completion unit.
        value: A label, or a date or datetime that lies in the partition.
        dataset: For error messages.

    Raises:
        InvalidPartitionError: If the value names no partition of this unit.
    """
    if unit in LABEL_FORMATS:
        return _time_label(unit, value, dataset)
    text = str(value)
    if unit is CompletionUnit.WHOLE and text != WHOLE_LABEL:
        raise InvalidPartitionError(
            f"{dataset} is complete as a whole; it has no partition {text[:60]!r}.",
            hint=f"Use {WHOLE_LABEL!r}, or create the dataset, or what a job reads, with another completion unit.",
        )
    if not _VALUE.fullmatch(text):
        raise InvalidPartitionError(
            f"{text[:60]!r} cannot label a partition of {dataset}.",
            hint="Labels have 1 to 200 characters, none of them a control character.",
        )
    return text


def begin_of(unit: CompletionUnit, label: str) -> datetime:
    """Return when a partition of a unit of time begins, in whatever zone its owner means.

    Raises:
        ValueError: If it is not the canonical label of one.
    """
    text, pattern = (f"{label}-1", "%G-W%V-%u") if unit is CompletionUnit.WEEK else (label, LABEL_FORMATS[unit])
    begin = datetime.strptime(text, pattern)  # noqa: DTZ007 - a label has no zone
    if label_at(unit, begin) != label:
        raise ValueError(label)
    return begin


def is_label(unit: CompletionUnit, text: str) -> bool:
    """Tell whether a text is the canonical label of a partition of a unit of time, from ``FIRST_YEAR`` to
    ``LAST_YEAR``."""
    try:
        return _lies_in_time(begin_of(unit, text))
    except ValueError:
        return False


def unit_of_time(label: str) -> CompletionUnit | None:
    """Return the unit of time that a text is the canonical label of; None for any other text."""
    return next((unit for unit in LABEL_FORMATS if is_label(unit, label)), None)


def label_at(unit: CompletionUnit, moment: date) -> str:
    """Return the label of the partition of a unit of time that a moment lies in."""
    return moment.strftime(LABEL_FORMATS[unit])


def _time_label(unit: CompletionUnit, value: str | date | datetime, dataset: str) -> str:
    if isinstance(value, datetime) or (isinstance(value, date) and unit is not CompletionUnit.HOUR):
        text = label_at(unit, value) if _lies_in_time(value) else str(value)
    else:
        text = str(value)
    if not is_label(unit, text):
        example = label_at(unit, datetime(2013, 1, 31, 7))  # noqa: DTZ001 - a label has no zone
        raise InvalidPartitionError(
            f"{text[:60]!r} is not a {unit} of {dataset}.",
            hint=f"Write it like {example!r}, in the years {FIRST_YEAR} to {LAST_YEAR}.",
        )
    return text


def _lies_in_time(moment: date) -> bool:
    return FIRST_YEAR <= moment.year <= LAST_YEAR


def following(unit: CompletionUnit, begin: datetime) -> datetime:
    """Return when the partition ends that begins at a moment, and the next one begins."""
    if unit is CompletionUnit.HOUR:
        return begin + timedelta(hours=1)
    if unit is CompletionUnit.MONTH:
        return begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin + timedelta(days=7 if unit is CompletionUnit.WEEK else 1)
