"""One load-profile answer, checked and decoded: ours against two foreign stacks, each in a process of its own.

    python native/bench/profile_rows.py

The answer: 96 rows of 8 columns (clock, three 16-bit and four 32-bit values), 4,322 octets of A-XDR, carried in HDLC frames of
2,000 octets. Work measured: CRC of header and of the whole of each frame, then A-XDR into numbers. CPU time, median of the
rounds. Ours gives one column of numbers and one of tags, the peers lists of Python objects: that is the design, and most of the
distance. gurux-dlms (GPL) and dlms-cosem 21.3.2 (the last MIT release) run as they come, nothing of them enters this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("native", "edge", "shared")]

from gridtally_native import _pure, _pure_axdr, crc16_x25, profile_table  # noqa: E402

ROWS, FRAME, ROUNDS = 96, 2_000, 15
TARGETS = {"gurux-dlms": 50.0, "dlms-cosem 21.3.2": 100.0}

_PEER = """
import json, sys, time
from statistics import median
data, frames, rounds = bytes.fromhex(sys.argv[1]), [bytes.fromhex(f) for f in sys.argv[2].split(",")], int(sys.argv[3])
{set_up}
def work():
    for frame in frames:
        crc(frame[:8]); crc(frame)
    return decode(data)
rows = work()
assert len(rows) == {rows} and len(rows[0]) == 8, (len(rows), len(rows[0]))
def timed(call):
    seconds = []
    for _ in range(rounds):
        before = time.process_time(); call(); seconds.append(time.process_time() - before)
    return median(seconds)
print(json.dumps([timed(work), timed(lambda: decode(data))]))
"""

_SET_UP = {
    "gurux-dlms": """
from gurux_dlms import GXByteBuffer
from gurux_dlms._GXFCS16 import _GXFCS16
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
crc = lambda octets: _GXFCS16.countFCS16(octets, 0, len(octets))
decode = lambda octets: _GXCommon.getData(None, GXByteBuffer(octets), _GXDataInfo())
""",
    "dlms-cosem 21.3.2": """
from dlms_cosem.crc import CRCCCITT
from dlms_cosem.utils import parse_as_dlms_data
crc, decode = CRCCCITT().calculate_for, parse_as_dlms_data
""",
}


@dataclass(frozen=True, slots=True)
class Line:
    """CPU seconds for one answer: with the frame checks, and A-XDR alone."""

    method: str
    whole_s: float
    axdr_s: float


def answer() -> bytes:
    clock = bytes.fromhex("07ea0b160009000000014a00")
    rows = []
    for n in range(ROWS):
        volts = b"".join(b"\x12" + (2_300 + n + k).to_bytes(2, "big") for k in range(3))
        energy = b"".join(b"\x06" + (500 * n + k).to_bytes(4, "big") for k in range(4))
        rows.append(b"\x02\x08\x09\x0c" + clock + volts + energy)
    return bytes([1, ROWS]) + b"".join(rows)


def _timed(call: object, calls: int) -> float:
    seconds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        for _ in range(calls):
            call()  # type: ignore[operator]
        seconds.append((time.process_time() - before) / calls)
    return median(seconds)


def ours(data: bytes, frames: list[bytes]) -> list[Line]:
    """The compiled twin, and the pure one."""
    lines = []
    for name, crc, decode, calls in (
        ("gridtally, compiled", crc16_x25, profile_table, 200),
        ("gridtally, pure twin", _pure.crc16_x25, _pure_axdr.profile_table, 2),
    ):

        def work(crc: object = crc, decode: object = decode) -> None:
            for frame in frames:
                crc(frame[:8])  # type: ignore[operator]
                crc(frame)  # type: ignore[operator]
            decode(data)  # type: ignore[operator]

        lines.append(Line(name, _timed(work, calls), _timed(lambda decode=decode: decode(data), calls)))
    return lines


def peers(data: bytes, frames: list[bytes]) -> list[Line]:
    """Each in its own process; one that is not installed is left out, and said so."""
    lines = []
    for name, set_up in _SET_UP.items():
        script = _PEER.format(set_up=set_up, rows=ROWS)
        words = [sys.executable, "-W", "ignore", "-c", script, data.hex(), ",".join(f.hex() for f in frames), str(ROUNDS)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            print(f"{name}: not compared ({(done.stderr.strip().splitlines() or ['no message'])[-1]})")
            continue
        whole_s, axdr_s = json.loads(done.stdout)
        lines.append(Line(name, whole_s, axdr_s))
    return lines


def main() -> int:
    data = answer()
    frames = [data[i : i + FRAME] for i in range(0, len(data), FRAME)]
    lines = [*ours(data, frames), *peers(data, frames)]
    base = lines[0]
    print(f"{ROWS} x 8 rows, {len(data):,} octets, {len(frames)} frames\n")
    print("| method | CRC and A-XDR, us | times | A-XDR alone, us | times |\n| --- | ---: | ---: | ---: | ---: |")
    for line in lines:
        whole, axdr = line.whole_s / base.whole_s, line.axdr_s / base.axdr_s
        print(f"| {line.method} | {line.whole_s * 1e6:,.1f} | {whole:.1f} | {line.axdr_s * 1e6:,.1f} | {axdr:.1f} |")
    print()
    missed = False
    for line in lines:
        if line.method in TARGETS:
            times, target = line.whole_s / base.whole_s, TARGETS[line.method]
            missed |= times < target
            print(f"* {times:.0f} x {line.method}; target {target:.0f}: {'met' if times >= target else 'missed'}.")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
