"""The behaviour that every synchronizer has, shown of this one."""

from pathlib import Path

import cordillera_feather
import pytest

from cordillera.ports.synchronizer import Synchronizer
from cordillera.testing.synchronizer_reload_suite import ReloadingSynchronizerSuite


class TestFeather(ReloadingSynchronizerSuite):
    """Every test gets an empty folder."""

    streams = False  # files are mapped into memory

    @pytest.fixture
    def synchronizer(self, tmp_path: Path) -> Synchronizer:
        """Return the synchronizer to test."""
        return cordillera_feather.build({"folder": str(tmp_path)})
