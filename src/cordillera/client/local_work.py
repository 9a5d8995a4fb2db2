"""Targets, subscriptions, jobs and runs of a lake in this process."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cordillera.app import Application
from cordillera.client.backend import RunCount
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


class LocalWork:
    """The part of ``LakeBackend`` that is about subscriptions and jobs, on the services of an application."""

    app: Application
    _behind_server: bool

    # --- targets and subscriptions -------------------------------------------------------------------------------

    def create_target(self, name: str, kind: str, config: Mapping[str, str], *, check: bool = True) -> Target:
        """Configure a target; relative paths in its settings count from the working directory, not behind a server."""
        if not self._behind_server:
            config = self.app.complete_target_config(kind, config)
        return self.app.subscriptions.create_target(name, kind, config, check=check)

    def target(self, name: str) -> Target:
        """Return a target."""
        return self.app.subscriptions.target(name)

    def targets(self, after: str = "", limit: int = 100) -> list[Target]:
        """Return a page of targets."""
        return self.app.subscriptions.targets(after, limit)

    def check_target(self, name: str) -> None:
        """Make sure that a target can be reached and written."""
        self.app.subscriptions.check_target(name)

    def external_schema(self, target: str, wanted: ExternalSchema) -> list[str]:
        """Return the statements by which Redshift reads what a target points at."""
        return list(self.app.subscriptions.external_schema(target, wanted))

    def delete_target(self, name: str) -> None:
        """Remove a target nobody uses."""
        self.app.subscriptions.delete_target(name)

    def subscribe(self, wanted: WantedSubscription) -> Subscription:
        """Ask for a target to follow a dataset."""
        return self.app.subscriptions.subscribe(wanted)

    def subscription(self, subscription_id: UUID) -> SubscriptionStatus:
        """Return a subscription with its lag."""
        return self.app.subscriptions.status(subscription_id)

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
        return self.app.subscriptions.subscriptions(
            dataset=dataset, target=target, state=state, after=after, limit=limit
        )

    def subscription_history(
        self, subscription_id: UUID, before: int | None = None, limit: int = 100
    ) -> list[SubscriptionChange]:
        """Return a page of what happened to a subscription, newest first."""
        return self.app.subscription_lives.history(subscription_id, before=before, limit=limit)

    def subscription_deliveries(
        self, subscription_id: UUID, before: int | None = None, limit: int = 100
    ) -> list[DeliveryRecord]:
        """Return a page of what a subscription's deliveries did and took, newest first."""
        return self.app.subscription_lives.deliveries(subscription_id, before=before, limit=limit)

    def delivery_costs(self, asked: CostQuery, after: str = "", limit: int = 100) -> list[DeliveryCost]:
        """Return a page of what deliveries cost whom, by month."""
        return self.app.subscription_lives.costs(asked, after=after, limit=limit)

    def pause_subscription(self, subscription_id: UUID, *, reason: str = "") -> Subscription:
        """Stop deliveries."""
        return self.app.subscription_lives.pause(subscription_id, reason)

    def resume_subscription(self, subscription_id: UUID, *, reason: str = "") -> Subscription:
        """Deliver again."""
        return self.app.subscription_lives.resume(subscription_id, reason)

    def renew_subscription(self, subscription_id: UUID, days: int | None) -> Subscription:
        """Let a subscription end so many days from now, or not by itself."""
        return self.app.subscription_lives.renew(subscription_id, days)

    def change_subscription(self, subscription_id: UUID, wanted: WishChange, *, reason: str = "") -> Subscription:
        """Change what a subscription is to."""
        return self.app.subscription_changes.change(subscription_id, wanted, reason)

    def revoke_subscription(self, subscription_id: UUID, *, keep_rows: bool = True, reason: str = "") -> Subscription:
        """End a subscription."""
        return self.app.subscription_lives.revoke(subscription_id, keep_rows=keep_rows, reason=reason)

    def skip_snapshots(self, subscription_id: UUID, last: int, *, first: int | None = None, reason: str) -> Skip:
        """Leave out the changes of some snapshots."""
        return self.app.skips.skip(subscription_id, last, first=first, reason=reason)

    def withdraw_skip(self, subscription_id: UUID, number: int, *, reason: str = "") -> Skip:
        """Have what was to be left out delivered all the same."""
        return self.app.skips.withdraw(subscription_id, number, reason=reason)

    def verify_subscription(self, subscription_id: UUID) -> Verification:
        """Compare a target with the lake by keyed checksum."""
        self.app.subscriptions.check_verifiable(subscription_id)
        return self.app.verifications.verify(subscription_id)

    def repair_subscription(self, subscription_id: UUID) -> Repair:
        """Put right the rows in which a target differs from the lake."""
        self.app.subscriptions.check_repairable(subscription_id)
        return self.app.verifications.repair(subscription_id)

    def schedule_verification(self, subscription_id: UUID, every_seconds: int | None) -> Subscription:
        """Say how often a target is compared with the lake."""
        return self.app.subscription_lives.schedule_verification(subscription_id, every_seconds)

    # --- jobs and runs -------------------------------------------------------------------------------------------

    def create_job(self, wanted: WantedJob) -> Job:
        """Create a job."""
        return self.app.workflows.create_job(wanted)

    def job(self, name: str) -> Job:
        """Return a job."""
        return self.app.workflows.job(name)

    def jobs(self, after: str = "", limit: int = 100) -> list[Job]:
        """Return a page of jobs."""
        return self.app.workflows.jobs(after, limit)

    def set_job_enabled(self, name: str, enabled: bool) -> Job:
        """Let completions start runs of a job, or not."""
        return self.app.workflows.set_enabled(name, enabled)

    def delete_job(self, name: str) -> None:
        """Remove a job."""
        self.app.workflows.delete_job(name)

    def run_job(self, name: str, partition: str, *, idempotency_key: str | None = None) -> Run:
        """Run a job again for a partition."""
        return self.app.workflows.run_now(name, partition, idempotency_key=idempotency_key)

    def run(self, run_id: UUID) -> Run:
        """Return a run."""
        return self.app.workflows.run(run_id)

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
        return self.app.workflows.runs(job=job, state=state, partition=partition, before=before, limit=limit)

    def run_counts(self) -> list[RunCount]:
        """Return how many runs each job has in each state."""
        counts = self.app.workflows.run_counts()
        return [RunCount(job, state, count) for (job, state), count in sorted(counts.items())]

    def waiting(self, job: str, limit: int = 50) -> list[Waiting]:
        """Return the partitions for which a job waits, and for what."""
        return self.app.workflows.waiting(job, limit)

    def explain_job(self, name: str, partition: str | None = None) -> JobExplanation:
        """Return how a job stands to a partition; by default the latest that it waits for."""
        return self.app.job_explanations.explain(name, partition)
