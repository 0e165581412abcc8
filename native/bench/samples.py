"""Input of the benchmarks, made by the standard library from fixed seeds, so that every machine measures the same.

* `readings`: 1,000 meters, about one sample a minute, 5 s jitter, 2 % lost, outages; meter int32, time int64 ms, value
  float64 = 20 bytes a row. Sorted by (meter, time), or by arrival.
* `registers`: the same samples of a cumulative register, int64 Wh.
* `load_days`: meter-days of 96 intervals at 1 Wh, shaped to the figures published for the SimBench profiles (mean
  409 Wh, median 133, p99 5,594, order-0 entropy of the differences 8.0 to 8.1 bits). It is not SimBench.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import random
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

METERS = 1_000
START_MS = 1_750_000_000_000 // 900_000 * 900_000
PERIOD_MS = 900_000
POOL = 100_003


@dataclass(frozen=True, slots=True)
class Readings:
    meters: array[int]
    at_ms: array[int]
    values: array[float]

    def __len__(self) -> int:
        return len(self.meters)


def readings(minutes: int) -> Readings:
    """About 980 x `minutes` rows sorted by (meter, time)."""
    rng = random.Random(41)
    jitter = [rng.randint(-5_000, 5_000) for _ in range(POOL)]
    value = [round(rng.gauss(230, 3), 2) for _ in range(POOL)]
    meters, at_ms, values = array("i"), array("q"), array("d")
    for meter in range(METERS):
        kept = _kept_minutes(rng, minutes)
        offset = rng.randrange(POOL)
        base = START_MS + 60_000 * rng.randrange(30) + 5_000
        at_ms.extend([base + 60_000 * i + jitter[(offset + i) % POOL] for i in kept])
        values.extend([value[(offset + 7 * i) % POOL] for i in kept])
        meters.extend(array("i", [meter]) * len(kept))
    return Readings(meters, at_ms, values)


def _kept_minutes(rng: random.Random, minutes: int) -> list[int]:
    lost = set(rng.sample(range(minutes), minutes // 50))
    while rng.random() < 0.3:
        begin = rng.randrange(minutes)
        lost.update(range(begin, min(minutes, begin + rng.randint(20, 300))))
    return [i for i in range(minutes) if i not in lost]


def by_arrival(rows: Readings) -> Readings:
    order = sorted(range(len(rows)), key=rows.at_ms.__getitem__)
    return Readings(
        array("i", [rows.meters[i] for i in order]),
        array("q", [rows.at_ms[i] for i in order]),
        array("d", [rows.values[i] for i in order]),
    )


def registers(rows: Readings) -> array[int]:
    """A register for each row of sorted `rows`: about 1 kW, starting anew with each meter."""
    wh, before, out = 0, -1, array("q")
    for meter, value in zip(rows.meters, rows.values, strict=True):
        wh = meter * 1000 if meter != before else wh + int(value * 10) % 35
        before = meter
        out.append(wh)
    return out


def load_days(meters: int, days: int) -> list[array[int]]:
    rng = random.Random(7)
    profiles = (_business(rng, days) if rng.random() < 0.10 else _household(rng, days) for _ in range(meters))
    return [month[i : i + 96] for month in profiles for i in range(0, len(month), 96)]


def _noisy(rng: random.Random, load: list[float]) -> array[int]:
    return array("q", [max(0, round(wh * (1 + rng.gauss(0, 0.03)))) for wh in load])


def _business(rng: random.Random, days: int) -> array[int]:
    scale, load = rng.lognormvariate(math.log(2200), 0.8), []
    for day in range(days):
        level = rng.lognormvariate(0, 0.1) * (0.35 if day % 7 >= 5 else 1)
        for hour in (quarter / 4 for quarter in range(96)):
            open_ = 1 / (1 + math.exp(-(hour - 7.5) * 2)) / (1 + math.exp((hour - 18) * 1.5))
            load.append(scale * (0.25 + 0.75 * open_) * level * rng.lognormvariate(0, 0.08))
    return _noisy(rng, load)


def _household(rng: random.Random, days: int) -> array[int]:
    """Base load, and appliances that start more often in the morning, at noon and in the evening."""
    scale, load, left, level = rng.lognormvariate(math.log(1.32), 0.75), [], 0, 0.0
    for quarter in range(96 * days):
        hour = quarter % 96 / 4
        peaks = ((0.25, 7.5, 1.5), (0.18, 12.5, 2), (0.4, 19.5, 2.5))
        busy = 0.05 + sum(height * math.exp(-(((hour - at) / width) ** 2)) for height, at, width in peaks)
        if left <= 0 and rng.random() < busy:
            left, level = rng.choice((1, 1, 2, 2, 3, 4, 6, 8)), rng.lognormvariate(math.log(160), 0.9)
        wh = 45 * rng.lognormvariate(0, 0.18) + 60 * busy + (level * rng.lognormvariate(0, 0.25) if left > 0 else 0)
        left -= 1
        load.append(scale * wh)
    return _noisy(rng, load)


def difference_entropy(days: list[array[int]], days_a_month: int) -> float:
    """Mean order-0 entropy, in bits, of the differences within each meter-month."""
    bits = []
    for i in range(0, len(days), days_a_month):
        month = [wh for day in days[i : i + days_a_month] for wh in day]
        counts = Counter(b - a for a, b in itertools.pairwise(month))
        total = sum(counts.values())
        bits.append(-sum(n / total * math.log2(n / total) for n in counts.values()))
    return sum(bits) / len(bits)


def measured_days(data: Path) -> list[array[int]]:
    """Whole days of the five Australian households, 48 intervals of 30 min at 1 Wh; empty without the test data."""
    days: dict[str, array[int]] = {}
    for path in sorted((data / "interval_data").glob("sgsc_*_30min.csv.gz")):
        with gzip.open(path, "rt") as text:
            for row in csv.DictReader(text):
                key = path.name + row["reading_datetime"][:10]
                days.setdefault(key, array("q")).append(round(float(row["general_supply_kwh"]) * 1000))
    return [day for day in days.values() if len(day) == 48]
