"""Schema changes as the API takes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from cordillera.api.parameters import Text
from cordillera.schema_codec import TypeJson, type_from_json, values_from_json
from cordillera.spec import schema_evolution as spec


class AddColumn(BaseModel):
    """Add a column; old rows read `default`, or NULL. `path` may lead into structs: `home.city`."""

    change: Literal["add_column"]
    path: Text
    type: TypeJson
    doc: Text | None = None
    default: Any = None

    def to_spec(self) -> spec.SchemaChange:
        """Return the change."""
        arrow_type = type_from_json(self.type, self.path)
        default = values_from_json([self.default], arrow_type, self.path)[0].as_py()
        return spec.AddColumn(self.path, arrow_type, self.doc, default)


class RenameColumn(BaseModel):
    """Give a column another name."""

    change: Literal["rename_column"]
    path: Text
    new_name: Text

    def to_spec(self) -> spec.SchemaChange:
        """Return the change."""
        return spec.RenameColumn(self.path, self.new_name)


class WidenColumn(BaseModel):
    """Give a column a type that holds every value of its present one."""

    change: Literal["widen_column"]
    path: Text
    type: TypeJson

    def to_spec(self) -> spec.SchemaChange:
        """Return the change."""
        return spec.WidenColumn(self.path, type_from_json(self.type, self.path))


class MoveColumn(BaseModel):
    """Move a column behind its sibling `after`, or to the front."""

    change: Literal["move_column"]
    path: Text
    after: Text | None = None

    def to_spec(self) -> spec.SchemaChange:
        """Return the change."""
        return spec.MoveColumn(self.path, self.after)


class DropColumn(BaseModel):
    """Remove a column; earlier snapshots still show it."""

    change: Literal["drop_column"]
    path: Text

    def to_spec(self) -> spec.SchemaChange:
        """Return the change."""
        return spec.DropColumn(self.path)


class MakeOptional(BaseModel):
    """Let a column hold NULL."""

    change: Literal["make_optional"]
    path: Text

    def to_spec(self) -> spec.SchemaChange:
        """Return the change."""
        return spec.MakeOptional(self.path)


class DescribeColumn(BaseModel):
    """Set a column's documentation."""

    change: Literal["describe_column"]
    path: Text
    doc: Text

    def to_spec(self) -> spec.SchemaChange:
        """Return the change."""
        return spec.DescribeColumn(self.path, self.doc)


AnyChange = Annotated[
    AddColumn | RenameColumn | WidenColumn | MoveColumn | DropColumn | MakeOptional | DescribeColumn,
    Field(discriminator="change"),
]
