"""Reading an ODCS document into a contract for one dataset version."""

from __future__ import annotations

import re
from dataclasses import replace

from cordillera.spec.contract.columns import ELEMENT_KEYS, PROPERTY_KEYS, number_positions, read_columns
from cordillera.spec.contract.document import Node, read_document
from cordillera.spec.contract.entry import Subject
from cordillera.spec.contract.model import Column, Contract, SupportChannel, TeamMember
from cordillera.spec.contract.quality import add_quality
from cordillera.spec.contract.rules import RuleBook, Target, add_type_rules
from cordillera.spec.contract.service_level import read_service_level
from cordillera.spec.contract.words import words

_API_VERSION = re.compile(r"v3\.(0|1)\.[0-9]+")
_ROOT_KEYS = words(
    "apiVersion kind id name version status tenant domain dataProduct description servers schema price support team "
    "roles slaDefaultElement slaProperties authoritativeDefinitions customProperties contractCreatedTs tags"
)
_OBJECT_KEYS = (*ELEMENT_KEYS, "dataGranularityDescription", "properties")


def parse_contract(text: str | bytes, object_name: str | None = None) -> Contract:
    """Read an Open Data Contract Standard document, version 3.0 or 3.1.

    Args:
        text: The YAML (or JSON) document; bytes are UTF-8. At most 1 MiB.
        object_name: Which schema object the contract is for; needed only where the document has several.

    Raises:
        InvalidContractError: Naming the path in the document and the line, what is wrong and the next step, if the
            document is not valid, or states a rule that can never be checked as written.
    """
    root = read_document(text)
    check_kind(root)
    chosen = choose_object(root, object_name)
    book = RuleBook()
    book.leave_out_unknown(root, _ROOT_KEYS)
    columns = _add_columns(book, chosen)
    owner, members = read_team(root)
    description = root.get("description")
    return Contract(
        id=root.required_text("id"),
        name=root.text_at("name"),
        document_version=root.required_text("version"),
        status=root.required_text("status"),
        object_name=chosen.required_text("name"),
        columns=columns,
        service_level=read_service_level(book, root.list_at("slaProperties"), chosen.required_text("name")),
        row_rules=tuple(book.row_rules),
        aggregate_rules=tuple(book.aggregate_rules),
        unenforced=tuple(book.unenforced),
        owner=owner,
        team=members,
        support=read_support(root),
        description=chosen.text_at("description"),
        purpose=description.text_at("purpose") if description else "",
        usage=description.text_at("usage") if description else "",
        limitations=description.text_at("limitations") if description else "",
        tags=tuple(dict.fromkeys((*root.texts_at("tags"), *chosen.texts_at("tags")))),
        copies_go=_copies_go(root),
    )


def check_kind(root: Node) -> None:
    """Refuse documents of another kind, or another version of the standard."""
    if root.required_text("kind") != "DataContract":
        raise root.entries()["kind"].problem(f"the kind is {root.text_at('kind')[:40]!r}.", "Set kind: DataContract.")
    version = root.required_text("apiVersion")
    if not _API_VERSION.fullmatch(version):
        raise root.entries()["apiVersion"].problem(
            f"apiVersion {version[:40]!r} is not supported.", "Use v3.1.0; v3.0.x is read as well."
        )


def _copies_go(root: Node) -> bool:
    """Read the custom property ``copiesAtEnd``: what becomes of subscribers' copies when their subscriptions end."""
    for entry in root.list_at("customProperties"):
        if entry.text_at("property") == "copiesAtEnd":
            value = entry.required_text("value")
            if value not in ("freeze", "remove"):
                raise entry.problem(f"copies cannot be {value[:40]!r} at their end.", "Use freeze or remove.")
            return value == "remove"
    return False


def choose_object(root: Node, object_name: str | None) -> Node:
    """Return the schema object that is meant."""
    objects = root.list_at("schema")
    names = [node.required_text("name") for node in objects]
    if not objects:
        raise root.problem("the schema lists no object.", "Describe the dataset under schema.")
    if len(set(names)) != len(names):
        raise root.entries()["schema"].problem("two schema objects have the same name.", "Rename one.")
    if object_name is None:
        if len(objects) > 1:
            raise root.entries()["schema"].problem(
                f"the document describes several objects: {', '.join(names)[:300]}.",
                "Name the one that is meant.",
            )
        return objects[0]
    if object_name not in names:
        raise root.entries()["schema"].problem(
            f"there is no object {object_name!r}.", f"The document describes {', '.join(names)[:300]}."
        )
    return objects[names.index(object_name)]


def _add_columns(book: RuleBook, chosen: Node) -> tuple[Column, ...]:
    book.leave_out_unknown(chosen, _OBJECT_KEYS)
    nodes = chosen.list_at("properties")
    read = read_columns(nodes)
    key = number_positions(nodes, read, "primary key", lambda column: column.key_position)
    partitions = number_positions(nodes, read, "partitioning", lambda column: column.partition_position)
    columns = tuple(
        replace(column, key_position=key.get(column.name), partition_position=partitions.get(column.name))
        for column in read
    )
    object_names = tuple({chosen.required_text("name"), chosen.text_at("physicalName")} - {""})
    by_name = {node.required_text("name"): column for node, column in zip(nodes, columns, strict=True)}
    for node, column in zip(nodes, columns, strict=True):
        # A key of this one column is unique by itself; nothing has to be counted.
        stated = replace(column, unique=False) if list(key) == [column.name] else column
        target = Target.of_column(stated)
        add_type_rules(book, target, node.path)
        _add_property_quality(book, node, Subject(target, by_name, object_names))
    add_quality(book, chosen.list_at("quality"), Subject(None, by_name, object_names))
    return columns


def _add_property_quality(book: RuleBook, node: Node, subject: Subject) -> None:
    """Add the quality rules of a property and of the properties inside it; those of array items cannot be checked."""
    book.leave_out_unknown(node, PROPERTY_KEYS)
    add_quality(book, node.list_at("quality"), subject)
    options = node.get("logicalTypeOptions")
    if options is not None and (options.get("minProperties") or options.get("maxProperties")):
        book.leave_out(options.path, "the number of an object's properties follows from the schema")
    assert subject.target is not None
    for inner, column in zip(node.list_at("properties"), subject.target.column.fields, strict=True):
        _add_property_quality(book, inner, replace(subject, target=subject.target.field(column)))
    items = node.get("items")
    if items is not None and _states_rules(items):
        book.leave_out(items.path, "rules on the items of an array are not checked")


def _states_rules(node: Node) -> bool:
    inner = (*node.list_at("properties"), *((node.entries()["items"],) if node.get("items") else ()))
    return any(node.get(key) for key in ("quality", "logicalTypeOptions", "unique")) or any(map(_states_rules, inner))


def read_team(root: Node) -> tuple[str, tuple[TeamMember, ...]]:
    """Return the owner and the members: the team's name, or (the form before 3.1) whoever has the role Owner."""
    team = root.get("team")
    if team is None:
        return "", ()
    is_list = isinstance(team.value, list)
    nodes = team.elements() if is_list else team.list_at("members")
    members = tuple(
        TeamMember(node.required_text("username"), node.text_at("name"), node.text_at("role"))
        for node in nodes
        if node.get("dateOut") is None
    )
    named = "" if is_list else team.text_at("name")
    owners = [member.username for member in members if member.role.lower() == "owner"]
    return named or next(iter(owners), ""), members


def read_support(root: Node) -> tuple[SupportChannel, ...]:
    """Return where consumers find help."""
    return tuple(
        SupportChannel(
            channel=node.required_text("channel"),
            url=node.text_at("url"),
            tool=node.text_at("tool"),
            scope=node.text_at("scope"),
            description=node.text_at("description"),
        )
        for node in root.list_at("support")
    )
