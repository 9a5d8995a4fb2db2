"""Keeps entries of the AWS Glue Data Catalog pointing at tables of the lake, so that AWS reads them where they are.

An entry names a metadata file of the lake; the synchronizer swaps it for the next one by ``UpdateTable`` under the
``VersionId`` that it has read, so of two at once one is refused, looks again, and finds what the other did. The entry
tells whose it is and how far it has come; an earlier file never takes the place of a later one. A file that somebody
else has let it name is left there and told as drift: he may have written rows, which nobody else knows of.

Table versions, of which Glue keeps 100,000 in an account at most, are archived when columns change, and only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError
from pyiceberg.schema import Schema

from cordillera.adapters.synchronizers import glue_table
from cordillera.adapters.synchronizers.iceberg_catalog import is_this_machine
from cordillera.errors import InvalidConfigurationError, NotAllowedError, TargetDriftError, TargetUnreachableError
from cordillera.ports.pointing import Pointer
from cordillera.spec.external_schema import ExternalSchema, external_schema_statements

_ATTEMPTS = 8
"""How often an entry is looked at again while others change it."""
_MISSING, _EXISTS, _OVERTAKEN = "EntityNotFoundException", "AlreadyExistsException", "ConcurrentModificationException"
_PASSING = frozenset(
    {
        "InternalServiceException",
        "OperationTimeoutException",
        "ResourceNotReadyException",
        "ServiceUnavailable",
        "ThrottlingException",
        "FederationSourceRetryableException",
    }
)
"""What Glue answers when the same request may succeed later."""


class GlueSynchronizer:
    """Keeps entries in one database of the Glue Data Catalog. Credentials come by AWS's usual chain.

    Args:
        database: The database; it has to be there.
        region: The region; by default what AWS's usual chain says.
        catalog_id: The account whose catalog it is; by default that of the credentials.
        endpoint: The service's address; by default AWS's own.

    Raises:
        InvalidConfigurationError: If a setting cannot be.
    """

    def __init__(self, database: str, *, region: str = "", catalog_id: str = "", endpoint: str = "") -> None:
        if not glue_table.DATABASE_NAME.fullmatch(database):
            raise InvalidConfigurationError(
                f"A database of the Glue Data Catalog cannot be called {database[:60]!r}.",
                hint="Use lower-case letters, digits and _, at most 252: Athena takes no others.",
            )
        if catalog_id and not (catalog_id.isdecimal() and len(catalog_id) == 12):
            raise InvalidConfigurationError(
                f"{catalog_id[:60]!r} is no catalog_id of the Glue Data Catalog.", hint="Give an account's 12 digits."
            )
        _check_endpoint(endpoint)
        self._database, self._region, self._endpoint = database, region, endpoint
        self._place = {"DatabaseName": database, **({"CatalogId": catalog_id} if catalog_id else {})}

    def __repr__(self) -> str:
        return f"<GlueSynchronizer: {self._database}>"

    def check(self) -> None:
        """Make sure that the database is there and its tables may be read."""
        place = {**self._place}
        name = place.pop("DatabaseName")
        if self._ask("get_database", Name=name, **place) is None:
            raise self._no_database()
        self._ask("get_tables", **self._place, MaxResults=1)

    def check_pointable(self, name: str, location: str, schema: Schema) -> None:
        """Make sure that names are Glue's, and the files on S3."""
        if not location.startswith("s3://"):
            raise NotAllowedError(
                "The Glue Data Catalog can point at tables on S3 only, and this lake keeps its files elsewhere.",
                hint="Use a target that rows are carried to, such as iceberg or parquet, or a lake on S3.",
            )
        glue_table.check_names(name, schema)

    def point(self, pointer: Pointer, *, repair: bool = False) -> bool:
        """Make an entry, or swap the file that it names; see the port."""
        self.check_pointable(pointer.name, pointer.metadata_location, pointer.metadata.schema)
        for _ in range(_ATTEMPTS):
            entry = self._entry(pointer.name)
            wanted = glue_table.table_input(pointer, entry)
            if entry is None:
                if self._changed("create_table", {_EXISTS, _OVERTAKEN}, TableInput=wanted):
                    return True
                continue
            self._check_ours(entry, pointer)
            if not repair:
                self._check_where_we_left_it(entry)
                if glue_table.number_of(entry) > pointer.number:
                    return False
            if glue_table.is_alike(entry, wanted):
                return False
            columns_stay = glue_table.parameters_of(entry).get(glue_table.SCHEMA_ID) == str(
                pointer.metadata.current_schema_id
            )
            options = {"VersionId": entry["VersionId"]} if "VersionId" in entry else {}
            if self._changed(
                "update_table", {_OVERTAKEN, _MISSING}, TableInput=wanted, SkipArchive=columns_stay, **options
            ):
                return True
        raise TargetUnreachableError(
            f"Others change the table {pointer.name!r} in the Glue database {self._database} again and again.",
            hint="The delivery is repeated.",
        )

    def points_at(self, subscription_id: UUID, name: str) -> str | None:
        """Return the file that the subscription's entry names."""
        entry = self._entry(name)
        if entry is None or not glue_table.is_of(entry, subscription_id):
            return None
        return glue_table.parameters_of(entry).get(glue_table.METADATA_LOCATION, "")

    def differences(self, pointer: Pointer) -> tuple[str, ...]:
        """Return how the entry differs from what points at a file."""
        entry = self._entry(pointer.name)
        if entry is None:
            raise TargetDriftError(
                f"There is no table {pointer.name!r} in the Glue database {self._database} any more.",
                hint="Repair the subscription: the entry is made anew.",
            )
        self._check_ours(entry, pointer)
        return glue_table.differences(entry, glue_table.table_input(pointer, entry))

    def remove(self, subscription_id: UUID, name: str) -> None:
        """Delete the subscription's entry."""
        entry = self._entry(name)
        if entry is not None and glue_table.is_of(entry, subscription_id):
            self._changed("delete_table", {_MISSING}, Name=name)

    def external_schema(self, wanted: ExternalSchema) -> tuple[str, ...]:
        """Return the statements that let Amazon Redshift Spectrum read the database."""
        return external_schema_statements(wanted, database=self._database, region=self._region)

    def close(self) -> None:
        """Do nothing: connections belong to the process."""

    # --- entries ----------------------------------------------------------------------------------------------------

    def _entry(self, name: str) -> dict[str, Any] | None:
        found = self._ask("get_table", **self._place, Name=name)
        return None if found is None else dict(found["Table"])

    def _check_ours(self, entry: dict[str, Any], pointer: Pointer) -> None:
        if not glue_table.is_of(entry, pointer.subscription_id):
            raise TargetDriftError(
                f"There is a table {entry['Name']!r} in the Glue database {self._database} that this subscription did "
                "not make; it was left untouched.",
                hint="Subscribe with another table name, or remove that table from Glue.",
            )

    def _check_where_we_left_it(self, entry: dict[str, Any]) -> None:
        if glue_table.is_pointed_elsewhere(entry):
            found = glue_table.parameters_of(entry)
            raise TargetDriftError(
                f"Somebody else pointed the table {entry['Name']!r} in the Glue database {self._database} at "
                f"{found.get(glue_table.METADATA_LOCATION)}: it was {found.get(glue_table.POINTED_AT)}.",
                hint="What was written there is not in the lake. Keep what matters, stop whoever writes it, then "
                "repair and resume the subscription: its entry names the lake's table again.",
            )

    # --- requests ---------------------------------------------------------------------------------------------------

    def _changed(self, operation: str, overtaken: set[str], **parameters: Any) -> bool:
        """Change something; False where an answer says that somebody else has been faster."""
        try:
            with self._translated():
                self._call(operation, **self._place, **parameters)
        except _RefusedError as refused:
            if refused.code == _MISSING and operation == "create_table":
                raise self._no_database() from refused.__cause__
            if refused.code not in overtaken:
                raise self._refused(refused) from refused.__cause__
            return False
        return True

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """Read something; None if there is none."""
        try:
            with self._translated():
                return dict(self._call(operation, **parameters))
        except _RefusedError as refused:
            if refused.code == _MISSING:
                return None
            raise self._refused(refused) from refused.__cause__

    def _call(self, operation: str, **parameters: Any) -> Any:
        request: Callable[..., Any] = getattr(_client(self._region, self._endpoint), operation)
        return request(**parameters)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
            raise InvalidConfigurationError(
                f"The Glue Data Catalog cannot be asked: {error}",
                hint="Give the processes that deliver a role, profile or keys, as AWS's tools take them, and a region.",
            ) from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in _PASSING or (status >= 500 and code not in (_MISSING, _EXISTS, _OVERTAKEN)):
                raise self._unreachable(error) from error
            raise _RefusedError(code, str(error.response["Error"].get("Message", ""))) from error

    def _unreachable(self, error: Exception) -> TargetUnreachableError:
        return TargetUnreachableError(
            f"The Glue database {self._database} cannot be reached: {error}",
            hint="Check the network and the region; deliveries go on from where they were.",
        )

    def _refused(self, refused: _RefusedError) -> InvalidConfigurationError:
        return InvalidConfigurationError(
            f"The Glue Data Catalog refuses the database {self._database}: {refused.code}: {refused.told[:500]}",
            hint="Let whoever delivers use glue:GetDatabase, GetTable, GetTables, CreateTable, UpdateTable and "
            "DeleteTable on the database.",
        )

    def _no_database(self) -> InvalidConfigurationError:
        return InvalidConfigurationError(
            f"There is no database {self._database} in the Glue Data Catalog, for whoever asks.",
            hint=f"Create it: aws glue create-database --database-input Name={self._database}",
        )


class _RefusedError(Exception):
    """Glue does not do what it is asked for."""

    def __init__(self, code: str, told: str) -> None:
        super().__init__(code)
        self.code, self.told = code, told


@cache
def _client(region: str, endpoint: str) -> Any:
    """Return a client, which threads may share; it finds and renews credentials itself."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=10, read_timeout=60)
    return boto3.Session().client("glue", region_name=region or None, endpoint_url=endpoint or None, config=config)


def _check_endpoint(endpoint: str) -> None:
    if not endpoint:
        return
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise InvalidConfigurationError(
            "The endpoint of a glue target is no address of a service.",
            hint="Leave it out for AWS's own, or write it as https://glue.example.com.",
        )
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise InvalidConfigurationError(f"The endpoint {endpoint} would get requests unencrypted.", hint="Use https.")
