"""A namespace as people work with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.client.view import View, views_of
from cordillera.spec import catalog as catalog_spec


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace of a lake, by name."""

    backend: LakeBackend
    name: str

    def details(self) -> catalog_spec.Namespace:
        """Return its owner, description, age and properties."""
        return self.backend.namespace(self.name)

    def update(
        self,
        *,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> catalog_spec.Namespace:
        """Change its owner, its description, or the properties that are named, where None removes."""
        return self.backend.update_namespace(self.name, owner=owner, description=description, properties=properties)

    def datasets(self) -> Iterator[Dataset]:
        """Yield its datasets by name."""
        after = ""
        while page := self.backend.datasets(self.name, after):
            yield from (Dataset(self.backend, found.full_name) for found in page)
            after = page[-1].full_name

    def dataset(self, name: str) -> Dataset:
        """Return one of its datasets."""
        return Dataset(self.backend, f"{self.name}.{name}")

    def views(self) -> Iterator[View]:
        """Yield its views by name."""
        yield from views_of(self.backend, self.name)

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"
