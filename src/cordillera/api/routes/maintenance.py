"""Maintenance of tables, and what of it is due."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cordillera.api.parameters import Backend, Name, Text
from cordillera.codec import Page
from cordillera.maintenance.results import (
    CompactionResult,
    ExpiryResult,
    MaintenanceStatus,
    ManifestRewriteResult,
    OrphanRemoval,
    StatisticsRefresh,
)
from cordillera.spec.advice import LayoutAdvice
from cordillera.spec.durations import MOST_HOURS
from cordillera.spec.maintenance import CompactionOptions, MaintenancePolicy
from cordillera.spec.statistics import ColumnStatistics

router = APIRouter(tags=["maintenance"])


class Expiry(BaseModel, extra="forbid"):
    """Which snapshots are to go; null means as the dataset's policy says."""

    older_than_hours: float | None = Field(None, ge=0, le=MOST_HOURS, description="Younger snapshots stay.")
    keep_last: int | None = Field(None, ge=1, le=1_000_000_000, description="So many of every branch stay.")
    dry_run: bool = Field(False, description="Only say which would go.")


class PolicyChange(BaseModel, extra="forbid"):
    """Table properties to set; null goes back to the default."""

    properties: dict[Text, Text | None] = Field(
        min_length=1, max_length=20, examples=[{"cordillera.maintenance.small-files": "64"}]
    )


class Counting(BaseModel, extra="forbid"):
    """Which columns' values are to be counted."""

    columns: list[Text] = Field(
        [], max_length=1000, description="Besides those of the key and the partitioning, and those counted before."
    )


class Removal(BaseModel, extra="forbid"):
    """Which orphaned files are to go."""

    older_than_hours: float = Field(72.0, ge=0, le=MOST_HOURS, description="Younger files stay.")
    dry_run: bool = Field(True, description="Only say which would go.")
    force: bool = Field(False, description="Allow an age below a day; nobody must be writing then.")


@router.post("/datasets/{name}/compact", summary="Compact a dataset")
def compact(backend: Backend, name: Name, options: CompactionOptions) -> CompactionResult:
    """Move rows into fewer, larger or better sorted files. `max_bytes` bounds what one request does."""
    return backend.compact(name, options)


@router.post("/datasets/{name}/expire-snapshots", summary="Expire snapshots")
def expire_snapshots(backend: Backend, name: Name, wanted: Expiry) -> ExpiryResult:
    """Forget old snapshots and remove the files that only they need."""
    return backend.expire_snapshots(
        name, older_than_hours=wanted.older_than_hours, keep_last=wanted.keep_last, dry_run=wanted.dry_run
    )


@router.post("/datasets/{name}/rewrite-manifests", summary="Rewrite manifests")
def rewrite_manifests(backend: Backend, name: Name) -> ManifestRewriteResult:
    """Write Iceberg's manifests anew, as few as the files need."""
    return backend.rewrite_manifests(name)


@router.get("/datasets/{name}/statistics", summary="Show the statistics of columns")
def show_statistics(backend: Backend, name: Name) -> Page[ColumnStatistics]:
    """How many distinct values columns had when statistics were last refreshed, by whatever engine."""
    return Page(backend.statistics(name), None)


@router.post("/datasets/{name}/refresh-statistics", summary="Refresh the statistics of columns")
def refresh_statistics(backend: Backend, name: Name, wanted: Counting) -> StatisticsRefresh:
    """Count the distinct values of columns, into a statistics file of the table."""
    return backend.refresh_statistics(name, wanted.columns)


@router.get("/datasets/{name}/maintenance", summary="Show what maintenance is due")
def show_maintenance(backend: Backend, name: Name) -> MaintenanceStatus:
    """The policy, what could be done, whether it is due, and how long it will take."""
    return backend.maintenance(name)


@router.patch("/datasets/{name}/maintenance", summary="Change the maintenance policy")
def configure_maintenance(backend: Backend, name: Name, change: PolicyChange) -> MaintenancePolicy:
    """Change what is done to a dataset without being asked."""
    return backend.configure_maintenance(name, change.properties)


@router.get("/datasets/{name}/advice", summary="Advise on the layout")
def advise(backend: Backend, name: Name) -> LayoutAdvice:
    """How scans and merges of the last 30 days would be served better: by which partitions, order, files."""
    return backend.advise(name)


@router.post("/lake/orphans/remove", summary="Remove orphaned files")
def remove_orphans(backend: Backend, wanted: Removal) -> OrphanRemoval:
    """Remove files that belong to no snapshot; by default only say which."""
    return backend.remove_orphans(older_than_hours=wanted.older_than_hours, dry_run=wanted.dry_run, force=wanted.force)
