"""Every command once as it should be and once as it should not; a command that is in neither list fails here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from shlex import quote, split

import pytest

from tests.cli.furniture import CONDITION, SELECT, Furniture
from tests.cli.harness import ORDERS_CSV, Cli, commands

MERGE_YAML = """
- {when: matched, then: update, set: {total: source.total + target.total}}
- {when: not_matched, condition: source.id > 0, then: insert}
"""
TOGETHER_YAML = """
- {dataset: sales.mergeable, operation: upsert, file: rows.csv}
- {dataset: sales.orders, operation: delete, where: id = 3}
"""
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
NOT_IN_THIS_PROCESS = {
    "destination test": "needs a receiver: tests/destinations/test_surfaces.py",
    "catalog verify": "needs a server: test_catalog.py",
    "serve": "runs until it is told to stop: test_processes.py",
    "login": "needs a server and a browser: test_login.py",
    "logout": "needs a login: test_login.py",
    "demo run": "takes minutes: it is the end-to-end test",
    "demo clean": "needs a demo: test_demo.py",
}


@dataclass(frozen=True)
class Case:
    """A command line that succeeds: ``{…}`` stands for what is in the lake, ``shows`` for a part of its answer."""

    arguments: str
    shows: str
    code: int = 0


SUCCESS = {
    "init": Case("{files}/another --name another", "Created the lake 'another'"),
    "worker": Case("--until-idle", "Done: "),
    "migrate": Case("", "is up to date"),
    "doctor": Case("--lake {files}/pristine", "can be written and read"),
    "whoami": Case("", "operator"),
    "sql": Case("'SELECT max(id) AS top FROM sales.orders'", "top"),
    "namespace create": Case("marketing --owner team-m", "Created the namespace marketing, owned by team-m."),
    "namespace list": Case("", "team-sales"),
    "namespace show": Case("sales", "What sales has"),
    "namespace update": Case("sales --description sold", "Updated"),
    "namespace delete": Case("spare --yes", "Deleted the namespace spare."),
    "dataset create": Case("sales.made --schema id:long,tags:list<string> --key id", "with 2 columns"),
    "dataset add-version": Case("sales.changeable --like {files}/rows.csv", "sales.changeable_v2"),
    "dataset list": Case("sales", "sales.orders"),
    "dataset search": Case("bought", "sales.orders"),
    "dataset show": Case("sales.orders", "decimal(10, 2)"),
    "dataset update": Case("sales.orders --owner team-x", "Updated"),
    "dataset register": Case("sales.registered {dropped_metadata}", "Registered sales.registered"),
    "dataset rename": Case("sales.renameable sales.renamed", "sales.renameable is called sales.renamed now."),
    "dataset lifecycle": Case("sales.changeable_v1 deprecated", "sales.changeable_v1 is deprecated."),
    "dataset evolve": Case("sales.changeable --add note:string", "Changed the columns"),
    "dataset partition": Case("sales.changeable day", "partitioned by day"),
    "dataset sort": Case("sales.changeable day", "sorted by day"),
    "dataset bloom-filters": Case("sales.changeable id", "have Bloom filters of id"),
    "dataset write-mode": Case("sales.changeable auto", "are auto from now on"),
    "dataset write": Case("sales.changeable_v1 {files}/rows.csv", "3 inserted, snapshot "),
    "dataset merge": Case("sales.mergeable {files}/rows.csv --clauses {files}/merge.yaml", "3 inserted, snapshot "),
    "dataset write-together": Case("{files}/together.yaml --message moved", "1 deleted, snapshot "),
    "dataset read": Case("sales.orders", "20.50"),
    "dataset changes": Case("sales.orders --columns id,total --each-commit", "insert"),
    "dataset delete-rows": Case("sales.orders --where id=99 --yes", "no rows changed"),
    "dataset delete": Case("sales.deletable --yes", "restored with"),
    "dataset compact": Case("sales.orders --strategy sort", "Rewrote "),
    "dataset expire": Case("sales.orders --older-than 1 --dry-run", "0 snapshots of sales.orders would be forgotten"),
    "dataset rewrite-manifests": Case("sales.orders", "sales.orders had "),
    "dataset refresh-statistics": Case("sales.orders --columns total", "Counted the distinct values of "),
    "dataset statistics": Case("sales.orders", "id"),
    "dataset maintenance": Case("sales.orders --set small-files=40", "What could be done"),
    "dataset advise": Case("sales.orders", "no evidence to advise by"),
    "dataset restore": Case("sales.restorable", "Restored"),
    "view create": Case(
        "sales.large --sql 'SELECT id FROM sales.orders WHERE total > 15' --dialect 'spark=SELECT 1'",
        "has the columns id",
    ),
    "view list": Case("sales", "sales.totals"),
    "view show": Case("sales.totals", "sum(total)"),
    "view rename": Case("sales.spare_view sales.renamed_view", "sales.spare_view is called sales.renamed_view now."),
    "view drop": Case("sales.doomed_view --yes", "Dropped the view sales.doomed_view."),
    "snapshot list": Case("sales.orders", "upsert"),
    "snapshot show": Case("sales.orders 1", ".parquet"),
    "dataset rollback": Case("sales.rolled 1", "sales.rolled has the rows of 1 again, as snapshot 3."),
    "dataset upgrade": Case("sales.second --yes", "sales.second has Iceberg format version 3."),
    "dataset consumers": Case("sales.asked_0", "team-x"),
    "branch list": Case("sales.rolled", "main"),
    "branch create": Case("sales.rolled made --keep-days 30", "Created the branch made of sales.rolled at snapshot "),
    "branch retain": Case("sales.second audit --min-snapshots 3", "Changed how long audit of sales.second is kept."),
    "branch drop": Case("sales.second droppable --yes", "Dropped the branch droppable of sales.second."),
    "branch publish": Case("sales.second audit", "Published audit: sales.second is at snapshot 2."),
    "branch fast-forward": Case("sales.second behind", "behind of sales.second is at snapshot "),
    "branch cherry-pick": Case("sales.picked 2", "main of sales.picked has taken it over as snapshot 4."),
    "tag list": Case("sales.rolled", "v1"),
    "tag create": Case("sales.rolled v2 --as-of 1", "Created the tag v2 of sales.rolled at snapshot 1."),
    "tag drop": Case("sales.rolled droppable --yes", "Dropped the tag droppable of sales.rolled."),
    "contract put": Case("sales.orders {files}/contract.yaml", "is in force"),
    "contract show": Case("sales.orders", "apiVersion: v3"),
    "contract draft": Case("sales.orders", "kind: DataContract"),
    "contract check": Case("{files}/contract.yaml", "The contract is valid: 4 columns"),
    "contract diff": Case("sales.orders {files}/contract.yaml", "The contracts promise the same."),
    "contract sla": Case("sales.orders", "Nothing is promised"),
    "contract propose": Case("sales.asked_3 {files}/retired.yaml --reason 'nobody needs it'", "It waits for: team-x."),
    "contract proposals": Case("sales.orders", "Nobody has proposed"),
    "contract waiting": Case("", "sales.asked_0"),
    "contract acknowledge": Case("sales.asked_0 {proposal_0} --comment fine", "The proposal is in force."),
    "contract override": Case("sales.asked_1 {proposal_1} --reason 'a legal order'", "The proposal is in force."),
    "contract withdraw": Case("sales.asked_2 {proposal_2}", "The proposal is withdrawn."),
    "contract history": Case("sales.orders", "0.1.0"),
    "contract candidates": Case("sales.refused", "candidate-2"),
    "contract candidate": Case("sales.refused candidate-2", "which must be less than 2"),
    "completion declare": Case("sales.orders 2026-01-28 2026-01-29", "2 partitions of sales.orders are complete"),
    "completion announce": Case("sales.orders 2026-01-29 --rows 7", "7 rows are announced for 2026-01-29"),
    "completion explain": Case("sales.orders 2026-01-31", "complete"),
    "completion list": Case("sales.orders", "2026-01-31"),
    "completion remove-rule": Case("sales.changeable_v1", "sales.changeable_v1 has no completion rule any more."),
    "completion rule": Case("sales.daily", "min rows"),
    "completion set-rule": Case(
        "sales.orders --column day --min-rows 1 --workdays mon-fri --upstream sales.asked_0", "follow the rule"
    ),
    "completion show": Case("sales.orders 2026-01-31", "revision"),
    "completion wait": Case("sales.orders 2026-01-31", "revision"),
    "target create": Case("made duckdb path={files}/made.duckdb", "Created the duckdb target made."),
    "target list": Case("", "analysts"),
    "target show": Case("analysts", "analysts.duckdb"),
    "target check": Case("analysts", "can be reached"),
    "target external-schema": Case("athena lake --reader bi", 'GRANT USAGE ON SCHEMA "lake" TO ROLE "bi";'),
    "target delete": Case("spare", "Deleted the target spare."),
    "subscription create": Case("sales.daily analysts --table days", "will be kept in analysts as days"),
    "subscription list": Case("--dataset sales.orders", "live"),
    "subscription show": Case("{subscription}", "to see how sales are"),
    "subscription pause": Case("{spare_0}", "Paused."),
    "subscription resume": Case("{spare_1}", "Resumed."),
    "subscription renew": Case("{subscription} --days 30", "The subscription ends at"),
    "subscription change": Case("{subscription} --cost-owner team:bi --reason moved", "Changed."),
    "subscription skip": Case("{subscription} --last 9 --reason late --dry-run", "would not be delivered"),
    "subscription withdraw-skip": Case("{spare_3} 1 --reason corrected", "Not to be skipped any more: snapshot 2."),
    "subscription history": Case("{subscription}", "live"),
    "subscription deliveries": Case("{subscription}", "worker:"),
    "subscription costs": Case("--by subscription --subscription {subscription}", "sales.orders"),
    "subscription revoke": Case("{spare_2} --yes", "Revoked."),
    "subscription verify": Case("{subscription}", "The target equals the lake."),
    "subscription repair": Case("{subscription}", "The target equals the lake."),
    "subscription schedule": Case("{subscription} --verify-every 24", "is verified every 24 hours"),
    "job create": Case(
        f"sales.made --sql {quote(SELECT)} --output-condition {quote(CONDITION)} --output-dataset sales.daily "
        "--mapping 'sales.orders=1 day before' --only '2026-*' --restatements ignore",
        "sales.orders (1 day before); for 2026-* only; not again when they are restated",
    ),
    "job list": Case("", "sales.daily"),
    "job show": Case("sales.daily", "Newest runs"),
    "job enable": Case("sales.daily", "is enabled"),
    "job disable": Case("sales.spare", "is disabled"),
    "job run": Case("sales.daily 2026-01-31", "is queued"),
    "job waiting": Case("sales.daily", "waits for nothing"),
    "job explain": Case("sales.daily --partition 2026-02-28", "waiting for sales.orders 2026-02-28"),
    "job delete": Case("sales.spare --yes", "Deleted the job sales.spare."),
    "run list": Case("--job sales.daily", "succeeded"),
    "run show": Case("{run}", "sales.orders="),
    "lineage show": Case("sales.orders --downstream 2", "dataset:sales.daily"),
    "lineage impact": Case("sales.orders", "analysts:orders"),
    "event list": Case("--dataset sales.orders", "snapshot.committed"),
    "event follow": Case("--within sales.orders --after 0 --timeout 0", "snapshot.committed"),
    "audit list": Case("--all", "namespace.create"),
    "audit verify": Case("", "The audit log is whole: "),
    "audit export": Case("system.audit", " into system.audit."),
    "task list": Case("", ""),
    "access grant": Case("user:ben write sales.orders --days 3", "Granted write on dataset:sales.orders to user:ben."),
    "access revoke": Case("user:spare read sales.daily", "Revoked read on sales.daily from user:spare."),
    "access list": Case("--on namespace:sales", "role:analysts"),
    "access who": Case("sales.orders", "weekly report"),
    "access explain": Case("user:ana read sales.orders", "user:ana → role:analysts"),
    "access request": Case("sales.second read --purpose x", "Asked for read on dataset:sales.second; it waits for"),
    "access requests": Case("--on sales.orders", "user:dana"),
    "access show": Case("{request}", "a look at totals"),
    "access approve": Case(
        "{request_0} --days 3 --where id>1 --mask total=null", "Granted read on dataset:sales.orders to user:dora."
    ),
    "access refuse": Case("{request_1} --reason no", "Refused the request of user:duke for dataset:sales.orders."),
    "access withdraw": Case("{request_2}", "Withdrew the request for dataset:sales.orders."),
    "approver add": Case("'level = public' group:press", "group:press approves requests where level = 'public'."),
    "approver remove": Case("'level = spare' group:spare", "group:spare no longer has to approve"),
    "approver list": Case("", "group:privacy"),
    "deputy add": Case("user:ben --days 9 --owner role:analysts", "user:ben is a deputy of role:analysts until"),
    "deputy list": Case("--owner user:olga", "user:stand_in"),
    "deputy end": Case("{deputy}", "user:stand_in is no deputy of user:olga any more."),
    "role add": Case("role:analysts user:ben", "user:ben is in role:analysts."),
    "role remove": Case("role:analysts user:spare", "user:spare is no longer in role:analysts."),
    "role show": Case("role:analysts", "user:ana"),
    "role list": Case("", "role:analysts"),
    "policy-tag set": Case("sales.daily level public", "Set level = public on dataset:sales.daily."),
    "policy-tag remove": Case("sales.orders spare", "Removed spare from sales.orders."),
    "policy-tag list": Case("sales.orders", "personal"),
    "token create": Case("ci --days 3", "cdl_"),
    "token list": Case("", "spare"),
    "token rotate": Case("{spare_token} --keep-hours 1", "cdl_"),
    "token signing-key": Case("{spare_token}", "access key id      CDL"),
    "token revoke": Case("{spare_token}", "Revoked"),
    "lake-key list": Case("", "retiring"),
    "lake-key rotate": Case("scan-plans", "signs for scan-plans"),
    "lake-key retire": Case("{spare_key}", "has signed for sign-in holds no more"),
    "destination create": Case(
        "webhook url=https://hooks.example.com/new --topic run.finished --within sales", "whsec_"
    ),
    "destination list": Case("", "hooks.example.com"),
    "destination show": Case("{destination}", "to see how sales are"),
    "destination rotate": Case("{destination} --keep-hours 1", "whsec_"),
    "destination deliveries": Case("{destination} --state dead", ""),
    "destination replay": Case("{destination}", "0 deliveries"),
    "destination remove": Case("{spare_destination}", "Removed the destination"),
}

FAILURE = {
    "init": Case("{lake}", "There is a lake in", 4),
    "worker": Case("--count 0", "--count", 2),
    "migrate": Case("--lake nowhere", "There is no lake in nowhere", 3),
    "doctor": Case("--lake nowhere", "There is no lake in nowhere", 3),
    "whoami": Case("--lake nowhere", "There is no lake in nowhere", 3),
    "sql": Case("SELEC", "has to be one SELECT", 2),
    "namespace create": Case("Sales!", "is not a legal namespace name", 2),
    "namespace list": Case("--limit 0", "--limit", 2),
    "namespace show": Case("nowhere", "There is no namespace 'nowhere'", 3),
    "namespace update": Case("sales", "There is nothing to change", 2),
    "namespace delete": Case("sales --yes", "sales", 4),
    "dataset create": Case("sales.wrong --schema id:integer", "has the type 'integer', which does not exist", 2),
    "dataset add-version": Case("sales.nothing --schema id:long", "There is no dataset sales.nothing", 3),
    "dataset list": Case("nowhere", "There is no namespace 'nowhere'", 3),
    "dataset search": Case("--limit x", "--limit", 2),
    "dataset show": Case("sales.nothing", "Datasets in sales:", 3),
    "view create": Case("sales.wrong --sql 'SELECT price FROM sales.orders'", "price", 2),
    "view list": Case("nowhere", "There is no namespace 'nowhere'", 3),
    "view show": Case("sales.orders", "There is no view sales.orders", 3),
    "view rename": Case("sales.totals sales.orders", "The dataset sales.orders exists already", 4),
    "view drop": Case("sales.totals", "Add --yes", 2),
    "dataset update": Case("sales.orders", "There is nothing to change", 2),
    "dataset register": Case("sales.unregistered file:///etc/passwd", "is outside the storage root", 6),
    "dataset rename": Case("sales.orders sales.bought", "sales.daily", 4),
    "dataset lifecycle": Case("sales.orders asleep", "unreleased, active, deprecated, retired", 2),
    "dataset evolve": Case("sales.orders --widen total:string", "cannot become string", 4),
    "dataset partition": Case("sales.orders 'month(total)'", "cannot be applied to the type decimal", 2),
    "dataset sort": Case("sales.orders 'total downwards'", "which does not exist", 2),
    "dataset bloom-filters": Case("sales.orders price", "There is no column 'price'", 2),
    "dataset write-mode": Case("sales.orders fast", "merge-on-read, copy-on-write, auto", 2),
    "dataset write": Case("sales.orders {files}/rows.csv", "already holds", 2),
    "dataset merge": Case("sales.mergeable {files}/rows.csv --clauses {files}/rows.csv", "are not a list", 2),
    "dataset write-together": Case("{files}/merge.yaml", "Write 1 is wrong at 'dataset'", 2),
    "dataset read": Case("sales.orders --columns id,price", "price", 2),
    "dataset changes": Case("sales.orders --after 4711", "no snapshot as of 4711", 3),
    "dataset delete-rows": Case("sales.orders --where price=1 --yes", "price", 2),
    "dataset delete": Case("sales.orders", "Add --yes", 2),
    "dataset compact": Case("sales.orders --strategy best", "bin-pack, sort, z-order", 2),
    "dataset expire": Case("sales.orders --older-than 0 --keep-last 1", "Add --yes", 2),
    "dataset rewrite-manifests": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "dataset refresh-statistics": Case("sales.orders --columns price", "has no column 'price'", 2),
    "dataset statistics": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "dataset maintenance": Case("sales.orders --set speed=1", "nothing that maintenance knows", 2),
    "dataset advise": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "dataset restore": Case("sales.orders", "No deleted dataset is called sales.orders", 3),
    "snapshot list": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "snapshot show": Case("sales.orders 4711", "has no snapshot 4711", 3),
    "dataset rollback": Case("sales.orders nowhere", "has no branch or tag 'nowhere'", 3),
    "dataset upgrade": Case("sales.second", "Add --yes", 2),
    "dataset consumers": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "branch list": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "branch create": Case("sales.orders 2026", "cannot be the name of a branch or tag", 2),
    "branch retain": Case("sales.orders nowhere --keep-days 3", "has no branch or tag 'nowhere'", 3),
    "branch drop": Case("sales.orders main --yes", "cannot be dropped", 4),
    "branch publish": Case("sales.orders nowhere", "has no branch or tag 'nowhere'", 3),
    "branch fast-forward": Case("sales.orders nowhere", "has no branch 'nowhere'", 3),
    "branch cherry-pick": Case("sales.orders 99", "has no snapshot", 3),
    "tag list": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "tag create": Case("sales.orders main", "already", 4),
    "tag drop": Case("sales.orders v9", "Add --yes", 2),
    "contract put": Case("sales.daily {files}/contract.yaml", "does not fit sales.daily", 2),
    "contract show": Case("sales.daily", "has no contract", 3),
    "contract draft": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "contract check": Case("{files}/rows.csv", "has 1 error: The contract is", 2),
    "contract diff": Case("sales.daily {files}/contract.yaml", "has no contract", 3),
    "contract propose": Case("sales.orders {files}/contract.yaml --reason x", "there is nobody to ask", 4),
    "contract proposals": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "contract waiting": Case("--limit 0", "Invalid value", 2),
    "contract acknowledge": Case(f"sales.orders {UNKNOWN_ID}", "There is no proposal", 3),
    "contract override": Case(f"sales.orders {UNKNOWN_ID} --reason x", "There is no proposal", 3),
    "contract withdraw": Case(f"sales.orders {UNKNOWN_ID}", "There is no proposal", 3),
    "contract sla": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "contract candidates": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "contract candidate": Case("sales.refused audit", "has no candidate 'audit'", 3),
    "contract history": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "completion declare": Case("sales.orders 31.1.2026", "Write it like '2013-01-31'", 2),
    "completion announce": Case("sales.orders 2026-01-29 --rows 7 --total amount", "needs a column and its sum", 2),
    "completion explain": Case("sales.orders 31.1.2026", "Write it like '2013-01-31'", 2),
    "completion list": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "completion remove-rule": Case("sales.mergeable", "has no completion rule", 4),
    "completion rule": Case("sales.mergeable", "has no completion rule", 3),
    "completion set-rule": Case("sales.orders --min-rows 1", "has to name the column", 2),
    "completion show": Case("sales.orders 2025-01-01", "is not complete", 3),
    "completion wait": Case("sales.orders 2025-01-01 --timeout 0", "did not become complete", 75),
    "target create": Case(
        "wrong oracle host=h",
        "Kinds: clickhouse, duckdb, glue, iceberg, kafka, mariadb, parquet, postgres, redshift, snowflake, "
        "snowflake_iceberg, tsv",
        2,
    ),
    "target list": Case("--limit 0", "--limit", 2),
    "target show": Case("nowhere", "There is no target 'nowhere'", 3),
    "target check": Case("nowhere", "There is no target 'nowhere'", 3),
    "target external-schema": Case("analysts lake", "no external schemas of the duckdb target analysts", 4),
    "target delete": Case("analysts", "analysts", 4),
    "subscription create": Case("sales.orders nowhere", "There is no target 'nowhere'", 3),
    "subscription list": Case("--state asleep", "provisioning, first_sync, live, paused", 2),
    "subscription show": Case(UNKNOWN_ID, "There is no subscription", 3),
    "subscription pause": Case("mine", "valid UUID", 2),
    "subscription resume": Case("{subscription}", "cannot become live", 4),
    "subscription renew": Case(UNKNOWN_ID, "There is no subscription", 3),
    "subscription change": Case("{subscription} --trigger hourly", "cannot be triggered by 'hourly'", 2),
    "subscription skip": Case("{subscription} --last 1 --reason late --yes", "cannot be skipped", 2),
    "subscription withdraw-skip": Case("{subscription} 99", "has no skip 99", 3),
    "subscription history": Case(UNKNOWN_ID, "There is no subscription", 3),
    "subscription deliveries": Case(UNKNOWN_ID, "There is no subscription", 3),
    "subscription costs": Case("--since november", "'november' is no month", 2),
    "subscription revoke": Case("{subscription}", "Add --yes", 2),
    "subscription verify": Case(UNKNOWN_ID, "There is no subscription", 3),
    "subscription repair": Case(UNKNOWN_ID, "There is no subscription", 3),
    "subscription schedule": Case("{subscription} --verify-every 0.001", "cannot be verified every 4 seconds", 2),
    "job create": Case("sales.wrong --output-condition x=1", "Give --sql or --sql-file", 2),
    "job list": Case("--limit 0", "--limit", 2),
    "job show": Case("sales.nothing", "There is no job 'sales.nothing'", 3),
    "job enable": Case("sales.nothing", "There is no job 'sales.nothing'", 3),
    "job disable": Case("sales.nothing", "There is no job 'sales.nothing'", 3),
    "job run": Case("sales.daily 2025-01-01", "not complete are sales.orders", 4),
    "job waiting": Case("sales.nothing", "There is no job 'sales.nothing'", 3),
    "job explain": Case("sales.daily --partition soon", "not a day", 2),
    "job delete": Case("sales.daily", "Add --yes", 2),
    "run list": Case("--state asleep", "queued, running, succeeded, failed, superseded", 2),
    "run show": Case(UNKNOWN_ID, "There is no run", 3),
    "lineage show": Case("table:orders", "is no node of the lineage graph", 2),
    "lineage impact": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "event list": Case("--limit 0", "--limit", 2),
    "event follow": Case("--topic x", "no events of the topic", 2),
    "audit list": Case("--limit 0", "--limit", 2),
    "audit verify": Case("--head x", "POSITION:HASH", 2),
    "audit export": Case("nowhere", "nowhere", 2),
    "task list": Case("--limit 0", "--limit", 2),
    "access grant": Case("user:ben own sales.orders", "discover, read, write, alter", 2),
    "access revoke": Case("user:ben alter sales.orders", "user:ben has no grant of alter", 3),
    "access list": Case("--limit 0", "--limit", 2),
    "access who": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "access explain": Case("user:ana read somewhere", "names nothing that privileges can be granted on", 2),
    "access request": Case("sales.orders own --purpose x", "There is no privilege 'own'", 2),
    "access requests": Case("--state asleep", "cannot be 'asleep'", 2),
    "access show": Case(UNKNOWN_ID, "There is no access request", 3),
    "access approve": Case("{request} --privilege administer", "administer is not what is left", 2),
    "access refuse": Case("{request} --reason ' '", "A refusal needs a reason", 2),
    "access withdraw": Case("{request}", "who alone can withdraw it", 6),
    "approver add": Case("'level is' group:press", "level is", 2),
    "approver remove": Case("'level = low' group:spare", "does not have to approve requests", 3),
    "approver list": Case("--lake nowhere", "There is no lake in nowhere", 3),
    "deputy add": Case("user:olga --days 9 --owner user:olga", "cannot stand in for himself", 2),
    "deputy list": Case("--lake nowhere", "There is no lake in nowhere", 3),
    "deputy end": Case(UNKNOWN_ID, "There is no deputy", 3),
    "role add": Case("role:analysts role:analysts", "cannot be in role:analysts", 4),
    "role remove": Case("role:analysts user:nobody", "is not in role:analysts", 3),
    "role show": Case("role: ", "is no principal", 2),
    "role list": Case("--limit 0", "--limit", 2),
    "policy-tag set": Case("lake level public", "can have no policy tags", 2),
    "policy-tag remove": Case("sales.orders color", "has no policy tag 'color' of its own", 3),
    "policy-tag list": Case("sales.nothing", "There is no dataset sales.nothing", 3),
    "token create": Case("ci --days 4000", "cannot be valid for 4000 days", 2),
    "token list": Case("--limit 0", "--limit", 2),
    "token rotate": Case(UNKNOWN_ID, "There is no token", 3),
    "token signing-key": Case(UNKNOWN_ID, "You have no token", 3),
    "token revoke": Case(UNKNOWN_ID, "There is no token", 3),
    "lake-key list": Case("--limit 0", "--limit", 2),
    "lake-key rotate": Case("hashes", "The key for hashes stays as it is", 4),
    "lake-key retire": Case(UNKNOWN_ID, "The lake has no key", 3),
    "destination create": Case("webhook url=http://hooks.example.com/", "is not encrypted", 2),
    "destination list": Case("--limit 0", "--limit", 2),
    "destination show": Case(UNKNOWN_ID, "There is no destination", 3),
    "destination rotate": Case(UNKNOWN_ID, "There is no destination", 3),
    "destination deliveries": Case("{destination} --state lost", "There is no state", 2),
    "destination replay": Case(UNKNOWN_ID, "There is no destination", 3),
    "destination remove": Case(UNKNOWN_ID, "There is no destination", 3),
}


@pytest.fixture
def fill(furniture: Furniture, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Case], list[str]]:
    """Return what makes a command line of a case, for the furnished lake."""
    monkeypatch.setenv("CORDILLERA_LAKE", str(furniture.folder))
    (furniture.files / "rows.csv").write_text(ORDERS_CSV)
    (furniture.files / "merge.yaml").write_text(MERGE_YAML)
    (furniture.files / "together.yaml").write_text(TOGETHER_YAML)
    values = {
        "files": furniture.files,
        "lake": furniture.folder,
        "subscription": furniture.subscription,
        "run": furniture.run,
        "spare_token": furniture.spare_token,
        "spare_key": furniture.spare_key,
        "destination": furniture.destination,
        "spare_destination": furniture.spare_destination,
        "dropped_metadata": furniture.dropped_metadata,
        "request": furniture.request,
        "deputy": furniture.deputy,
        **{f"spare_{number}": one for number, one in enumerate(furniture.spare_subscriptions)},
        **{f"proposal_{number}": one for number, one in enumerate(furniture.spare_proposals)},
        **{f"request_{number}": one for number, one in enumerate(furniture.spare_requests)},
    }

    def fill_in(command: str, case: Case) -> list[str]:
        return [*command.split(), *(_with(part, values) for part in split(case.arguments))]

    return fill_in


def _with(text: str, values: dict[str, object]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


@pytest.fixture(autouse=True)
def contract(furniture: Furniture, cli: Cli) -> None:
    file = furniture.files / "contract.yaml"
    if not file.exists():
        file.write_text(cli("contract", "draft", "sales.orders", "--lake", furniture.folder).out)


def test_every_command_is_covered() -> None:
    here = set(commands()) - set(NOT_IN_THIS_PROCESS)
    assert set(SUCCESS) == here
    assert set(FAILURE) == here


@pytest.mark.parametrize("command", SUCCESS)
def test_success(command: str, cli: Cli, fill: Callable[[str, Case], list[str]]) -> None:
    case = SUCCESS[command]
    result = cli(*fill(command, case))
    assert result.code == 0, result.err
    assert case.shows in result.out + result.err
    assert "Error" not in result.err


@pytest.mark.parametrize("command", FAILURE)
def test_failure(command: str, cli: Cli, fill: Callable[[str, Case], list[str]]) -> None:
    case = FAILURE[command]
    result = cli(*fill(command, case))
    assert result.code == case.code, result.err
    assert result.out == ""
    assert [line for line in result.err.splitlines() if line.startswith("Error: ")]
    assert case.shows in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("command", FAILURE)
def test_failure_as_json(command: str, cli: Cli, fill: Callable[[str, Case], list[str]]) -> None:
    result = cli(*fill(command, FAILURE[command]), "--output", "json")
    assert result.code == FAILURE[command].code
    last = json.loads(result.err.splitlines()[-1])
    assert set(last) == {"error"}
    assert set(last["error"]) == {"code", "message", "hint", "details"}
    assert last["error"]["message"]
