"""The tables of the metadata database. What is here is what the migrations make, and a test proves it.

Every list of the port is ordered by an index. Partial indexes keep what is asked for most (live datasets, waiting
events and tasks, unfinished runs) as small as itself, however much history lies beside it.
"""

from cordillera.adapters.db.schema.access import (
    access_approvers,
    access_requests,
    approval_rules,
    deputies,
    grants,
    memberships,
    policy_tags,
    signing_keys,
    tokens,
)
from cordillera.adapters.db.schema.base import metadata
from cordillera.adapters.db.schema.catalog import (
    commit_receipts,
    dataset_columns,
    dataset_versions,
    datasets,
    enclosing_namespaces,
    lake,
    manifests,
    namespaces,
    reservations,
    snapshots,
    taken_names,
    views,
)
from cordillera.adapters.db.schema.completion import (
    completion_rules,
    completion_upstreams,
    completions,
    latest_completions,
    partition_states,
)
from cordillera.adapters.db.schema.contracts import (
    awaited_consumers,
    candidates,
    contract_proposals,
    contracts,
    rule_partials,
    service_levels,
)
from cordillera.adapters.db.schema.destinations import destination_scopes, destinations, event_deliveries
from cordillera.adapters.db.schema.operations import (
    audit_entries,
    events,
    maintenance_runs,
    reads,
    scan_statistics,
    tasks,
)
from cordillera.adapters.db.schema.search import search_documents, search_tags, search_words
from cordillera.adapters.db.schema.subscriptions import (
    deliveries,
    delivery_costs,
    pointers,
    skips,
    subscription_changes,
    subscriptions,
    targets,
)
from cordillera.adapters.db.schema.workflows import job_inputs, job_waits, jobs, lineage_edges, run_totals, runs

__all__ = [
    "access_approvers",
    "access_requests",
    "approval_rules",
    "audit_entries",
    "awaited_consumers",
    "candidates",
    "commit_receipts",
    "completion_rules",
    "completion_upstreams",
    "completions",
    "contract_proposals",
    "contracts",
    "dataset_columns",
    "dataset_versions",
    "datasets",
    "deliveries",
    "delivery_costs",
    "deputies",
    "destination_scopes",
    "destinations",
    "enclosing_namespaces",
    "event_deliveries",
    "events",
    "grants",
    "job_inputs",
    "job_waits",
    "jobs",
    "lake",
    "latest_completions",
    "lineage_edges",
    "maintenance_runs",
    "manifests",
    "memberships",
    "metadata",
    "namespaces",
    "partition_states",
    "pointers",
    "policy_tags",
    "reads",
    "reservations",
    "rule_partials",
    "run_totals",
    "runs",
    "scan_statistics",
    "search_documents",
    "search_tags",
    "search_words",
    "service_levels",
    "signing_keys",
    "skips",
    "snapshots",
    "subscription_changes",
    "subscriptions",
    "taken_names",
    "targets",
    "tasks",
    "tokens",
    "views",
]
