from __future__ import annotations

import pytest

from cordillera.errors import InvalidConfigurationError
from cordillera.spec.residency import Violation, residency_of, violated


@pytest.mark.parametrize(
    ("whole", "own", "kept_in", "broken"),
    [
        ("", {}, "", None),
        ("", {}, "us", None),
        ("eu", {}, "eu", None),
        ("eu, ch", {}, "ch", None),
        ("eu", {}, "us", Violation("eu")),
        ("eu", {}, "", Violation("eu")),
        ("eu-central-1", {}, "eu", Violation("eu-central-1")),
        ("", {"name": "eu"}, "us", Violation("eu", "name")),
        ("", {"other": "eu"}, "us", None),
        ("", {"Once": "eu"}, "us", Violation("eu", "name")),
        ("eu,us", {"name": "eu"}, "us", Violation("eu", "name")),
        (",", {}, "", Violation(",")),
    ],
)
def test_a_target_is_where_the_tags_allow_for(
    whole: str, own: dict[str, str], kept_in: str, broken: Violation | None
) -> None:
    assert violated((whole, own), kept_in, {"id": ["id"], "name": ["name", "once"]}) == broken


@pytest.mark.parametrize("place", ["EU", "eu west", "-eu", "e" * 64, "eu,ch"])
def test_a_place_has_a_name(place: str) -> None:
    with pytest.raises(InvalidConfigurationError):
        residency_of({"residency": place})
