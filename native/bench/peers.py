"""The same aggregation by other engines: count, sum, minimum, maximum, first and last per meter and 15 minutes.

* Each peer gets the data in its own in-memory form before the clock starts, and runs on one thread.
* `Peer.run` returns the engine's own result; `Peer.rows` turns that into the columns all methods are compared by.
* A peer that is not installed is named as such and left out.
"""

from __future__ import annotations

import importlib
import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from samples import PERIOD_MS, START_MS, Readings

os.environ.setdefault("POLARS_MAX_THREADS", "1")

Columns = tuple[list[int], list[int], list[int], list[float], list[float], list[float], list[float], list[float]]


@dataclass(frozen=True, slots=True)
class Peer:
    engine: str
    form: str
    run: Callable[[], Any]
    rows: Callable[[Any], Columns]


def installed(name: str) -> Any:
    """The module, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def version(name: str) -> str:
    module = installed(name)
    return f"{name} {module.__version__}" if module else f"{name} not installed"


def numpy_sorted(rows: Readings) -> list[Peer]:
    np = installed("numpy")
    if np is None:
        return []
    meters, at_ms, values = (np.frombuffer(c, dtype=d) for c, d in _typed(rows))

    def run() -> Any:
        return _reduceat(np, meters, at_ms, values)

    return [Peer("numpy", "reduceat on sorted rows", run, _numpy_rows)]


def numpy_arrival(rows: Readings) -> list[Peer]:
    """Rows by time: a stable sort by meter is enough. The 16-bit key lets NumPy use its radix sort."""
    np = installed("numpy")
    if np is None:
        return []
    meters, at_ms, values = (np.frombuffer(c, dtype=d) for c, d in _typed(rows))

    def run() -> Any:
        order = np.argsort(meters.astype(np.uint16), kind="stable")
        return _reduceat(np, meters[order], at_ms[order], values[order])

    return [Peer("numpy", "argsort (radix) and reduceat", run, _numpy_rows)]


def _typed(rows: Readings) -> list[tuple[Any, str]]:
    return [(rows.meters, "i4"), (rows.at_ms, "i8"), (rows.values, "f8")]


def _reduceat(np: Any, meters: Any, at_ms: Any, values: Any) -> tuple[Any, ...]:
    slot = (at_ms - START_MS) // PERIOD_MS
    begin = np.flatnonzero((meters[1:] != meters[:-1]) | (slot[1:] != slot[:-1])) + 1
    begin = np.concatenate(([0], begin))
    end = np.append(begin[1:], len(values))
    return (
        meters[begin],
        slot[begin] * PERIOD_MS + START_MS,
        end - begin,
        np.add.reduceat(values, begin),
        np.minimum.reduceat(values, begin),
        np.maximum.reduceat(values, begin),
        values[begin],
        values[end - 1],
    )


def _numpy_rows(result: tuple[Any, ...]) -> Columns:
    return tuple(column.tolist() for column in result)  # type: ignore[return-value]


def polars_forms(rows: Readings) -> list[Peer]:
    """group_by_dynamic on a datetime and on an integer, and group_by on integer keys."""
    pl = installed("polars")
    if pl is None or installed("numpy") is None:
        return []
    frame = pl.DataFrame(
        {
            "meter": _np(rows.meters, "i4"),
            "at": _np(rows.at_ms, "i8"),
            "value": _np(rows.values, "f8"),
        }
    )
    dated = frame.with_columns(pl.from_epoch("at", time_unit="ms").alias("at")).set_sorted("meter")
    whole = frame.set_sorted("meter")
    v = pl.col("value")
    wanted = [
        pl.len().alias("count"),
        v.sum().alias("sum"),
        v.min().alias("min"),
        v.max().alias("max"),
        v.first().alias("first"),
        v.last().alias("last"),
    ]
    slot = ((pl.col("at") - START_MS) // PERIOD_MS * PERIOD_MS + START_MS).alias("at")

    def dynamic(data: Any, every: str) -> Callable[[], Any]:
        return lambda: data.group_by_dynamic("at", every=every, group_by="meter").agg(wanted)

    return [
        Peer("polars", "group_by_dynamic, datetime", dynamic(dated, "15m"), _polars_rows),
        Peer("polars", "group_by_dynamic, integer", dynamic(whole, f"{PERIOD_MS}i"), _polars_rows),
        Peer("polars", "group_by on integer keys", lambda: whole.group_by("meter", slot).agg(wanted), _polars_rows),
    ]


def _np(column: array[Any], kind: str) -> Any:
    return installed("numpy").frombuffer(column, dtype=kind)


def _polars_rows(result: Any) -> Columns:
    pl = installed("polars")
    if result["at"].dtype != pl.Int64:
        result = result.with_columns(pl.col("at").dt.epoch("ms"))
    ordered = result.sort("meter", "at")
    names = ("meter", "at", "count", "sum", "min", "max", "first", "last")
    return tuple(ordered[name].to_list() for name in names)  # type: ignore[return-value]


DUCKDB = {
    "integer division, arg_min/arg_max": (
        f"SELECT meter, (at_ms - {START_MS}) // {PERIOD_MS} * {PERIOD_MS} + {START_MS} AS slot, count(*) AS n, sum(value) AS s,"
        " min(value) AS lo, max(value) AS hi, arg_min(value, at_ms) AS a, arg_max(value, at_ms) AS z FROM r GROUP BY ALL"
    ),
    "time_bucket, arg_min/arg_max": (
        "SELECT meter, epoch_ms(time_bucket(INTERVAL 15 minutes, stamp)) AS slot, count(*) AS n, sum(value) AS s,"
        " min(value) AS lo, max(value) AS hi, arg_min(value, stamp) AS a, arg_max(value, stamp) AS z FROM d GROUP BY ALL"
    ),
}


def duckdb_forms(rows: Readings) -> list[Peer]:
    duckdb, np = installed("duckdb"), installed("numpy")
    if duckdb is None or np is None:
        return []
    link = duckdb.connect(config={"threads": 1})
    source = {"meter": _np(rows.meters, "i4"), "at_ms": _np(rows.at_ms, "i8"), "value": _np(rows.values, "f8")}
    link.register("source", source)
    link.execute("CREATE TABLE r AS SELECT * FROM source")
    link.execute("CREATE TABLE d AS SELECT meter, make_timestamp(at_ms * 1000) AS stamp, value FROM r")
    link.unregister("source")

    def run(query: str) -> Callable[[], Any]:
        return lambda: link.execute(f"CREATE OR REPLACE TABLE result AS {query}")

    def fetch(_: Any) -> Columns:
        columns = link.execute("SELECT * FROM result ORDER BY 1, 2").fetchnumpy()
        return tuple(column.tolist() for column in columns.values())  # type: ignore[return-value]

    return [Peer("duckdb", form, run(query), fetch) for form, query in DUCKDB.items()]
