"""`make forecast-report`: is the forecast of time left as good as it says, on households it was not taught with?

    make forecast-report                      all households, three tariffs (some minutes)
    make forecast-report ARGS=--quick         a share of it
    make forecast-report ARGS=--write         then teach it with all households and store the parameters

Leave one household out: each is judged with parameters learnt from the others. The exit code is 1 where a figure is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from forecast.households import Household, households
from forecast.learn import HORIZONS, learn
from forecast.replay import Answer, answer, cases, track
from forecast.tariffs import TARIFFS, plan_named
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.forecast.parameters import Parameters

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "shared" / "gridtally_shared" / "forecast" / "parameters.json"
SAFE_PERMILLE = 950
RATIO_PERMILLE = 600
GAIN_PERMILLE = 250
T = TypeVar("T")
BANDS = (6, 12, 24, 48, 72, 120, 168, 336)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of it: hours between cases in learning and in judging, the tariffs, the last days of each household, how many
    households are judged. `together`: those are left out of learning together, so that it is done once."""

    learn_step: int = 23
    judge_step: int = 61
    tariffs: tuple[str, ...] = TARIFFS
    days: int = 10_000
    judged: int = 100
    together: bool = False


FULL = Extent()
QUICK = Extent(learn_step=97, judge_step=47, tariffs=("slabs",), days=150, judged=2, together=True)


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums of a set of answers: all that the lines of the report are made of."""

    cases: int
    safe: int
    ratio_permille: int
    error_ms: int
    baseline_ms: int

    @property
    def safe_permille(self) -> int:
        return self.safe * 1000 // max(1, self.cases)

    @property
    def gain_permille(self) -> int:
        return 1000 - self.error_ms * 1000 // max(1, self.baseline_ms)

    @property
    def missed(self) -> tuple[str, ...]:
        checks = (
            ("safe bound", self.safe_permille, SAFE_PERMILLE), ("median ratio", self.ratio_permille, RATIO_PERMILLE),
            ("better than the last 24 h", self.gain_permille, GAIN_PERMILLE),
        )  # fmt: skip
        return tuple(f"{name} {reached / 1000:.3f} of {least / 1000}" for name, reached, least in checks if reached < least)


def figures(answers: Sequence[Answer]) -> Figures:
    ratios = sorted(a.cautious_ms * 1000 // a.truth_ms for a in answers if a.truth_ms > 0)
    return Figures(
        len(answers), sum(a.is_safe for a in answers), ratios[len(ratios) // 2] if ratios else 0,
        sum(abs(a.central_ms - a.truth_ms) for a in answers), sum(abs(a.baseline_ms - a.truth_ms) for a in answers),
    )  # fmt: skip


def judge(homes: Sequence[Household], extent: Extent, tick: Callable[[str], None], workers: int = 1) -> list[Answer]:
    """Every household's answers with what the others taught."""
    homes = [shortened(home, extent.days) for home in homes]
    chosen = homes[: extent.judged]
    with _pool(workers) as run:
        out = [chosen] if extent.together else [[home] for home in chosen]
        lessons = [(tuple(home for home in homes if home not in some), extent.learn_step) for some in out]
        taught = list(_ticked(run(_learnt, lessons), [f"learning for {some[0].name}" for some in out], tick))
        taught = taught * len(chosen) if extent.together else taught
        asked = [(home, tariff, p, extent.judge_step) for home, p in zip(chosen, taught, strict=True) for tariff in extent.tariffs]
        found = list(_ticked(run(_answers, asked), [f"{home.name} under {tariff}" for home, tariff, _, _ in asked], tick))
    return [one for some in found for one in some]


def _learnt(task: tuple[tuple[Household, ...], int]) -> Parameters:
    return learn(*task)


def _answers(task: tuple[Household, str, Parameters, int]) -> list[Answer]:
    home, tariff, parameters, step = task
    way = track(home, plan_named(tariff, home.zone), parameters, step)
    return [answer(way, tariff, case, parameters) for case in cases(way)]


@contextmanager
def _pool(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers) as pool:
        yield pool.map


def _ticked(results: Iterable[T], names: Sequence[str], tick: Callable[[str], None]) -> Iterator[T]:
    for result, name in zip(results, names, strict=True):
        tick(name)
        yield result


def shortened(home: Household, days: int) -> Household:
    first = max(0, len(home.hours_wh) - days * 24)
    return replace(home, start_ms=home.at_ms(first), hours_wh=home.hours_wh[first:])


def lines(answers: Sequence[Answer]) -> Iterable[str]:
    for kind, about in (("rundown", "on the way down from a top-up"), ("horizon", "money for 6 to 168 hours")):
        some = [a for a in answers if a.case.kind == kind]
        yield f"\n{kind}: {about}"
        yield f"{'':24}{'cases':>7}{'safe':>7}{'safe %':>8}{'ratio':>8}{'error h':>9}{'last 24 h':>11}{'better':>8}"
        for name in dict.fromkeys(a.household for a in some):
            yield _line(name, [a for a in some if a.household == name])
        for tariff in dict.fromkeys(a.tariff for a in some):
            yield _line(f"tariff {tariff}", [a for a in some if a.tariff == tariff])
        for low, high in zip((0, *BANDS), BANDS, strict=False):
            yield _line(f"{low}-{high} h", [a for a in some if low * MS_PER_HOUR < a.truth_ms <= high * MS_PER_HOUR])
        yield _line("all", some)


def _line(name: str, answers: Sequence[Answer]) -> str:
    if not answers:
        return f"{name:24}{0:>7}"
    f = figures(answers)
    hours = f.cases * MS_PER_HOUR
    return (f"{name:24}{f.cases:>7}{f.safe:>7}{f.safe_permille / 10:>8.1f}{f.ratio_permille / 1000:>8.3f}{f.error_ms / hours:>9.1f}"
            f"{f.baseline_ms / hours:>11.1f}{f.gain_permille / 10:>7.1f}%")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    homes = households(options.data / "interval_data")
    if len(homes) < 2:
        print(f"no households in {options.data}: set GRIDTALLY_DATA to the folder with the test data", file=sys.stderr)
        return 2
    extent = QUICK if options.quick else FULL
    judged = min(extent.judged, len(homes))
    answers = judge(homes, extent, bar((1 if extent.together else judged) + judged * len(extent.tariffs)), options.workers)
    print("\n".join(lines(answers)))
    missed = [f"{kind}, {text}" for kind in ("rundown", "horizon") for text in figures([a for a in answers if a.case.kind == kind]).missed]
    print("\n" + ("missed: " + "; ".join(missed) if missed else "all figures reached"))
    if options.write:
        store(homes)
    return 1 if missed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a share of the cases")
    parser.add_argument("--write", action="store_true", help=f"store what all households teach in {STORED.name}")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes to share the work (all processors)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRIDTALLY_DATA", ROOT.parent / "shared" / "data")))
    return parser.parse_args(argv)


def store(homes: Sequence[Household]) -> None:
    taught = learn(homes, FULL.learn_step)
    made = (f"make forecast-report ARGS=--write: {len(homes)} households ({', '.join(h.name for h in homes)}), horizons {HORIZONS} hours, "
            f"a case every {FULL.learn_step} hours; the report itself leaves each household out in turn")  # fmt: skip
    STORED.write_text(json.dumps(asdict(replace(taught, made=made)), indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {STORED.relative_to(ROOT)}")


def bar(steps: int) -> Callable[[str], None]:
    """A progress bar on stderr."""
    done, started = 0, time.monotonic()

    def tick(what: str) -> None:
        nonlocal done
        done += 1
        full = 30 * done // max(1, steps)
        line = f"[{'#' * full}{'.' * (30 - full)}] {done}/{steps} {time.monotonic() - started:4.0f} s  {what:32}"
        print("\r" + line, end="\n" if done == steps else "", file=sys.stderr, flush=True)

    return tick


if __name__ == "__main__":
    raise SystemExit(main())
