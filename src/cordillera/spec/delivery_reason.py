"""Why a delivery brought what it did: the rows that changed, the partitions that did, or everything."""

from __future__ import annotations

from enum import StrEnum


class DeliveryReason(StrEnum):
    """What decided how a delivery to a mirror was made."""

    FIRST = "first"
    """The target held nothing."""
    CHANGED_ROWS = "changed_rows"
    """The target merges: the rows that changed came."""
    CHANGED_PARTITIONS = "changed_partitions"
    """The target takes partitions: those came that changed files lie in."""
    TAKES_EVERYTHING = "takes_everything"
    """The target takes nothing less."""
    NO_PARTITIONS = "no_partitions"
    """The target takes partitions, of which the dataset has none that may be shown."""
    EVERY_PARTITION = "every_partition"
    """Every partition had changed."""
    EARLIER_PARTITIONING = "earlier_partitioning"
    """The dataset had files of an earlier partitioning, of whose rows nobody knows the partitions."""
    EXPIRED = "expired"
    """The snapshot that the target held had expired."""
    NOT_FOLLOWED = "not_followed"
    """A column came with a default or was changed inside, or the dataset was set back to an earlier snapshot."""
    SHOWN_OTHERWISE = "shown_otherwise"
    """Other columns or rows were shown, or wished for, than those that the target held."""
    TABLE_DIFFERS = "table_differs"
    """The target could not make of its table what was to come."""

    @property
    def in_words(self) -> str:
        """What people are told of it."""
        return _WORDS[self]


_WORDS = {
    DeliveryReason.FIRST: "the target held nothing",
    DeliveryReason.CHANGED_ROWS: "the rows that changed",
    DeliveryReason.CHANGED_PARTITIONS: "the partitions that changed",
    DeliveryReason.TAKES_EVERYTHING: "the target takes nothing less",
    DeliveryReason.NO_PARTITIONS: "the dataset has no partitions to tell apart",
    DeliveryReason.EVERY_PARTITION: "every partition had changed",
    DeliveryReason.EARLIER_PARTITIONING: "files of an earlier partitioning are left",
    DeliveryReason.EXPIRED: "the snapshot that it held had expired",
    DeliveryReason.NOT_FOLLOWED: "a column changed its old values, or the dataset was set back",
    DeliveryReason.SHOWN_OTHERWISE: "other columns or rows are shown",
    DeliveryReason.TABLE_DIFFERS: "its table could not be changed in place",
}
