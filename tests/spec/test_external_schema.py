from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, InvalidNameError
from cordillera.spec.external_schema import ExternalSchema, external_schema_statements

ROLE = "arn:aws:iam::123456789012:role/lake/spectrum"


def test_the_statements_are_those_of_redshifts_manual() -> None:
    wanted = ExternalSchema("lake", ROLE, ("analysts", "Finance"))
    assert external_schema_statements(wanted, database="lake_db", region="eu-central-1") == (
        'CREATE EXTERNAL SCHEMA IF NOT EXISTS "lake"\n'
        "FROM DATA CATALOG\n"
        "DATABASE 'lake_db'\n"
        "REGION 'eu-central-1'\n"
        f"IAM_ROLE '{ROLE}'",
        'GRANT USAGE ON SCHEMA "lake" TO ROLE "analysts"',
        'GRANT USAGE ON SCHEMA "lake" TO ROLE "Finance"',
    )


def test_without_a_role_and_a_region_the_warehouses_own_are_used() -> None:
    assert external_schema_statements(ExternalSchema("lake"), database="lake_db", region="") == (
        "CREATE EXTERNAL SCHEMA IF NOT EXISTS \"lake\"\nFROM DATA CATALOG\nDATABASE 'lake_db'\nIAM_ROLE default",
    )


@pytest.mark.parametrize("name", ["", "1st", 'a"b', "a b", "a;b", "x" * 128, "é"])
def test_names_that_would_need_care_are_refused(name: str) -> None:
    for wanted in (ExternalSchema(name), ExternalSchema("lake", readers=(name,))):
        with pytest.raises(InvalidNameError, match="Redshift"):
            external_schema_statements(wanted, database="lake", region="")


@pytest.mark.parametrize("role", ["", "admin", "arn:aws:iam::1:role/x", f"{ROLE}'; DROP TABLE x; --", f"{ROLE}\n"])
def test_what_is_no_role_is_refused(role: str) -> None:
    with pytest.raises(InvalidInputError, match="no ARN"):
        external_schema_statements(ExternalSchema("lake", role), database="lake", region="")


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_whatever_is_in_a_literal_does_not_end_it(database: str, region: str) -> None:
    statement = external_schema_statements(ExternalSchema("lake"), database=database, region=region)[0]
    assert literals(statement) == [database, region]


def literals(sql: str) -> list[str]:
    """Read string literals as Redshift does: a doubled quote is one, and so is a doubled backslash."""
    found, characters = [], iter(sql)
    for character in characters:
        if character != "'":
            continue
        text, following = "", next(characters)
        while True:
            if following == "\\":
                text, following = text + next(characters), next(characters)
            elif following == "'":
                following = next(characters, "")
                if following != "'":
                    break
                text, following = text + "'", next(characters)
            else:
                text, following = text + following, next(characters)
        found.append(text)
    return found
