"""Spoilt inputs by the thousand: cut, joined, turned bits, lengths that lie, octets that mean much; and the verdict.

An input is made from (decoder, seed, number) alone, so a finding replays exactly. A decoder that works longer than
`HANG_S` on one input hangs; anything but a return or a `GridtallyError` is a leak.

    python -m fuzz.attack --count 1000000            all decoders
    python -m fuzz.attack --only dlms.apdu --at 4711 one input again
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

import fuzz
from gridtally_shared.errors import GridtallyError

SEED = 2026
HANG_S = 2.0
LONGEST = 4_096
MOST_FINDINGS = 10
TELLING = (0x00, 0x01, 0x02, 0x09, 0x0A, 0x10, 0x13, 0x1F, 0x68, 0x72, 0x7A, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFE, 0xFF)
NOT_AREAS = frozenset({"attack", "test_fuzz"})

Decoder = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    decode: Decoder
    seeds: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a decoder did that it must not do; `data` brings it about again."""

    target: str
    number: int
    data: bytes
    what: str

    def __str__(self) -> str:
        return f"{self.target} input {self.number} ({self.data.hex()}): {self.what}"


class Hang(BaseException):
    """Not an Exception, so that no decoder can swallow it."""


def targets() -> tuple[Target, ...]:
    """Every decoder of every area, by name `area.decoder`."""
    found = []
    for area in sorted(m.name for m in pkgutil.iter_modules(fuzz.__path__) if m.name not in NOT_AREAS):
        module = importlib.import_module(f"fuzz.{area}")
        for name, decode in module.DECODERS.items():
            found.append(Target(f"{area}.{name}", decode, tuple(module.SEEDS.get(name, ()))))
    return tuple(found)


def spoilt(target: Target, number: int, seed: int = SEED) -> bytes:
    """Input `number` for a target."""
    random = Random(f"{seed}/{target.name}/{number}")
    if not target.seeds or random.random() < 0.1:
        return random.randbytes(random.randrange(80))
    data = bytearray(random.choice(target.seeds))
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        random.choice(_SPOIL)(data, random, target.seeds)
    return bytes(data[:LONGEST])


def _turn_bit(data: bytearray, random: Random, _: tuple[bytes, ...]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _tell(data: bytearray, random: Random, _: tuple[bytes, ...]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(TELLING)


def _cut(data: bytearray, random: Random, _: tuple[bytes, ...]) -> None:
    del data[random.randrange(len(data) + 1) :]


def _drop(data: bytearray, random: Random, _: tuple[bytes, ...]) -> None:
    first = random.randrange(len(data) + 1)
    del data[first : first + random.randrange(1, 9)]


def _insert(data: bytearray, random: Random, _: tuple[bytes, ...]) -> None:
    first = random.randrange(len(data) + 1)
    data[first:first] = random.randbytes(random.randrange(1, 6))


def _repeat(data: bytearray, random: Random, _: tuple[bytes, ...]) -> None:
    first = random.randrange(len(data) + 1)
    part = data[first : first + random.randrange(1, 33)]
    data[first:first] = part * random.randrange(1, 9)


def _join(data: bytearray, random: Random, seeds: tuple[bytes, ...]) -> None:
    other = random.choice(seeds)
    data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]


_SPOIL = (_turn_bit, _turn_bit, _tell, _tell, _cut, _drop, _insert, _repeat, _join)


def attack(target: Target, count: int, seed: int = SEED) -> list[Finding]:
    """Run `count` inputs; what went wrong. After MOST_FINDINGS the attack ends: the decoder is bad."""
    findings: list[Finding] = []
    with _alarm():
        for number in range(count):
            data = spoilt(target, number, seed)
            what = _verdict(target, data)
            if what:
                findings.append(Finding(target.name, number, data, what))
            if len(findings) == MOST_FINDINGS:
                break
    return findings


def _verdict(target: Target, data: bytes) -> str:
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    try:
        target.decode(data)
    except GridtallyError:
        return ""
    except Hang:
        return f"still at it after {HANG_S} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return ""


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _one(task: tuple[str, int, int]) -> tuple[str, int, float, list[Finding]]:
    """Name, inputs that were really run, seconds, findings."""
    name, count, seed = task
    started = time.monotonic()
    found = attack(next(t for t in targets() if t.name == name), count, seed)
    ran = found[-1].number + 1 if len(found) == MOST_FINDINGS else count
    return name, ran, time.monotonic() - started, found


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs a decoder (1,000,000)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", help="decoders whose name begins so")
    parser.add_argument("--at", type=int, help="show one input and what the decoder makes of it")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side (2)")
    options = parser.parse_args(words)
    chosen = [t for t in targets() if t.name.startswith(options.only)]
    if options.at is not None:
        data = spoilt(chosen[0], options.at, options.seed)
        print(f"{chosen[0].name} input {options.at}: {data.hex()}")
        print(chosen[0].decode(data))
        return 0
    return _all([(t.name, options.count, options.seed) for t in chosen], options.jobs)


def _all(tasks: list[tuple[str, int, int]], jobs: int) -> int:
    total, findings, done = 0, 0, 0
    with get_context("spawn").Pool(jobs) as pool:
        for name, count, seconds, found in pool.imap_unordered(_one, tasks):
            done, total, findings = done + 1, total + count, findings + len(found)
            bar = "█" * (20 * done // len(tasks))
            print(f"{bar:░<20} {done:3}/{len(tasks)}  {name:32} {count:>9,} inputs {seconds:6.0f} s  {'sound' if not found else 'BAD'}")
            for finding in found:
                print(f"    {finding}", file=sys.stderr)
            sys.stdout.flush()
    print(f"{total:,} inputs for {len(tasks)} decoders, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
