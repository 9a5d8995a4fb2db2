"""Targets, subscriptions, jobs and runs of a lake behind a server."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cordillera.client.backend import RunCount
from cordillera.client.connection import Connection, path
from cordillera.codec import Page, to_plain
from cordillera.spec.delivery_cost import CostQuery, DeliveryCost
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.external_schema import ExternalSchema
from cordillera.spec.job_explanation import JobExplanation
from cordillera.spec.skip import Skip
from cordillera.spec.subscription import (
    Repair,
    Subscription,
    SubscriptionChange,
    SubscriptionStatus,
    Target,
    Verification,
)
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.spec.wish_change import WishChange
from cordillera.spec.workflow import Job, Run, Waiting, WantedJob


class RemoteWork:
    """The part of ``LakeBackend`` that is about subscriptions and jobs, over the HTTP API."""

    _server: Connection

    # --- targets and subscriptions -------------------------------------------------------------------------------

    def create_target(self, name: str, kind: str, config: Mapping[str, str], *, check: bool = True) -> Target:
        """Configure a target."""
        body = {"name": name, "kind": kind, "config": dict(config), "check": check}
        return self._server.post(Target, "/targets", body)

    def target(self, name: str) -> Target:
        """Return a target."""
        return self._server.get(Target, path("targets", name))

    def targets(self, after: str = "", limit: int = 100) -> list[Target]:
        """Return a page of targets."""
        return self._server.get(Page[Target], "/targets", after=after, limit=limit).items

    def check_target(self, name: str) -> None:
        """Make sure that a target can be reached and written."""
        self._server.request("POST", path("targets", name) + "/check")

    def external_schema(self, target: str, wanted: ExternalSchema) -> list[str]:
        """Return the statements by which Redshift reads what a target points at."""
        return self._server.post(list[str], path("targets", target) + "/external-schema", to_plain(wanted))

    def delete_target(self, name: str) -> None:
        """Remove a target nobody uses."""
        self._server.request("DELETE", path("targets", name))

    def subscribe(self, wanted: WantedSubscription) -> Subscription:
        """Ask for a target to follow a dataset."""
        return self._server.post(Subscription, "/subscriptions", to_plain(wanted))

    def subscription(self, subscription_id: UUID) -> SubscriptionStatus:
        """Return a subscription with its lag."""
        return self._server.get(SubscriptionStatus, path("subscriptions", str(subscription_id)))

    def subscriptions(
        self,
        *,
        dataset: str | None = None,
        target: str | None = None,
        state: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[SubscriptionStatus]:
        """Return a page of subscriptions with their lag."""
        return self._server.get(
            Page[SubscriptionStatus],
            "/subscriptions",
            dataset=dataset,
            target=target,
            state=state,
            after=after,
            limit=limit,
        ).items

    def subscription_history(
        self, subscription_id: UUID, before: int | None = None, limit: int = 100
    ) -> list[SubscriptionChange]:
        """Return a page of what happened to a subscription, newest first."""
        where = path("subscriptions", str(subscription_id), "history")
        return self._server.get(Page[SubscriptionChange], where, before=before, limit=limit).items

    def subscription_deliveries(
        self, subscription_id: UUID, before: int | None = None, limit: int = 100
    ) -> list[DeliveryRecord]:
        """Return a page of what a subscription's deliveries did and took, newest first."""
        where = path("subscriptions", str(subscription_id), "deliveries")
        return self._server.get(Page[DeliveryRecord], where, before=before, limit=limit).items

    def delivery_costs(self, asked: CostQuery, after: str = "", limit: int = 100) -> list[DeliveryCost]:
        """Return a page of what deliveries cost whom, by month."""
        return self._server.get(
            Page[DeliveryCost],
            path("delivery-costs"),
            since=asked.since,
            until=asked.until,
            by=asked.by.value,
            cost_owner=asked.cost_owner,
            subscription_id=None if asked.subscription_id is None else str(asked.subscription_id),
            after=after,
            limit=limit,
        ).items

    def pause_subscription(self, subscription_id: UUID, *, reason: str = "") -> Subscription:
        """Stop deliveries."""
        where = path("subscriptions", str(subscription_id), "pause")
        return self._server.post(Subscription, where, {"reason": reason})

    def resume_subscription(self, subscription_id: UUID, *, reason: str = "") -> Subscription:
        """Deliver again."""
        where = path("subscriptions", str(subscription_id), "resume")
        return self._server.post(Subscription, where, {"reason": reason})

    def renew_subscription(self, subscription_id: UUID, days: int | None) -> Subscription:
        """Let a subscription end so many days from now, or not by itself."""
        return self._server.post(Subscription, path("subscriptions", str(subscription_id), "renew"), {"days": days})

    def change_subscription(self, subscription_id: UUID, wanted: WishChange, *, reason: str = "") -> Subscription:
        """Change what a subscription is to."""
        body = {**to_plain(wanted), "reason": reason}
        return self._server.post(Subscription, path("subscriptions", str(subscription_id), "change"), body)

    def revoke_subscription(self, subscription_id: UUID, *, keep_rows: bool = True, reason: str = "") -> Subscription:
        """End a subscription."""
        body = {"keep_rows": keep_rows, "reason": reason}
        return self._server.post(Subscription, path("subscriptions", str(subscription_id), "revoke"), body)

    def skip_snapshots(self, subscription_id: UUID, last: int, *, first: int | None = None, reason: str) -> Skip:
        """Leave out the changes of some snapshots."""
        body = {"first": first, "last": last, "reason": reason}
        return self._server.post(Skip, path("subscriptions", str(subscription_id), "skip"), body)

    def withdraw_skip(self, subscription_id: UUID, number: int, *, reason: str = "") -> Skip:
        """Have what was to be left out delivered all the same."""
        address = path("subscriptions", str(subscription_id), "skips", str(number), "withdraw")
        return self._server.post(Skip, address, {"reason": reason})

    def verify_subscription(self, subscription_id: UUID) -> Verification:
        """Compare a target with the lake by keyed checksum."""
        return self._server.post(Verification, path("subscriptions", str(subscription_id), "verify"))

    def repair_subscription(self, subscription_id: UUID) -> Repair:
        """Put right the rows in which a target differs from the lake."""
        return self._server.post(Repair, path("subscriptions", str(subscription_id), "repair"))

    def schedule_verification(self, subscription_id: UUID, every_seconds: int | None) -> Subscription:
        """Say how often a target is compared with the lake."""
        body = {"verify_every_seconds": every_seconds}
        return self._server.post(Subscription, path("subscriptions", str(subscription_id)), body, method="PATCH")

    # --- jobs and runs -------------------------------------------------------------------------------------------

    def create_job(self, wanted: WantedJob) -> Job:
        """Create a job."""
        return self._server.post(Job, "/jobs", to_plain(wanted))

    def job(self, name: str) -> Job:
        """Return a job."""
        return self._server.get(Job, path("jobs", name))

    def jobs(self, after: str = "", limit: int = 100) -> list[Job]:
        """Return a page of jobs."""
        return self._server.get(Page[Job], "/jobs", after=after, limit=limit).items

    def set_job_enabled(self, name: str, enabled: bool) -> Job:
        """Let completions start runs of a job, or not."""
        return self._server.post(Job, path("jobs", name), {"enabled": enabled}, method="PATCH")

    def delete_job(self, name: str) -> None:
        """Remove a job."""
        self._server.request("DELETE", path("jobs", name))

    def run_job(self, name: str, partition: str, *, idempotency_key: str | None = None) -> Run:
        """Run a job again for a partition."""
        return self._server.post(Run, path("jobs", name, "runs"), {"partition": partition}, key=idempotency_key)

    def run(self, run_id: UUID) -> Run:
        """Return a run."""
        return self._server.get(Run, path("runs", str(run_id)))

    def runs(
        self,
        *,
        job: str | None = None,
        state: str | None = None,
        partition: str | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> list[Run]:
        """Return a page of runs, newest first."""
        return self._server.get(
            Page[Run], "/runs", job=job, state=state, partition=partition, before=before, limit=limit
        ).items

    def run_counts(self) -> list[RunCount]:
        """Return how many runs each job has in each state."""
        return self._server.get(Page[RunCount], "/run-counts").items

    def waiting(self, job: str, limit: int = 50) -> list[Waiting]:
        """Return the partitions for which a job waits, and for what."""
        return self._server.get(Page[Waiting], path("jobs", job, "waiting"), limit=limit).items

    def explain_job(self, name: str, partition: str | None = None) -> JobExplanation:
        """Return how a job stands to a partition; by default the latest that it waits for."""
        return self._server.get(JobExplanation, path("jobs", name, "explanation"), partition=partition)
