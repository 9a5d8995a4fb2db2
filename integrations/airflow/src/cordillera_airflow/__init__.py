"""The Airflow provider of Cordillera: DAGs that start, wait and tell by the completions of a lake."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_NAME = "Cordillera"


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow has to know of this provider."""
    return {
        "package-name": "airflow-provider-cordillera",
        "name": _NAME,
        "description": "Start, wait and tell by the completions of a Cordillera lake.",
        "versions": [__version__],
        "integrations": [{"integration-name": _NAME, "tags": ["service"]}],
        "hooks": [{"integration-name": _NAME, "python-modules": ["cordillera_airflow.hook"]}],
        "operators": [{"integration-name": _NAME, "python-modules": ["cordillera_airflow.operators"]}],
        "sensors": [{"integration-name": _NAME, "python-modules": ["cordillera_airflow.sensor"]}],
        "triggers": [
            {"integration-name": _NAME, "python-modules": ["cordillera_airflow.triggers", "cordillera_airflow.watcher"]}
        ],
        "connection-types": [
            {
                "connection-type": "cordillera",
                "hook-class-name": "cordillera_airflow.hook.CordilleraHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema", "port", "extra"],
                    "relabeling": {"host": "Server", "password": "API token"},
                    "placeholders": {"host": "https://lake.example.com", "password": "cdl_…"},
                },
            }
        ],
    }
