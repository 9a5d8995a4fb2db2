"""What goes wrong between Airflow and a lake.

LakeError
├── LakeRefusedError       the same request will be refused again: the task fails, without retries
└── LakeUnreachableError   it may succeed later: the task is retried as its DAG says
"""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class LakeError(AirflowException):
    """Root of what this provider raises."""


class LakeRefusedError(LakeError, AirflowFailException):
    """The lake refuses a request: the token, the access, the name, the partition."""


class LakeUnreachableError(LakeError):
    """The lake could not be reached, or is too busy.

    Args:
        message: What happened.
        retry_after: After how many seconds to come back, if the lake said so.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
