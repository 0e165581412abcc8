"""Benchmark of the native kernel against its pure twin, memcpy, NumPy, Polars and DuckDB, all in one run.

    python native/bench/run.py                  both sizes, about two minutes
    python native/bench/run.py --quick          one million rows only
    python native/bench/run.py --json out.json  also as JSON
    python native/bench/run.py --write-docs     also into docs/benchmarks.md, section "Native kernel"
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "native"), str(Path(__file__).resolve().parent)]

import aggregation  # noqa: E402
import codec  # noqa: E402
import peers  # noqa: E402

from gridtally_native import _pure  # noqa: E402

BEGIN, END = "<!-- native kernel: written by native/bench/run.py --write-docs -->", "<!-- native kernel: end -->"
MINUTES = (1_060, 10_250)
BLOCK_COLUMNS = (
    "data",
    "intervals",
    "mean / median / p99 Wh",
    "entropy of differences",
    "B/interval",
    "of entropy",
    "encode M/s",
    "decode M/s",
    "times pure (enc / dec)",
)
TARGETS = (("polars", 15.0), ("numpy, reduceat", 5.0))


@dataclass(frozen=True, slots=True)
class Report:
    date: str
    machine: str
    versions: str
    aggregation: list[aggregation.Line]
    blocks: list[codec.Blocks]
    crc_mb_per_s: float
    crc_vs_pure: float


def machine() -> str:
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def measure(quick: bool, rounds: int) -> Report:
    try:
        from gridtally_native import _kernel
    except ImportError:
        sys.exit("The compiled twin is not built. Run: cythonize -i native/gridtally_native/_kernel.pyx")
    lines = []
    for number, minutes in enumerate(MINUTES[:1] if quick else MINUTES):
        lines += aggregation.run(_kernel, _pure, minutes, rounds, with_pure=number == 0)
    data = Path(os.environ.get("GRIDTALLY_DATA", ROOT.parent / "shared" / "data"))
    blocks = codec.run(_kernel, _pure, data, 100 if quick else 300, rounds)
    crc, crc_vs_pure = codec.frame_check(_kernel, _pure, rounds)
    versions = ", ".join([f"Python {platform.python_version()}", *map(peers.version, ("numpy", "polars", "duckdb"))])
    return Report(datetime.now(UTC).date().isoformat(), machine(), versions, lines, blocks, crc, crc_vs_pure)


def as_text(report: Report) -> Iterator[str]:
    yield f"{report.date}, {report.machine}; {report.versions}."
    yield "Built with -O3, not tuned to the machine. CPU time, one thread, median of the rounds; every method gave the"
    yield "same result first (float sums to 12 digits). Neighbours share the machine: trust the ratios."
    yield "Freed memory stays with the process, so results land in memory that is there, as the copy does; `into new memory` pays"
    yield "for its pages."
    for rows in sorted({line.rows for line in report.aggregation}):
        yield ""
        yield f"Aggregation to 15 minutes, {rows:,} rows of 20 bytes, 1,000 meters:"
        yield ""
        yield "| method | million rows per CPU-s | spread | times the time of the kernel |"
        yield "| --- | ---: | ---: | ---: |"
        for line in report.aggregation:
            if line.rows == rows:
                yield f"| {line.method} | {line.mrows_per_s:.3g} | {line.spread} | {line.slower:.3g} |"
        yield ""
        yield from _verdicts([line for line in report.aggregation if line.rows == rows])
    yield ""
    yield "(Peers are compared with the kernel on the same order of rows; the kernel's own arrival and register lines with"
    yield "the sorted kernel; the pure twin with the same function of the kernel.)"
    yield ""
    yield "Block codec, one block a meter-day, all headers counted:"
    yield ""
    yield f"| {' | '.join(BLOCK_COLUMNS)} |"
    yield f"| --- |{' ---: |' * (len(BLOCK_COLUMNS) - 1)}"
    for b in report.blocks:
        shape = f"{b.mean_wh:.0f} / {b.median_wh} / {b.p99_wh:,}"
        ratio = b.bytes_per_interval * 8 / b.entropy_bits
        yield (
            f"| {b.name} | {b.intervals:,} | {shape} | {b.entropy_bits:.2f} bit | {b.bytes_per_interval:.3f} | {ratio:.3f} "
            f"| {b.encode:.3g} | {b.decode:.3g} | {b.encode_vs_pure:.0f} / {b.decode_vs_pure:.0f} |"
        )
    yield ""
    yield "The synthetic set is not SimBench; it is shaped to the figures published for it: mean 409, median 133, p99 5,594 Wh,"
    yield 'entropy 8.0 to 8.1 bit. "Of entropy" is the comparison that does not depend on the scale.'
    met = "met" if report.blocks[0].bytes_per_interval <= 1.10 else "missed"
    yield ""
    yield f"Target at most 1.10 B/interval on the synthetic set: {met}."
    yield ""
    yield f"CRC-16/X-25 on 2 kB frames: {report.crc_mb_per_s:.0f} MB per CPU-s, {report.crc_vs_pure:.0f} times the pure twin."


def _verdicts(lines: list[aggregation.Line]) -> Iterator[str]:
    """The targets: 15 x the best form of Polars, 5 x NumPy reduceat, 80 % of memcpy; arrival 80 % of sorted."""
    for start, target in TARGETS:
        found = [line for line in lines if line.method.startswith(start)]
        if not found:
            yield f"* {start}: not installed, not compared."
            continue
        best = min(found, key=lambda line: line.slower)
        yield f"* {best.slower:.1f} x {best.method}; target {target:.0f}: {'met' if best.slower >= target else 'missed'}."
    speed = {line.method: line.mrows_per_s for line in lines}
    for name, base in ((aggregation.KERNEL, aggregation.COPY), (aggregation.ARRIVAL, aggregation.KERNEL)):
        share = speed[name] / speed[base]
        yield f"* {name}: {share:.0%} of {base}; target 80 %: {'met' if share >= 0.8 else 'missed'}."
    share = speed[aggregation.REGISTER] / speed[aggregation.KERNEL]
    yield f"* {aggregation.REGISTER}: {share:.0%} of {aggregation.KERNEL}; target 65 %: {'met' if share >= 0.65 else 'missed'}."


def write_docs(report: Report) -> None:
    """Puts the section between its two marks, or at the end of the file."""
    path = ROOT / "docs" / "benchmarks.md"
    text = path.read_text() if path.exists() else "# Benchmarks\n"
    section = "\n".join([BEGIN, "## Native kernel", "", *as_text(report), END])
    if BEGIN in text and END in text:
        text = text[: text.index(BEGIN)] + section + text[text.index(END) + len(END) :]
    else:
        text = text.rstrip("\n") + "\n\n" + section + "\n"
    path.write_text(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one million rows only, about twenty seconds")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each method, median is reported (default 5)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--write-docs", action="store_true", help='update docs/benchmarks.md, section "Native kernel"')
    options = parser.parse_args(argv)
    report = measure(options.quick, options.rounds)
    print("\n".join(as_text(report)))
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    if options.write_docs:
        write_docs(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
