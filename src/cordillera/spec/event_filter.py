"""Which events somebody wants to be told of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cordillera.errors import InvalidInputError, InvalidNameError
from cordillera.spec.event import Topic
from cordillera.spec.names import check_namespace_name, enclosing_names, parse_dataset_ref

_MOST_NAMES = 100


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What events have to be about. Made by ``event_filter``.

    Attributes:
        topics: Their topics; none for all.
        within: Datasets and views, and namespaces with all that is in them, by name; none for all.
    """

    topics: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    def wants(self, topic: str, dataset: str) -> bool:
        """Tell whether an event with a topic, about a dataset, is wanted."""
        around = enclosing_names(dataset)
        return (not self.topics or topic in self.topics) and (
            not self.within or any(name in around for name in self.within)
        )


def event_filter(topics: Sequence[str] = (), within: Sequence[str] = ()) -> EventFilter:
    """Return a filter.

    Args:
        topics: The topics of events; none for all.
        within: Names of datasets, views and namespaces, whether they are there or not; none for all.

    Raises:
        InvalidInputError: If there is no such topic, or there are too many names.
        InvalidNameError: If something cannot be a name, or is one of a dataset version.
    """
    for topic in topics:
        if topic not in list(Topic):
            raise InvalidInputError(f"There are no events of the topic {topic[:60]!r}.", hint=f"Topics: {_TOPICS}.")
    if len(within) > _MOST_NAMES:
        raise InvalidInputError(
            f"The filter has {len(within):,} names.", hint=f"Use at most {_MOST_NAMES}, or a namespace around them."
        )
    for name in within:
        check_namespace_name(name)
        if "." in name and (ref := parse_dataset_ref(name)).version is not None:
            raise InvalidNameError(
                f"Events are about datasets, and {name} is one's version.", hint=f"Use {ref.full_name}."
            )
    return EventFilter(tuple(dict.fromkeys(topics)), tuple(dict.fromkeys(within)))


_TOPICS = ", ".join(Topic)
