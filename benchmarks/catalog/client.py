"""A client process: sends requests made beforehand, one after the other, over one connection.

It says when it has read them, waits for a line, and prints what came of them.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

_TRIES = 100


@dataclass(frozen=True)
class Request:
    """What to send."""

    method: str
    path: str
    body: bytes | None = None


def run(url: str, token: str, requests: list[Request]) -> dict[str, object]:
    """Send requests; one that meets a conflict (409) is sent again, as engines do.

    Returns:
        When the first began and the last ended, how long each took in seconds, the conflicts, and the first refusal.
    """
    address = urlsplit(url)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    pool = urllib3.HTTPConnectionPool(address.hostname or "", address.port, maxsize=1, retries=False, headers=headers)
    took: list[float] = []
    conflicts, refused = 0, ""
    begun = time.time()
    for request in requests:
        for _ in range(_TRIES):
            before = time.perf_counter()
            answer = pool.urlopen(request.method, address.path + request.path, body=request.body)
            took.append(time.perf_counter() - before)
            if answer.status != 409:
                break
            took.pop()
            conflicts += 1
        if answer.status >= 300:
            refused = f"{request.method} {request.path}: {answer.status} {answer.data[:300]!r}"
            break
    return {"begun": begun, "ended": time.time(), "took": took, "conflicts": conflicts, "refused": refused}


def main() -> None:
    """Read the requests from a file, and wait for the start."""
    url, token, requests = pickle.loads(Path(sys.argv[1]).read_bytes())
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(run(url, token, requests)), flush=True)


if __name__ == "__main__":
    main()
