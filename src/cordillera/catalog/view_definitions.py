"""Views defined by a query alone: their columns are those of its result."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from sqlglot import exp

from cordillera.catalog.queries import QueryService
from cordillera.catalog.views import ResolvedView, ViewService
from cordillera.errors import InvalidSqlError, ViewNotFoundError
from cordillera.ports.clock import Clock
from cordillera.spec.arrow_types import from_arrow_schema
from cordillera.spec.commit import AddSchema, SetProperties
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.query import parse_select
from cordillera.spec.view_changes import LAST_ADDED, AddViewVersion, SetCurrentViewVersion, ViewUpdate
from cordillera.spec.view_metadata import ViewVersion

OWN_DIALECT = "duckdb"
_COMMENT = "comment"


class ViewDefinitionService:
    """Defines views.

    Args:
        views: Keeps them.
        queries: Tells what columns a query has.
        clock: Time.
    """

    def __init__(self, views: ViewService, queries: QueryService, clock: Clock) -> None:
        self._views, self._queries, self._clock = views, queries, clock

    def define(
        self,
        name: str,
        sql: str,
        *,
        dialects: Mapping[str, str] | None = None,
        description: str | None = None,
        owner: str = "",
        replace: bool = False,
    ) -> ResolvedView:
        """Create a view, or give one another definition.

        Args:
            name: ``namespace.view``.
            sql: One SELECT in DuckDB's dialect over datasets and views, written ``namespace.name``.
            dialects: The same in other dialects, for engines that read those.
            description: What it is about; None leaves it as it is.
            owner: Owner of a new view; empty takes the namespace's.
            replace: Whether a view of the name, if there is one, gets this definition.

        Raises:
            InvalidSqlError: If the query cannot be read, or has a parameter.
            AlreadyExistsError: If the name is taken, by a view unless it may be replaced.
            NotAllowedError: If the view would read itself, or lose its SQL for a dialect.
            DatasetNotFoundError, NamespaceNotFoundError, InvalidNameError, InvalidSchemaError: As their names say.
        """
        ref, tree = parse_dataset_ref(name), parse_select(sql)
        if (parameter := tree.find(exp.Parameter, exp.Placeholder)) is not None:
            raise InvalidSqlError(f"The view {name} cannot have the parameter {parameter.sql(dialect=OWN_DIALECT)}.")
        schema = from_arrow_schema(self._queries.result_schema(tree.sql(dialect=OWN_DIALECT)))
        made_by = {"engine-name": "Cordillera", "engine-version": version("cordillera")}
        given = {OWN_DIALECT: sql.strip().rstrip(";"), **(dialects or {})}
        now_ms = int(self._clock.now().timestamp() * 1000)
        raw = ViewVersion(1, LAST_ADDED, now_ms, given, (ref.namespace,), None, made_by).to_dict()
        try:
            definition = ViewVersion.from_dict(raw)
        except ValueError as error:
            raise InvalidSqlError(f"The view {name} cannot be defined so: {error}.") from error
        updates: list[ViewUpdate] = [AddSchema(schema), AddViewVersion(definition), SetCurrentViewVersion()]
        if description is not None:
            updates.append(SetProperties({_COMMENT: description}))
        if replace:
            try:
                return self._views.change(name, (), updates)
            except ViewNotFoundError:
                pass
        return self._views.create(name, updates, owner=owner)
