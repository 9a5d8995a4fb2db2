"""What grants to read may say of rows and columns, checked when they are given."""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.schema import Schema

from cordillera.access.securables import FoundSecurable
from cordillera.catalog.lookup import meant_version
from cordillera.catalog.tables import TableService
from cordillera.errors import InvalidInputError, UnknownColumnError
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Grant, Privilege, SecurableKind
from cordillera.spec.access_tags import describe, parse_tag_expression
from cordillera.spec.catalog import Dataset
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.masks import Mask, fits, parse_mask

_LONGEST_FILTER = 4000


class Narrowing:
    """Checks row filters and masks.

    Args:
        tables: Knows the columns that datasets have and had.
    """

    def __init__(self, tables: TableService) -> None:
        self._tables = tables

    def check(self, tx: Transaction, found: FoundSecurable, grant: Grant) -> None:
        """Refuse a grant that says what could not be followed.

        Raises:
            InvalidInputError: If it is not about reading, may be granted on, or a mask does not fit its column.
            InvalidExpressionError: If the row filter cannot be read.
            UnknownColumnError: If it names a column that the dataset does not have.
        """
        rowless = grant.kind in (SecurableKind.VIEW, SecurableKind.TARGET, SecurableKind.SUBSCRIPTION)
        if grant.privilege is not Privilege.READ or rowless:
            raise InvalidInputError(
                f"{grant.privilege} on {found.on} has no row filter and no masks.",
                hint="They go with read on the lake, a namespace or a dataset.",
            )
        if grant.grant_option:
            raise InvalidInputError(
                "What is granted with a row filter or masks cannot be granted on.", hint="Leave out the grant option."
            )
        if not (grant.row_filter or grant.masks):
            return
        if not isinstance(found.object, Dataset):
            raise InvalidInputError(
                f"{found.on} has no columns that a row filter or masks could name.",
                hint="Grant them on each dataset; or mask columns by their policy tags.",
            )
        metadata = self._tables.load(found.version or meant_version(tx, found.object))
        if len(grant.row_filter) > _LONGEST_FILTER:
            raise InvalidInputError(f"The row filter has more than {_LONGEST_FILTER:,} characters.")
        if grant.row_filter:
            parse_row_filter(grant.row_filter, metadata.schema)
        for column, mask in grant.masks.items():
            check_mask(found.on.name, column, mask, (metadata.schema, *metadata.schemas))


def checked_masks(masks: Mapping[str, str], tag_masks: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return masks by column and by tag expression, in the one form that is stored.

    Raises:
        InvalidInputError, InvalidExpressionError: If one is no mask, or no tag expression.
    """
    by_column = {column: parse_mask(mask).value for column, mask in masks.items()}
    by_tags = {describe(parse_tag_expression(tags)): parse_mask(mask).value for tags, mask in tag_masks.items()}
    return by_column, by_tags


def check_mask(dataset: str, column: str, mask: str, schemas: tuple[Schema, ...]) -> None:
    """Refuse a mask for a column that no schema of a dataset has, or that it does not fit.

    Raises:
        UnknownColumnError, InvalidInputError: As it says.
    """
    known = [field for schema in schemas for field in schema.fields if field.name == column]
    if not known:
        names = ", ".join(field.name for field in schemas[0].fields)
        raise UnknownColumnError(f"{dataset} has no column {column!r}.", hint=f"Columns: {names}.")
    kind = known[0].field_type
    if not fits(parse_mask(mask), kind):
        raise InvalidInputError(
            f"The column {column!r} of {dataset} is {kind}, which cannot be masked by {mask}.",
            hint=f"Masks for it: {', '.join(one for one in Mask if fits(one, kind))}.",
        )
