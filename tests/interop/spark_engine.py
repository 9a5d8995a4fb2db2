"""Spark on the lake's Iceberg REST catalog."""

from __future__ import annotations

from itertools import count
from typing import Any

import pyarrow as pa

from tests.interop.engines import spark
from tests.interop.rest_engines import REGION, Definer, values
from tests.servers_s3 import S3Server

_CATALOGS = count(1)


class OnSpark(Definer):
    """Spark, with Iceberg's catalog and its own files on S3.

    Attributes:
        catalog: What it calls the lake.
    """

    title, package = "Spark 3.5", "pyspark"

    def __init__(self, url: str, token: str, s3: S3Server | None = None) -> None:
        storage = {} if s3 is None else {
            "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            # Iceberg's other factories want classes of AWS services that nothing here has to do with.
            "s3.client-factory-impl": "org.apache.iceberg.aws.s3.DefaultS3FileIOAwsClientFactory",
            "s3.endpoint": s3.endpoint,
            "s3.access-key-id": s3.access_key,
            "s3.secret-access-key": s3.secret_key,
            "s3.path-style-access": "true",
            "client.region": REGION,
        }  # fmt: skip
        self.catalog = f"lake{next(_CATALOGS)}"
        shared = {"type": "rest", "uri": f"{url}/iceberg", "token": token, "cache-enabled": "false"}
        spark().attach(self.catalog, {**shared, **storage})

    def tables(self, namespace: str) -> list[str]:
        return list(spark().rows(f"SHOW TABLES IN {self.catalog}.{namespace}")["tableName"].to_pylist())

    def read(self, table: str) -> list[dict[str, Any]]:
        return list(spark().rows(f"SELECT * FROM {self.catalog}.{table}").sort_by("id").to_pylist())

    def append(self, table: str, rows: pa.Table) -> None:
        spark().run(f"INSERT INTO {self.catalog}.{table} {values(rows)}")

    def update(self, table: str, name: str, where: str) -> None:
        spark().run(f"UPDATE {self.catalog}.{table} SET name = '{name}' WHERE {where}")

    def delete(self, table: str, where: str) -> None:
        spark().run(f"DELETE FROM {self.catalog}.{table} WHERE {where}")

    def merge(self, table: str, rows: pa.Table) -> None:
        spark().run(
            f"MERGE INTO {self.catalog}.{table} t USING ({values(rows)} AS v(id, name)) g ON t.id = g.id "
            "WHEN MATCHED THEN UPDATE SET name = g.name WHEN NOT MATCHED THEN INSERT *"
        )

    def create(self, table: str, rows: pa.Table) -> None:
        spark().run(f"CREATE TABLE {self.catalog}.{table} USING iceberg AS SELECT * FROM {values(rows)} AS v(id, name)")

    def add_column(self, table: str) -> None:
        spark().run(f"ALTER TABLE {self.catalog}.{table} ADD COLUMN age INT")
