"""Every error Cordillera raises, in one tree.

    CordilleraError
    ├── TransientError               the same call may succeed later
    │   ├── CommitConflictError
    │   ├── CommitInDoubtError
    │   ├── LeaseLostError
    │   ├── MetadataStoreBusyError
    │   ├── StorageUnavailableError
    │   ├── TargetUnreachableError, EndpointUnreachableError
    │   ├── ServerUnreachableError, IdentityProviderError
    │   ├── RateLimitedError
    │   └── WaitTimeoutError
    └── TerminalError                the same call will fail again
        ├── InvalidInputError
        │   ├── InvalidNameError, InvalidSchemaError, InvalidExpressionError, InvalidPartitionError
        │   ├── InvalidContractError, InvalidSqlError, InvalidConfigurationError
        │   ├── UnknownColumnError, UnknownOperationError, TypeMismatchError
        │   ├── NullKeyError, DuplicateKeyError, MissingKeyError
        │   └── RequestTooLargeError, UnsupportedEncodingError, IdempotencyKeyReusedError
        ├── NotFoundError
        │   ├── LakeNotFoundError, NamespaceNotFoundError, DatasetNotFoundError, DatasetVersionNotFoundError
        │   ├── SnapshotNotFoundError, ViewNotFoundError, TargetNotFoundError, SubscriptionNotFoundError
        │   ├── JobNotFoundError, RunNotFoundError, ContractNotFoundError, DestinationNotFoundError
        │   └── AccessRequestNotFoundError, ContractProposalNotFoundError, CandidateNotFoundError
        ├── AlreadyExistsError
        ├── NotAllowedError
        │   ├── LifecycleError (DeliveryStoppedError), NotEmptyError, IncompatibleSchemaError, BreakingChangeError
        ├── ContractViolationError
        ├── AuthenticationError
        ├── AccessDeniedError
        ├── CorruptDataError
        │   └── TargetDriftError
        ├── StorageFullError
        ├── MissingExtraError
        └── SchemaTooNewError

The class says what kind of thing went wrong and whether a retry helps; the message names the object and what happened;
``hint`` says what to do next. ``code`` is the stable, machine-readable name used by the HTTP API and the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar


class CordilleraError(Exception):
    """Root of every error this package raises on purpose.

    Args:
        message: What happened, naming the object.
        hint: What the reader can do next.
        details: Machine-readable facts (JSON-serialisable), e.g. ``rows`` or ``examples``.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    @property
    def code(self) -> str:
        """The stable name of this kind of error: ``DatasetNotFoundError`` → ``dataset_not_found``."""
        return error_code(type(self))

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.details)


def _rebuild(kind: type[CordilleraError], message: str, hint: str, details: dict[str, Any]) -> CordilleraError:
    return kind(message, hint=hint, details=details)


def error_code(kind: type[CordilleraError]) -> str:
    """Return the stable snake_case code of an error class."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__.removesuffix("Error")).lower()


def error_classes() -> dict[str, type[CordilleraError]]:
    """Return every error class by its code, for rebuilding an error that crossed a wire."""
    found: dict[str, type[CordilleraError]] = {}
    pending: list[type[CordilleraError]] = [CordilleraError]
    while pending:
        kind = pending.pop()
        found[error_code(kind)] = kind
        pending.extend(kind.__subclasses__())
    return found


# --- transient: the same call may succeed later ---------------------------------------------------------------------


class TransientError(CordilleraError):
    """Something outside the request was in the way; retrying is right."""

    status = 503
    exit_code = 75  # EX_TEMPFAIL


class CommitConflictError(TransientError):
    """Another writer committed first and this change could not be rebased onto it."""

    status = 409


class CommitInDoubtError(TransientError):
    """The connection to the metadata database was lost during a commit, which may or may not have happened.

    Repeating it under the same idempotency key settles it: it is done once. Without a key, look before you repeat it.
    """

    status = 504  # "gateway timeout": also to clients of Iceberg's REST protocol, the state of a commit is unknown
    exit_code = 10


class LeaseLostError(TransientError):
    """A worker's lease on a task ended or was taken over, so its result was refused."""

    status = 409


class MetadataStoreBusyError(TransientError):
    """The metadata database did not answer in time, or is locked."""


class StorageUnavailableError(TransientError):
    """Object storage could not be reached or refused for a passing reason."""


class TargetUnreachableError(TransientError):
    """A subscription's target could not be reached."""


class DeliveryUnderWayError(TransientError):
    """A subscription has ended while a delivery is still under way; what is left of it goes when that is over."""


class EventNotHandledError(TransientError):
    """What follows from an event could not be done; it is tried again."""


class EndpointUnreachableError(TransientError):
    """What was sent to a destination's address was not taken there."""


class ServerUnreachableError(TransientError):
    """A Cordillera server could not be reached."""


class IdentityProviderError(TransientError):
    """The identity provider could not be reached, or does not answer as it should."""


class RateLimitedError(TransientError):
    """Somebody asks more often than the server takes; ``details`` says after how many seconds to try again."""

    status = 429


class WaitTimeoutError(TransientError):
    """What was waited for did not happen in time."""

    status = 408


# --- terminal: the same call will fail again ------------------------------------------------------------------------


class TerminalError(CordilleraError):
    """The request itself, or stored state, has to change before it can succeed."""


class InvalidInputError(TerminalError):
    """The request does not make sense as given."""

    status = 400
    exit_code = 2


class InvalidNameError(InvalidInputError):
    """A name breaks the naming rules."""


class InvalidSchemaError(InvalidInputError):
    """A schema, key or partitioning is not one a dataset can have."""


class InvalidExpressionError(InvalidInputError):
    """A filter or rule expression cannot be understood."""


class InvalidPartitionError(InvalidInputError):
    """A partition value does not fit the dataset's completion calendar or partitioning."""


class InvalidContractError(InvalidInputError):
    """A contract document is malformed or contradicts its dataset."""


class InvalidSqlError(InvalidInputError):
    """A query cannot be parsed, or is not a single SELECT."""


class InvalidConfigurationError(InvalidInputError):
    """A setting, target or environment variable has a value that cannot work."""


class UnknownColumnError(InvalidInputError):
    """A column was named that the dataset does not have."""


class UnknownOperationError(InvalidInputError):
    """A write operation was named that does not exist or that the dataset cannot do."""


class TypeMismatchError(InvalidInputError):
    """A column's values do not fit its declared type."""


class NullKeyError(InvalidInputError):
    """Rows carry NULL in a key or sequence column."""


class DuplicateKeyError(InvalidInputError):
    """Rows repeat a key where that is not allowed, or where no sequence decides between them."""


class MissingKeyError(InvalidInputError):
    """The operation needs key columns that the dataset or the rows do not have."""


class RequestTooLargeError(InvalidInputError):
    """A request body is over the limit."""

    status = 413


class UnsupportedEncodingError(InvalidInputError):
    """A request body is compressed, or encoded otherwise."""

    status = 415


class IdempotencyKeyReusedError(InvalidInputError):
    """An idempotency key came back with a different request."""

    status = 422


class NotFoundError(TerminalError):
    """The named object does not exist."""

    status = 404
    exit_code = 3


class LakeNotFoundError(NotFoundError):
    """There is no lake at that place."""


class NamespaceNotFoundError(NotFoundError):
    """The namespace does not exist."""


class DatasetNotFoundError(NotFoundError):
    """The dataset does not exist."""


class DatasetVersionNotFoundError(NotFoundError):
    """The dataset has no such dataset version."""


class SnapshotNotFoundError(NotFoundError):
    """The dataset version has no such snapshot."""


class ViewNotFoundError(NotFoundError):
    """The view does not exist."""


class TargetNotFoundError(NotFoundError):
    """The target does not exist."""


class SubscriptionNotFoundError(NotFoundError):
    """The subscription does not exist."""


class SkipNotFoundError(NotFoundError):
    """The subscription leaves nothing out under the number."""


class ContractProposalNotFoundError(NotFoundError):
    """There is no such proposal to change a contract."""


class CandidateNotFoundError(NotFoundError):
    """No refused commit of the dataset is kept under the name."""


class AccessRequestNotFoundError(NotFoundError):
    """The access request does not exist."""


class JobNotFoundError(NotFoundError):
    """The job does not exist."""


class RunNotFoundError(NotFoundError):
    """The run does not exist."""


class DestinationNotFoundError(NotFoundError):
    """The destination does not exist."""


class ContractNotFoundError(NotFoundError):
    """The dataset version has no contract."""


class AlreadyExistsError(TerminalError):
    """An object of that name already exists."""

    status = 409
    exit_code = 4


class NotAllowedError(TerminalError):
    """The state of the object does not allow the change."""

    status = 409
    exit_code = 4


class LifecycleError(NotAllowedError):
    """The lifecycle or state machine has no such transition."""


class DeliveryStoppedError(LifecycleError):
    """A subscription was paused, or ended, while something was delivered; the target keeps what it had."""


class WriteConflictError(NotAllowedError):
    """A write lost to another and may not be repeated as it is; nothing was written.

    Either the dataset asks for serializable writes, and the other changed rows that this one looked at; or partitions
    were to be replaced, and the other changed the partitioning.
    """


class NotEmptyError(NotAllowedError):
    """The object still contains others."""


class BreakingChangeError(NotAllowedError):
    """A change takes back what consumers were promised."""


class IncompatibleSchemaError(NotAllowedError):
    """A schema change would break stored data or its readers."""


class ContractViolationError(TerminalError):
    """Rows break the dataset's contract; readers see nothing of them."""

    status = 422
    exit_code = 5


class AuthenticationError(TerminalError):
    """The caller could not be identified: the token is missing, unknown or expired."""

    status = 401
    exit_code = 6


class AccessDeniedError(TerminalError):
    """The caller is known but may not do this."""

    status = 403
    exit_code = 6


class CorruptDataError(TerminalError):
    """Stored data does not match its description."""

    exit_code = 7


class TargetDriftError(CorruptDataError):
    """A target's content or cursor is not what Cordillera last left there."""

    status = 409


class StorageFullError(TerminalError):
    """Storage has no room for the write; nothing was committed."""

    status = 507


class MissingExtraError(TerminalError):
    """An optional dependency is not installed."""

    status = 501


class SchemaTooNewError(TerminalError):
    """The metadata database was written by a newer Cordillera."""
