"""Work in a few threads: Arrow and NumPy let go of the interpreter while they work on rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from typing import ParamSpec, TypeVar

import pyarrow as pa

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
_THREADS = 2
_FEW_ROWS = 10_000
"""So few rows are gathered before other threads have begun to."""


class AtOnce(Executor):
    """Does each job when it is given, for when nothing is to be done meanwhile: to start a thread takes a while."""

    def submit(self, work: Callable[P, U], /, *args: P.args, **kwargs: P.kwargs) -> Future[U]:
        """Do a job and return its result, or its error."""
        done: Future[U] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:  # raised where the result is asked for, as a thread's is
            done.set_exception(error)
        return done


def in_threads(pool: Executor, work: Callable[[T], U], items: Iterable[T], ahead: int) -> Iterator[U]:
    """Yield the results of work on items in their order, with the next few under way."""
    running: deque[Future[U]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for job in running:
            job.cancel()
        wait(running)  # nothing may be read after whoever called has closed it


def taken(rows: pa.Table, places: pa.Array) -> pa.Table:
    """Return the rows at some places, in the order of these; columns are gathered at the same time."""
    if len(places) <= _FEW_ROWS:
        return rows.take(places)
    return _column_by_column(rows, lambda column: column.take(places))


def filtered(rows: pa.Table, mask: pa.Array) -> pa.Table:
    """Return the rows for which a mask is true; columns are filtered at the same time."""
    if rows.num_rows <= _FEW_ROWS:
        return rows.filter(mask)
    return _column_by_column(rows, lambda column: column.filter(mask))


def _column_by_column(rows: pa.Table, work: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> pa.Table:
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="cordillera-take") as pool:
        return pa.table(list(pool.map(work, rows.columns)), schema=rows.schema)
