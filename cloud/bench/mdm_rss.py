"""Resident memory of the real MDM processes, idle after their start on a small store. Target 80 MB each (performance.md 8).

    python cloud/bench/mdm_rss.py
    python cloud/bench/mdm_rss.py --seconds 60 --json

* `all` with the provisioner it starts, then `web`, `worker` and `provisioner` alone, on Mosquitto and SQLite: 24 meters, two closed days,
  in the environment its unit sets (packaging/systemd).
* Each is left for some seconds, in which the jobs of the worker come round, then measured; the pages once more after the sign-in page
  and a list of the API were asked for. PSS is what it really costs beside others: pages of memory shared with them count in part.
* It looks that no process has pandas loaded (the MDM never imports it where pages are served).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "cloud", "tests", "packaging")]

import units  # noqa: E402

from support.billed_street import BilledStreet  # noqa: E402
from support.brokers import answers, free_port, running  # noqa: E402
from support.waiting import wait_until  # noqa: E402

TARGET_MB = 80.0
METERS, DAYS = 24, 2
COMPILES = "import gridtally_cloud.cli, gridtally_cloud.app, gridtally_cloud.server"
FORBIDDEN = ("pandas", "numpy", "polars")


@dataclass(frozen=True, slots=True)
class Footprint:
    process: str
    rss_mb: float
    pss_mb: float
    threads: int
    loaded: tuple[str, ...]


def footprint(name: str, pid: int) -> Footprint:
    rollup = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    maps = Path(f"/proc/{pid}/maps").read_text()
    loaded = tuple(library for library in FORBIDDEN if f"/{library}/" in maps)
    return Footprint(name, rollup["Rss"] / 1024, rollup["Pss"] / 1024, _fields(Path(f"/proc/{pid}/status"))["Threads"], loaded)


def _fields(path: Path) -> dict[str, int]:
    """Numbers of a /proc file of `Name: value` lines."""
    pairs = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return {name.strip(): int(text.split()[0]) for name, text in pairs if text.split() and text.split()[0].isdigit()}


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(config: Path, name: str) -> list[str]:
    return [sys.executable, "-m", "gridtally_cloud.cli", "--config", str(config), name]


@contextmanager
def _started(config: Path, name: str) -> Iterator[int]:
    """A process, ended as a service manager ends it. Its input stays open: a provisioner ends with the `all` that started it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(_command(config, name), env=_environment(), **pipes)
    try:
        yield process.pid
        if process.poll() is not None:
            raise SystemExit(f"gridtally-mdm {name} ended by itself with {process.returncode}: run it with the configuration {config}")
    finally:
        process.terminate()
        process.wait(timeout=20)


def _ask(port: int) -> None:
    """What a first visitor makes it load; the API refuses him, which is an answer too."""
    for path in ("/login", "/api/v1/meters"):
        try:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=20).read()
        except HTTPError as error:
            error.close()


def measure(folder: Path, broker_port: int, seconds: float) -> Iterator[Footprint]:
    config, web_port = _prepared(folder, broker_port)
    for name in ("all", "web", "worker", "provisioner"):
        with _started(config, name) as pid:
            if name in ("all", "web"):
                wait_until(lambda: answers(web_port), 30, "the pages")
            time.sleep(seconds)
            yield footprint(name, pid)
            if name in ("all", "web"):
                _ask(web_port)
                yield footprint(f"{name}, pages asked for", pid)
            for child in _children(pid) if name == "all" else ():
                yield footprint("provisioner, started by all", child)


def _environment() -> dict[str, str]:
    """As the unit sets it, and with compiled files: what a process compiles in memory stays there."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | units.environment("gridtally-mdm")


def _prepared(folder: Path, broker_port: int) -> tuple[Path, int]:
    """The configuration of a small utility with some data, and the port of its pages."""
    (folder / "data").mkdir()
    street = BilledStreet(folder / "data", METERS)
    for day in range(DAYS):
        street.take(day)
    street.close(DAYS - 1)
    street.judge(DAYS - 1)
    street.db.close()
    config, port = folder / "mdm.toml", free_port()
    config.write_text(f'data_dir = "data"\n[broker]\nport = {broker_port}\n[web]\nport = {port}\n')
    subprocess.run(_command(config, "init"), check=True, stdout=subprocess.DEVNULL)
    return config, port


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of the MDM's processes.", epilog="example: mdm_rss.py --seconds 60")
    parser.add_argument("--seconds", type=float, default=15, help="how long each is left alone before it is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    subprocess.run([sys.executable, "-c", COMPILES], env=_environment(), check=True)
    with tempfile.TemporaryDirectory() as folder, running("mosquitto") as broker:
        found = list(measure(Path(folder), broker.port, options.seconds))
    worst = max(each.rss_mb for each in found)
    loaded = sorted({library for each in found for library in each.loaded})
    if options.json:
        print(json.dumps([asdict(each) for each in found]))
    else:
        for each in found:
            print(f"  {each.process:30} RSS {each.rss_mb:6.1f} MB, PSS {each.pss_mb:6.1f} MB, {each.threads} threads")
        print(f"  at most {TARGET_MB:.0f} MB each: {'met' if worst <= TARGET_MB else 'MISSED'} (largest {worst:.1f}); "
              f"loaded of {', '.join(FORBIDDEN)}: {', '.join(loaded) or 'none'}")  # fmt: skip
    return 0 if worst <= TARGET_MB and "pandas" not in loaded else 1


if __name__ == "__main__":
    sys.exit(main())
