"""What every operation on tables needs: storage, engine, clock, and the readers that cache what never changes."""

from __future__ import annotations

from copy import copy

from cordillera.ports.clock import Clock
from cordillera.ports.engine import QueryEngine
from cordillera.ports.storage import Storage
from cordillera.table.key_lookup import KeyLookup
from cordillera.table.live_files import SnapshotFiles
from cordillera.table.reader import FileReader
from cordillera.table.row_deletes import RowDeletes


class TableIO:
    """Access to the tables under one storage root.

    Args:
        storage: Where tables live.
        engine: Joins, filters and sorts.
        clock: Time and identifiers.
    """

    def __init__(self, storage: Storage, engine: QueryEngine, clock: Clock) -> None:
        self.storage, self.engine, self.clock = storage, engine, clock
        self.files = SnapshotFiles(storage, RowDeletes(storage, engine))
        self.reader = FileReader(storage, self.files)
        self.keys = KeyLookup(storage, self.files)

    def through(self, storage: Storage) -> TableIO:
        """Return the same access, caches shared, that writes through another view of the storage."""
        other = copy(self)
        other.storage = storage
        return other

    def now_ms(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return int(self.clock.now().timestamp() * 1000)
