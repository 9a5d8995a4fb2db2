"""The hook: a lake behind a server, as an Airflow connection names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from airflow.sdk import BaseHook

from cordillera_airflow.errors import LakeError
from cordillera_airflow.server import Server, path

DEFAULT_CONNECTION = "cordillera_default"


class CordilleraHook(BaseHook):
    """Asks a lake, and tells it.

    Args:
        cordillera_conn_id: The connection: its host is the server's URL, its password an API token.
    """

    conn_name_attr = "cordillera_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = "cordillera"
    hook_name = "Cordillera"

    def __init__(self, cordillera_conn_id: str = DEFAULT_CONNECTION) -> None:
        super().__init__()
        self.cordillera_conn_id = cordillera_conn_id

    def server(self) -> Server:
        """Return where the lake is.

        Raises:
            LakeRefusedError: If the connection does not say.
        """
        return Server.of(self.get_connection(self.cordillera_conn_id))

    def get_conn(self) -> httpx.Client:
        """Return a client whose addresses are those of the HTTP API, for what this hook has no method for."""
        return self.server().client()

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the lake answers, and knows the token."""
        try:
            found = self._ask("GET", "/lake"), self._ask("GET", "/session")
        except LakeError as error:
            return False, str(error)
        return True, f"Connected to the lake {found[0]['name']!r} as {found[1]['principal']}."

    def completion(self, dataset: str, partition: str) -> dict[str, Any] | None:
        """Return the newest completion of a partition; None if it is not complete.

        Args:
            dataset: For example ``sales.orders``.
            partition: Its label, for example ``2026-01-31``.

        Raises:
            LakeRefusedError: If there is no such dataset, none that may be discovered, or no such partition.
            LakeUnreachableError: If the lake does not answer.
        """
        found: dict[str, Any] | None = self._ask("GET", completion_path(dataset, partition))
        return found

    def complete(self, dataset: str, partition: str, *, idempotency_key: str) -> dict[str, Any]:
        """Declare a partition complete as of the dataset's current snapshot; doing so again restates it.

        Args:
            dataset: For example ``sales.orders``.
            partition: Its label.
            idempotency_key: What makes a repetition of this call none.
        """
        body = {"partition": partition}
        address = path("datasets", dataset, "completions")
        found: dict[str, Any] = self._ask("POST", address, body, {"Idempotency-Key": quote(idempotency_key)})
        return found

    def sequence_number(self, dataset: str) -> int:
        """Return the sequence number of a dataset's current snapshot."""
        return int(self._ask("GET", path("datasets", dataset))["version"]["sequence_number"])

    def run_job(self, job: str, partition: str, *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Start a run of a job for a partition, and return it.

        Args:
            job: For example ``analytics.delays``.
            partition: Its label.
            idempotency_key: Asking again under the same key starts no other run, but returns the first.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": quote(idempotency_key)}
        found: dict[str, Any] = self._ask("POST", path("jobs", job, "runs"), {"partition": partition}, headers)
        return found

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run."""
        found: dict[str, Any] = self._ask("GET", path("runs", run_id))
        return found

    def _ask(self, method: str, address: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        server = self.server()
        with server.explained(), server.client() as client:
            return server.checked(client.request(method, address, json=body, headers=dict(headers or {})))


def completion_path(dataset: str, partition: str) -> str:
    """Return the address of a partition's completion."""
    return path("datasets", dataset, "completions", partition)
