"""What a data contract says, as far as Cordillera acts on it (Open Data Contract Standard 3.0 and 3.1).

The document itself is kept byte for byte by whoever stores it; sections that nothing here acts on (price, roles,
servers …) are not repeated. Rules that the document states but that cannot be checked are listed in
``Contract.unenforced``, so that no reader takes them for promises that are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo

Bound = int | float | date | datetime | time
"""A limit on values: a number, or a date, timestamp or time in the column's own type."""

NOT_SENSITIVE = frozenset({"", "public", "internal"})
"""Classifications whose values may be shown in messages; any other label hides them."""


class Severity(StrEnum):
    """What breaking a rule leads to: the write is refused (error), or it is only reported (warning)."""

    ERROR = "error"
    WARNING = "warning"


class Scope(StrEnum):
    """The rows an aggregate rule speaks about: those of one write, or the whole table after it."""

    BATCH = "batch"
    TABLE = "table"


class PeriodUnit(StrEnum):
    """A unit of time in a service level."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_LONGEST = {
    PeriodUnit.SECOND: timedelta(seconds=1),
    PeriodUnit.MINUTE: timedelta(minutes=1),
    PeriodUnit.HOUR: timedelta(hours=1),
    PeriodUnit.DAY: timedelta(days=1),
    PeriodUnit.WEEK: timedelta(days=7),
    PeriodUnit.MONTH: timedelta(days=31),
    PeriodUnit.YEAR: timedelta(days=366),
}


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time: ``amount`` times ``unit``. Months and years are calendar units, so this is not a duration."""

    amount: int | float
    unit: PeriodUnit

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}{'' if self.amount == 1 else 's'}"

    @property
    def longest(self) -> timedelta:
        """It as a duration; months and years at their longest, so that nobody is called late too early."""
        return self.amount * _LONGEST[self.unit]


@dataclass(frozen=True, slots=True)
class Availability:
    """When a partition is complete: at ``at`` in ``timezone``, ``days_after`` days after the partition's last day."""

    at: time
    timezone: str
    days_after: int = 1

    @property
    def zone(self) -> tzinfo:
        """The time zone: one by name, or an offset such as ``-08:00``."""
        offset = time.fromisoformat(f"00:00{self.timezone}").tzinfo if self.timezone[:1] in {"+", "-"} else None
        return offset or ZoneInfo(self.timezone)

    def due(self, last_day: date) -> datetime:
        """Return when a partition whose last day is ``last_day`` has to be complete, in UTC."""
        day = last_day + timedelta(days=self.days_after)
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """The promises about time. What the document does not promise is None.

    Attributes:
        frequency: How often a new partition comes.
        availability: When a partition is complete.
        latency: The longest time between an event and its row.
        retention: How long rows are kept.
        end: When the promises end: no partition that begins later is promised. A date is the last day on which they
            hold; a time without a zone is local, like the partitions' labels.
        end_of_life: Until when the dataset version can be read: it is not retired before. A date is its last day.
    """

    frequency: Period | None = None
    availability: Availability | None = None
    latency: Period | None = None
    retention: Period | None = None
    end: date | datetime | None = None
    end_of_life: date | datetime | None = None


def end_moment(end: date | datetime) -> datetime:
    """Return when a promise ends: with the last of its days, in UTC where it names no zone."""
    if not isinstance(end, datetime):
        return datetime.combine(end, time.max, UTC)
    return end if end.tzinfo else end.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SupportChannel:
    """Where consumers find help."""

    channel: str
    url: str = ""
    tool: str = ""
    scope: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class TeamMember:
    """A person in the owning team."""

    username: str
    name: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """ODCS ``logicalTypeOptions``: limits on the values of a column. None means not limited."""

    minimum: Bound | None = None
    maximum: Bound | None = None
    exclusive_minimum: Bound | None = None
    exclusive_maximum: Bound | None = None
    multiple_of: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    timezone: bool | None = None
    default_timezone: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool = False
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column, or a field inside one.

    Attributes:
        name: The name in the dataset: ``physicalName`` where the document has one, else ``name``.
        key_position: Place in the primary key, from 1; None outside it.
        partition_position: Place in the partitioning, from 1; None outside it.
        fields: The fields of an ``object``.
        items: The elements of an ``array``.
    """

    name: str
    logical_type: str | None = None
    physical_type: str | None = None
    options: TypeOptions = field(default_factory=TypeOptions)
    required: bool = False
    unique: bool = False
    key_position: int | None = None
    partition_position: int | None = None
    classification: str = ""
    description: str = ""
    business_name: str = ""
    tags: tuple[str, ...] = ()
    fields: tuple[Column, ...] = ()
    items: Column | None = None

    @property
    def sensitive(self) -> bool:
        """Whether values must not appear in messages: it, or anything inside it, is neither public nor internal."""
        inner = (*self.fields, *((self.items,) if self.items else ()))
        return self.classification.lower() not in NOT_SENSITIVE or any(column.sensitive for column in inner)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An ODCS operator and what it compares with; ``mustBeBetween`` excludes both ends, as the standard defines it."""

    operator: str
    operands: tuple[int | float | bool, ...]

    def holds(self, value: int | float | bool) -> bool:
        """Tell whether ``value`` satisfies the comparison."""
        first = self.operands[0]
        match self.operator:
            case "mustBe":
                return value == first
            case "mustNotBe":
                return value != first
            case "mustBeGreaterThan":
                return value > first
            case "mustBeGreaterOrEqualTo":
                return value >= first
            case "mustBeLessThan":
                return value < first
            case "mustBeLessOrEqualTo":
                return value <= first
            case "mustBeBetween":
                return first < value < self.operands[1]
            case _:
                return not first < value < self.operands[1]

    def __str__(self) -> str:
        words = {
            "mustBe": "must be",
            "mustNotBe": "must not be",
            "mustBeGreaterThan": "must be greater than",
            "mustBeGreaterOrEqualTo": "must be at least",
            "mustBeLessThan": "must be less than",
            "mustBeLessOrEqualTo": "must be at most",
            "mustBeBetween": "must be strictly between",
            "mustNotBeBetween": "must not be strictly between",
        }
        return f"{words[self.operator]} {' and '.join(str(operand) for operand in self.operands)}"


OPERATORS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)


@dataclass(frozen=True, slots=True)
class Extent:
    """What some rules come to: that a column has no NULL, or that its whole numbers lie in a range.

    Whether it holds for a batch can be told from the batch's extremes, without a query.

    Attributes:
        required: Whether NULL breaks the rule.
        low, high: The least and the greatest number allowed.
    """

    required: bool = False
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class RowRule:
    """A rule every single row satisfies or breaks, so that checking a write costs what the write costs.

    Attributes:
        name: Unique within the contract.
        column: The column it is stated on; None for a rule on the whole row.
        predicate_sql: DuckDB SQL over the row's columns; a row breaks the rule where it is false, not where it is NULL.
        columns: Top-level columns the predicate reads.
        extent: What the predicate comes to, if that is all it says of its one column.
    """

    name: str
    column: str | None
    predicate_sql: str
    severity: Severity
    description: str
    columns: tuple[str, ...]
    extent: Extent | None = None


@dataclass(frozen=True, slots=True)
class AggregateRule:
    """A rule on one value computed over many rows.

    Attributes:
        name: Unique within the contract.
        column: The column it is stated on; None for a rule on the whole row.
        value_sql: DuckDB SQL expression, evaluated by ``values_sql``: an aggregate, or a scalar subquery.
        comparisons: All of them have to hold.
        unit: ``rows``, ``percent``, or as the document says; empty where it says nothing.
        scope: The rows the value is computed over.
        columns: Top-level columns the value is computed from.
        distinct: Columns of which it counts how many rows repeat an earlier one; empty for any other value.
    """

    name: str
    column: str | None
    value_sql: str
    comparisons: tuple[Comparison, ...]
    unit: str
    severity: Severity
    description: str
    scope: Scope
    columns: tuple[str, ...]
    distinct: tuple[str, ...] = ()

    def holds(self, value: int | float | bool | None) -> bool:
        """Tell whether a computed value satisfies the rule; no value (NULL, of no rows) breaks nothing."""
        return value is None or all(comparison.holds(value) for comparison in self.comparisons)


@dataclass(frozen=True, slots=True)
class Unenforced:
    """Something the document states and Cordillera does not check.

    Attributes:
        path: Where in the document, for example ``schema[0].quality[2]``.
        reason: Why it is not checked.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contract:
    """An ODCS document for one dataset version.

    Attributes:
        id: The document's id.
        name: The document's name, or empty.
        document_version: The version the authors gave the document; not a dataset version.
        status: As the document says: proposed, draft, active, deprecated, retired …
        object_name: The schema object this contract was read for.
        owner: The team, or the person, that answers for the data; empty where the document names nobody.
        description: What the data is (the schema object's description).
        purpose, usage, limitations: The document's description.
        copies_go: Whether the copies that subscriptions keep are removed when those end (the custom property
            ``copiesAtEnd``); else each subscription says.
    """

    id: str
    name: str
    document_version: str
    status: str
    object_name: str
    columns: tuple[Column, ...]
    row_rules: tuple[RowRule, ...] = ()
    aggregate_rules: tuple[AggregateRule, ...] = ()
    unenforced: tuple[Unenforced, ...] = ()
    service_level: ServiceLevel = field(default_factory=ServiceLevel)
    owner: str = ""
    team: tuple[TeamMember, ...] = ()
    support: tuple[SupportChannel, ...] = ()
    description: str = ""
    purpose: str = ""
    usage: str = ""
    limitations: str = ""
    tags: tuple[str, ...] = ()
    copies_go: bool = False

    def columns_by_name(self) -> Mapping[str, Column]:
        """Return the columns by their name in the dataset."""
        return {column.name: column for column in self.columns}


def key_of(contract: Contract) -> tuple[str, ...]:
    """Return the primary key's columns, in key order; empty where the contract has no primary key."""
    placed = [(column.key_position, column.name) for column in contract.columns if column.key_position is not None]
    return tuple(name for _, name in sorted(placed))


def partition_columns_of(contract: Contract) -> tuple[str, ...]:
    """Return the columns the contract says the data is partitioned by, in order."""
    placed = [(c.partition_position, c.name) for c in contract.columns if c.partition_position is not None]
    return tuple(name for _, name in sorted(placed))
