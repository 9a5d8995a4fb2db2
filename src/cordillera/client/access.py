"""Access to a lake, in this process or behind a server: grants, roles, policy tags."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from cordillera.app import Application
from cordillera.client.connection import Connection
from cordillera.codec import Page, to_plain
from cordillera.spec.access import Grant, Membership, PolicyTag, parse_privilege, parse_securable
from cordillera.spec.access_explanation import AccessExplanation
from cordillera.spec.wanted_grant import WantedGrant

_ADDRESS = "/access"


class LocalAccess:
    """The part of ``LakeBackend`` that is about access, on the services of an application."""

    app: Application

    def grant(self, wanted: WantedGrant) -> Grant:
        """Give somebody a privilege."""
        return self.app.grants.grant(wanted)

    def revoke(self, principal: str, privilege: str, on: str, *, tags: str = "", reason: str = "") -> None:
        """Take a privilege back."""
        self.app.grants.revoke(principal, parse_privilege(privilege), parse_securable(on), tags=tags, reason=reason)

    def grants(self, *, on: str = "", principal: str = "", after: UUID | None = None, limit: int = 100) -> list[Grant]:
        """Return a page of grants."""
        securable = parse_securable(on) if on else None
        return self.app.grants.page(on=securable, principal=principal, after=after, limit=limit)

    def holders(self, on: str, *, after: UUID | None = None, limit: int = 100) -> list[Grant]:
        """Return a page of the grants that reach an object."""
        return self.app.grants.holders(parse_securable(on), after=after, limit=limit)

    def explain_access(self, principal: str, privilege: str, on: str) -> AccessExplanation:
        """Tell whether somebody holds a privilege, and why."""
        return self.app.explanations.explain(principal, parse_privilege(privilege), parse_securable(on))

    def add_member(self, role: str, member: str, *, expires_at: datetime | None = None) -> Membership:
        """Put somebody into a group or role."""
        return self.app.roles.add(role, member, expires_at=expires_at)

    def remove_member(self, role: str, member: str) -> None:
        """Take somebody out of a group or role."""
        self.app.roles.remove(role, member)

    def members(self, role: str, after: str = "", limit: int = 100) -> list[Membership]:
        """Return a page of the members of a group or role."""
        return self.app.roles.members(role, after, limit)

    def roles(self, after: str = "", limit: int = 100) -> list[str]:
        """Return a page of the groups and roles that have members."""
        return self.app.roles.roles(after, limit)

    def set_policy_tag(self, on: str, name: str, value: str, *, column: str = "", mask: str = "") -> PolicyTag:
        """Label a namespace, a dataset or a column."""
        return self.app.policy_tags.set(parse_securable(on), name, value, column=column, mask=mask)

    def remove_policy_tag(self, on: str, name: str, *, column: str = "") -> None:
        """Remove a label."""
        self.app.policy_tags.remove(parse_securable(on), name, column=column)

    def policy_tags(self, on: str) -> list[PolicyTag]:
        """Return the labels of a namespace or dataset."""
        return self.app.policy_tags.of(parse_securable(on))


class RemoteAccess:
    """The part of ``LakeBackend`` that is about access, over the HTTP API."""

    _server: Connection

    def grant(self, wanted: WantedGrant) -> Grant:
        """Give somebody a privilege."""
        return self._server.post(Grant, f"{_ADDRESS}/grants", to_plain(wanted))

    def revoke(self, principal: str, privilege: str, on: str, *, tags: str = "", reason: str = "") -> None:
        """Take a privilege back."""
        wanted = {"principal": principal, "privilege": privilege, "on": on, "tags": tags, "reason": reason}
        self._server.request("DELETE", f"{_ADDRESS}/grants", parameters=wanted)

    def grants(self, *, on: str = "", principal: str = "", after: UUID | None = None, limit: int = 100) -> list[Grant]:
        """Return a page of grants."""
        address = f"{_ADDRESS}/grants"
        return self._server.get(Page[Grant], address, on=on, principal=principal, after=after, limit=limit).items

    def holders(self, on: str, *, after: UUID | None = None, limit: int = 100) -> list[Grant]:
        """Return a page of the grants that reach an object."""
        return self._server.get(Page[Grant], f"{_ADDRESS}/holders", on=on, after=after, limit=limit).items

    def explain_access(self, principal: str, privilege: str, on: str) -> AccessExplanation:
        """Tell whether somebody holds a privilege, and why."""
        address = f"{_ADDRESS}/explanation"
        return self._server.get(AccessExplanation, address, principal=principal, privilege=privilege, on=on)

    def add_member(self, role: str, member: str, *, expires_at: datetime | None = None) -> Membership:
        """Put somebody into a group or role."""
        body = {"role": role, "member": member, "expires_at": expires_at.isoformat() if expires_at else None}
        return self._server.post(Membership, f"{_ADDRESS}/members", body)

    def remove_member(self, role: str, member: str) -> None:
        """Take somebody out of a group or role."""
        self._server.request("DELETE", f"{_ADDRESS}/members", parameters={"role": role, "member": member})

    def members(self, role: str, after: str = "", limit: int = 100) -> list[Membership]:
        """Return a page of the members of a group or role."""
        return self._server.get(Page[Membership], f"{_ADDRESS}/members", role=role, after=after, limit=limit).items

    def roles(self, after: str = "", limit: int = 100) -> list[str]:
        """Return a page of the groups and roles that have members."""
        return self._server.get(Page[str], f"{_ADDRESS}/roles", after=after, limit=limit).items

    def set_policy_tag(self, on: str, name: str, value: str, *, column: str = "", mask: str = "") -> PolicyTag:
        """Label a namespace, a dataset or a column."""
        body = {"on": on, "name": name, "value": value, "column": column, "mask": mask}
        return self._server.post(PolicyTag, f"{_ADDRESS}/policy-tags", body)

    def remove_policy_tag(self, on: str, name: str, *, column: str = "") -> None:
        """Remove a label."""
        wanted = {"on": on, "name": name, "column": column}
        self._server.request("DELETE", f"{_ADDRESS}/policy-tags", parameters=wanted)

    def policy_tags(self, on: str) -> list[PolicyTag]:
        """Return the labels of a namespace or dataset."""
        return self._server.get(Page[PolicyTag], f"{_ADDRESS}/policy-tags", on=on).items
