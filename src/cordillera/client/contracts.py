"""Contracts: asked of a lake in this process, of one behind a server, and of a dataset."""

from __future__ import annotations

from cordillera.app import Application
from cordillera.client.backend import LakeBackend
from cordillera.client.connection import Connection, path
from cordillera.client.contract_backend import ContractDetails, ContractRevision
from cordillera.codec import Page, decode
from cordillera.contracts.service import ContractInForce, Revision
from cordillera.contracts.service_levels import ServiceLevelStatus
from cordillera.spec.access import Privilege
from cordillera.spec.contract import ContractChange, ContractCheck, check_contract

_YAML = "application/yaml"


class LocalContracts:
    """The part of ``LakeBackend`` that is about contracts, on the services of an application."""

    app: Application

    def put_contract(self, name: str, text: str) -> ContractDetails:
        """Put a contract in force."""
        return _contract_details(name, self.app.contracts.put(self.app.catalog.dataset(name, Privilege.ALTER), text))

    def contract(self, name: str) -> ContractDetails:
        """Return the contract in force."""
        return _contract_details(name, self.app.contracts.get(self.app.catalog.dataset(name, Privilege.DISCOVER)))

    def draft_contract(self, name: str) -> str:
        """Return an ODCS document to begin a contract from."""
        return self.app.contracts.draft(self.app.catalog.dataset(name, Privilege.DISCOVER))

    def check_contract(self, text: str) -> ContractCheck:
        """Return all that is wrong with a document, or what of it would not be enforced, and what each rule costs."""
        return check_contract(text)

    def diff_contract(self, name: str, text: str) -> list[ContractChange]:
        """Return what a document would change about the contract in force."""
        return self.app.contracts.diff(self.app.catalog.dataset(name, Privilege.DISCOVER), text)

    def service_level(self, name: str) -> ServiceLevelStatus:
        """Return how a dataset stands to its promises about time."""
        return self.app.service_levels.status(self.app.catalog.dataset(name, Privilege.DISCOVER))

    def contract_revisions(self, name: str, before: int | None = None, limit: int = 100) -> list[ContractRevision]:
        """Return a page of the documents that were put, newest first."""
        target = self.app.catalog.dataset(name, Privilege.DISCOVER)
        return [_revision(one) for one in self.app.contracts.revisions(target, before, limit)]


class RemoteContracts:
    """The part of ``LakeBackend`` that is about contracts, over the HTTP API."""

    _server: Connection

    def put_contract(self, name: str, text: str) -> ContractDetails:
        """Put a contract in force."""
        answer = self._server.request(
            "PUT", _address(name), content=text.encode(errors="surrogatepass"), media_type=_YAML
        )
        return decode(ContractDetails, answer)

    def contract(self, name: str) -> ContractDetails:
        """Return the contract in force."""
        return self._server.get(ContractDetails, _address(name))

    def draft_contract(self, name: str) -> str:
        """Return an ODCS document to begin a contract from."""
        return self._server.request("GET", _address(name) + "/draft").decode()

    def check_contract(self, text: str) -> ContractCheck:
        """Return all that is wrong with a document, or what of it would not be enforced, and what each rule costs."""
        answer = self._server.request(
            "POST", "/contracts/check", content=text.encode(errors="surrogatepass"), media_type=_YAML
        )
        return decode(ContractCheck, answer)

    def diff_contract(self, name: str, text: str) -> list[ContractChange]:
        """Return what a document would change about the contract in force."""
        answer = self._server.request(
            "POST", _address(name) + "/diff", content=text.encode(errors="surrogatepass"), media_type=_YAML
        )
        return decode(list[ContractChange], answer)

    def service_level(self, name: str) -> ServiceLevelStatus:
        """Return how a dataset stands to its promises about time."""
        return self._server.get(ServiceLevelStatus, _address(name) + "/sla")

    def contract_revisions(self, name: str, before: int | None = None, limit: int = 100) -> list[ContractRevision]:
        """Return a page of the documents that were put, newest first."""
        address = _address(name) + "/revisions"
        return self._server.get(Page[ContractRevision], address, before=before, limit=limit).items


class DatasetContracts:
    """The part of ``Dataset`` that is about its contract."""

    _backend: LakeBackend
    name: str

    def put_contract(self, text: str) -> ContractDetails:
        """Put an ODCS document in force."""
        return self._backend.put_contract(self.name, text)

    def contract(self) -> ContractDetails:
        """Return the contract in force."""
        return self._backend.contract(self.name)

    def diff_contract(self, text: str) -> list[ContractChange]:
        """Return what a document would change about the contract in force, breaking changes first."""
        return self._backend.diff_contract(self.name, text)

    def service_level(self) -> ServiceLevelStatus:
        """Return how it stands to its promises about time, and when the next partition is likely to be complete."""
        return self._backend.service_level(self.name)

    def contract_revisions(self, before: int | None = None, limit: int = 100) -> list[ContractRevision]:
        """Return a page of the documents that were put, newest first, each with what it changed."""
        return self._backend.contract_revisions(self.name, before, limit)


def _address(name: str) -> str:
    return path("datasets", name) + "/contract"


def _revision(found: Revision) -> ContractRevision:
    document = found.document
    return ContractRevision(
        document.revision, found.contract.document_version, document.put_by, document.put_at, tuple(found.changes)
    )


def _contract_details(name: str, found: ContractInForce) -> ContractDetails:
    document, contract = found.document, found.contract
    level = contract.service_level
    promises = {
        "frequency": level.frequency,
        "availability": level.availability,
        "latency": level.latency,
        "retention": level.retention,
        "end": level.end,
        "end_of_life": level.end_of_life,
    }
    return ContractDetails(
        dataset=name,
        revision=document.revision,
        document_version=contract.document_version,
        status=contract.status,
        owner=contract.owner,
        text=document.text,
        put_by=document.put_by,
        put_at=document.put_at.isoformat(),
        rules=tuple(
            f"{name} ({severity})"
            for name, severity in [
                *((rule.name, rule.severity) for rule in contract.row_rules),
                *((rule.name, rule.severity) for rule in contract.aggregate_rules),
            ]
        ),
        problems=tuple(problem.message for problem in found.problems),
        unenforced=tuple(f"{item.path}: {item.reason}" for item in contract.unenforced),
        service_level={key: str(value) for key, value in promises.items() if value is not None},
        support=tuple(f"{channel.channel} {channel.url}".strip() for channel in contract.support),
        costs=found.costs,
    )
