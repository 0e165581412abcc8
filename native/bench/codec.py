"""Block codec and frame checks: bytes an interval, and speed per CPU-second, one call a meter-day."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from measure import Timing, in_turn, once
from samples import difference_entropy, load_days, measured_days


@dataclass(frozen=True, slots=True)
class Blocks:
    """One data set. Bytes include format byte and length; speeds in million intervals per CPU-second."""

    name: str
    intervals: int
    per_block: int
    bytes_per_interval: float
    entropy_bits: float
    mean_wh: float
    median_wh: int
    p99_wh: int
    encode: float
    decode: float
    encode_vs_pure: float
    decode_vs_pure: float


def run(kernel: ModuleType, pure: ModuleType, data: Path, meters: int, rounds: int) -> list[Blocks]:
    days = load_days(meters, 30)
    found = [_blocks("synthetic, SimBench-shaped, 15 min, 1 Wh", days, kernel, pure, rounds)]
    measured = measured_days(data)
    if measured:
        found.append(_blocks("five measured households (SGSC), 30 min, 1 Wh", measured, kernel, pure, rounds))
    return found


def _blocks(name: str, days: list[array[int]], kernel: ModuleType, pure: ModuleType, rounds: int) -> Blocks:
    packed = [kernel.encode_block(day) for day in days]
    few = max(1, len(days) // 20)
    assert [pure.encode_block(day) for day in days[:few]] == packed[:few], "the twins write different bytes"
    assert [kernel.decode_block(block)[0] for block in packed] == days, "the codec is not lossless"
    timings = in_turn(
        {
            "encode": lambda: [kernel.encode_block(day) for day in days],
            "decode": lambda: [kernel.decode_block(block) for block in packed],
        },
        rounds,
    )
    slow_encode = once(lambda: [pure.encode_block(day) for day in days[:few]])
    slow_decode = once(lambda: [pure.decode_block(block) for block in packed[:few]])
    intervals, part = sum(map(len, days)), sum(map(len, days[:few]))
    ordered = sorted(wh for day in days for wh in day)
    encode, decode = timings["encode"].rate(intervals), timings["decode"].rate(intervals)
    return Blocks(
        name,
        intervals,
        len(days[0]),
        sum(map(len, packed)) / intervals,
        difference_entropy(days, 30),
        sum(ordered) / intervals,
        ordered[intervals // 2],
        ordered[intervals * 99 // 100],
        encode / 1e6,
        decode / 1e6,
        encode / slow_encode.rate(part),
        decode / slow_decode.rate(part),
    )


def frame_check(kernel: ModuleType, pure: ModuleType, rounds: int) -> tuple[float, float]:
    """CRC-16/X-25 of 2 kB frames: (million bytes per CPU-second, times the pure twin)."""
    frame, calls = bytes(range(256)) * 8, 200

    def check(twin: ModuleType) -> Timing:
        return in_turn({"crc": lambda: [twin.crc16_x25(frame) for _ in range(calls)]}, rounds)["crc"]

    rate = check(kernel).rate(len(frame) * calls)
    return rate / 1e6, rate / check(pure).rate(len(frame) * calls)
