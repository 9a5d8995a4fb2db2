from __future__ import annotations

import pytest

from cordillera.testing.synchronizer_memory import MemorySynchronizer
from cordillera.testing.synchronizer_suite import SynchronizerSuite


class TestMemorySynchronizer(SynchronizerSuite):
    streams = False

    @pytest.fixture
    def synchronizer(self) -> MemorySynchronizer:
        return MemorySynchronizer()
