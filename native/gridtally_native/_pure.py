"""The hot loops in plain Python: the definition of what the compiled twin `_kernel` must do, bit for bit.

* Arguments are typed buffers (`array('q')`, a NumPy array, a `memoryview`): one call takes a poll round, a day or a
  backlog, never a single reading.
* Energy is exact: each interval is the difference of two interpolated register values, rounded down, so intervals
  always add up to the movement of the register.
* Ranges are in `_records`. A call outside them raises ValueError; wrong data raises nothing and gets a flag.
* One file, as its twin is one, so that the two can be read side by side.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gridtally_native._records import (
    CLOCK,
    INT64_MAX,
    MAX_BLOCK,
    MAX_CELLS,
    MAX_METER_ROWS,
    MAX_MS,
    MAX_ROWS,
    MAX_STEP_WH,
    MISSING,
    PARTIAL,
    RESET,
    ROLLOVER,
    Aggregates,
    RegisterIntervals,
    RegisterTable,
    check_column,
    check_grid,
    check_register,
    check_same_length,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MASK64 = 2**64 - 1


# --- samples of many meters -> fixed intervals -----------------------------------------------------------------------


@dataclass(slots=True)
class _Part:
    """Samples of one meter in one interval that arrived without another interval of that meter in between."""

    meter: int
    start_ms: int
    count: int
    total: float
    minimum: float
    maximum: float
    first: float
    last: float
    first_ms: int
    last_ms: int

    def add(self, at_ms: int, value: float) -> None:
        self.count += 1
        self.total += value
        if value < self.minimum:
            self.minimum = value
        if value > self.maximum:
            self.maximum = value
        if at_ms < self.first_ms:
            self.first_ms, self.first = at_ms, value
        if at_ms >= self.last_ms:
            self.last_ms, self.last = at_ms, value

    def merge(self, later: _Part) -> None:
        self.count += later.count
        self.total += later.total
        if later.minimum < self.minimum:
            self.minimum = later.minimum
        if later.maximum > self.maximum:
            self.maximum = later.maximum
        if later.first_ms < self.first_ms:
            self.first_ms, self.first = later.first_ms, later.first
        if later.last_ms >= self.last_ms:
            self.last_ms, self.last = later.last_ms, later.last


def aggregate(
    meters: Buffer, at_ms: Buffer, values: Buffer, start_ms: int, period_ms: int, n: int | None = None
) -> Aggregates:
    """Count, sum, minimum, maximum, first and last of each meter in each interval of the grid.

    `meters` is int32, `at_ms` int64, `values` int64 or float64. Rows may come in any order; sorted by (meter, at_ms)
    and arrival order are fast. Samples before `start_ms`, or after the `n`-th interval, are only counted.
    Raises ValueError when the sum of an interval is not finite, or count x value does not fit int64.
    """
    meter_column = check_column("meters", meters, "il", 4)
    at_column = check_column("at_ms", at_ms, "ql", 8)
    value_column = check_column("values", values, "qld", 8)
    if check_same_length(meter_column, at_column, value_column) > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS} rows in one call")
    parts, outside = _collect(meter_column, at_column, value_column, *check_grid(start_ms, period_ms, n))
    kind = "d" if value_column.format == "d" else "q"
    return _aggregates(_merged(parts), kind, outside)


def _collect(
    meters: memoryview, at_ms: memoryview, values: memoryview, start_ms: int, period_ms: int, end_ms: int
) -> tuple[list[_Part], int]:
    parts: list[_Part] = []
    open_parts: dict[int, _Part] = {}
    outside = 0
    for meter, at, value in zip(meters, at_ms, values, strict=True):
        if not start_ms <= at < end_ms:
            outside += 1
            continue
        part = open_parts.get(meter)
        if part is not None and 0 <= at - part.start_ms < period_ms:
            part.add(at, value)
            continue
        part = _Part(meter, at - (at - start_ms) % period_ms, 1, value, value, value, value, value, at, at)
        open_parts[meter] = part
        parts.append(part)
    return parts, outside


def _merged(parts: list[_Part]) -> list[_Part]:
    parts.sort(key=lambda part: (part.meter, part.start_ms))
    rows: list[_Part] = []
    for part in parts:
        if rows and rows[-1].meter == part.meter and rows[-1].start_ms == part.start_ms:
            rows[-1].merge(part)
        else:
            rows.append(part)
    return rows


def _aggregates(rows: list[_Part], kind: str, outside: int) -> Aggregates:
    for row in rows:
        if kind == "d":
            if row.total - row.total != 0:
                raise ValueError(f"meter {row.meter}, interval {row.start_ms}: the sum is not a finite number")
        elif max(row.maximum, -row.minimum) > INT64_MAX // row.count:
            raise ValueError(f"meter {row.meter}, interval {row.start_ms}: count x value does not fit 64 bits")

    def column(typecode: str, pick: Callable[[_Part], float]) -> array:  # type: ignore[type-arg]
        return array(typecode, [pick(row) for row in rows])  # type: ignore[call-overload, no-any-return]

    return Aggregates(
        column("i", lambda row: row.meter),
        column("q", lambda row: row.start_ms),
        column("i", lambda row: row.count),
        column(kind, lambda row: row.total),
        column(kind, lambda row: row.minimum),
        column(kind, lambda row: row.maximum),
        column(kind, lambda row: row.first),
        column(kind, lambda row: row.last),
        outside,
    )


# --- samples of a cumulative register -> energy per interval ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Grid:
    """The settings of one register call."""

    start_ms: int
    period_ms: int
    n: int
    max_gap_ms: int
    rollover_wh: int
    max_power_w: int
    resolution_wh: int
    clock_steps: bool

    def movement(self, before_wh: int, after_wh: int, elapsed_ms: int) -> tuple[int, int]:
        """(energy, flags) of one step: the movement is booked, or it is refused as RESET with energy 0. `elapsed_ms` is
        -1 where the clock was set back."""
        moved, flag = after_wh - before_wh, CLOCK if elapsed_ms < 0 else 0
        if moved < 0:
            if not (self.rollover_wh > before_wh and after_wh >= 0):
                return 0, RESET
            moved, flag = moved + self.rollover_wh, flag | ROLLOVER
            if moved > self.rollover_wh // 10:
                return 0, RESET
        if moved > MAX_STEP_WH:
            return 0, RESET
        if self.max_power_w and elapsed_ms >= 0 and not self.power_allows(moved, elapsed_ms):
            return 0, RESET
        return moved, flag

    def power_allows(self, moved_wh: int, elapsed_ms: int) -> bool:
        """One second and one resolution of the register are forgiven; beyond 2**31 ms whole seconds are enough."""
        moved_wh -= self.resolution_wh
        if elapsed_ms < 2**31:
            return moved_wh * 3_600_000 <= self.max_power_w * (elapsed_ms + 1000)
        return moved_wh * 3600 <= self.max_power_w * min(elapsed_ms // 1000 + 1, 2**31)


def register_intervals(
    at_ms: Buffer,
    register_wh: Buffer,
    start_ms: int,
    period_ms: int,
    n: int,
    max_gap_ms: int,
    *,
    rollover_wh: int = 0,
    max_power_w: int = 0,
    resolution_wh: int = 1,
    clock_steps: bool = False,
) -> RegisterIntervals:
    """Energy of `n` intervals of one meter from samples (int64 ms, int64 Wh) of its cumulative register.

    * Between two samples the register is taken as a straight line, rounded down at each boundary.
    * An interval no accepted step of at most `max_gap_ms` touches is MISSING, one covered in part is PARTIAL. Inside
      a longer gap the energy is still its share of the line, so nothing is lost from the sum; the flag says that it
      was not measured there.
    * A register that goes back is a ROLLOVER if it wraps at `rollover_wh` (0: it never wraps) and moved at most a
      tenth of that; otherwise, and when a step needs more than `max_power_w` (0: not tested; a step may be
      `resolution_wh` too large, and a second too short), it is a RESET: the step books nothing and covers nothing.
    * Two samples of one time: the movement belongs to the interval that ends at or contains that time.
    * `clock_steps`: samples are in the order they came, and a time that goes back means that the clock was set back. It
      then stands still at the latest time so far; what moved until it is overtaken is booked there with the flag CLOCK
      and, since nobody knows how long it took, without the test of power. Nothing is lost from the sum.

    Raises ValueError when the times are not in order and `clock_steps` is False.
    """
    grid = _Grid(
        *check_register(start_ms, period_ms, n, max_gap_ms, rollover_wh, max_power_w, resolution_wh), bool(clock_steps)
    )
    at_column = check_column("at_ms", at_ms, "ql", 8)
    register_column = check_column("register_wh", register_wh, "ql", 8)
    rows = check_same_length(at_column, register_column)
    energy_wh, flags = array("q", bytes(8 * grid.n)), array("H", bytes(2 * grid.n))
    _one_meter(grid, at_column, register_column, 0, rows, energy_wh, flags, 0)
    return RegisterIntervals(grid.start_ms, grid.period_ms, energy_wh, flags)


def register_intervals_many(
    meters: Buffer,
    at_ms: Buffer,
    register_wh: Buffer,
    start_ms: int,
    period_ms: int,
    n: int,
    max_gap_ms: int,
    *,
    rollover_wh: int = 0,
    max_power_w: int = 0,
    resolution_wh: int = 1,
    clock_steps: bool = False,
) -> RegisterTable:
    """`register_intervals` for rows of many meters (int32), sorted by meter and, without `clock_steps`, by time."""
    grid = _Grid(
        *check_register(start_ms, period_ms, n, max_gap_ms, rollover_wh, max_power_w, resolution_wh), bool(clock_steps)
    )
    meter_column = check_column("meters", meters, "il", 4)
    at_column = check_column("at_ms", at_ms, "ql", 8)
    register_column = check_column("register_wh", register_wh, "ql", 8)
    check_same_length(meter_column, at_column, register_column)
    starts = _meter_starts(meter_column)
    cells = (len(starts) - 1) * grid.n
    if cells > MAX_CELLS:
        raise ValueError(f"{len(starts) - 1} meters x {grid.n} intervals is more than {MAX_CELLS}")
    energy_wh, flags = array("q", bytes(8 * cells)), array("H", bytes(2 * cells))
    for index in range(len(starts) - 1):
        _one_meter(grid, at_column, register_column, starts[index], starts[index + 1], energy_wh, flags, index * grid.n)
    names = array("i", [meter_column[row] for row in starts[:-1]])
    return RegisterTable(grid.start_ms, grid.period_ms, grid.n, names, energy_wh, flags)


def _meter_starts(meters: memoryview) -> list[int]:
    """The first row of each meter, and the number of rows at the end."""
    starts, before = [], None
    for row, meter in enumerate(meters):
        if before is not None and meter < before:
            raise ValueError(f"row {row}: meters are not in order; sort the samples by (meter, at_ms)")
        if meter != before:
            starts.append(row)
        before = meter
    return [*starts, len(meters)]


def _one_meter(
    grid: _Grid,
    at_ms: memoryview,
    register_wh: memoryview,
    first: int,
    end: int,
    energy_wh: array[int],
    flags: array[int],
    cell: int,
) -> None:
    """Fills the `n` cells of one meter from its rows [first, end). See the twin for the same loop in C types."""
    if end - first > MAX_METER_ROWS:
        raise ValueError(f"{end - first} samples of one meter, at most {MAX_METER_ROWS} in one call")
    edges = at_ms[first:end] if grid.clock_steps else [at_ms[row] for row in (first, end - 1) if first < end]
    if not all(-MAX_MS <= at <= MAX_MS for at in edges):
        raise ValueError(f"at_ms must be within {-MAX_MS} to {MAX_MS}")
    low, high = grid.start_ms, grid.start_ms + grid.period_ms
    energy = covered = seen = index = 0
    t1 = at_ms[first] if first < end else 0
    for row in range(first + 1, end):
        t0, t1 = t1, at_ms[row]
        if t1 < t0 and not grid.clock_steps:
            raise ValueError(f"row {row}: at_ms goes back; sort the samples first")
        behind = t1 < t0 or at_ms[row - 1] < t0
        t1 = max(t0, t1)
        if t1 <= grid.start_ms or index == grid.n:
            continue
        moved, flag = grid.movement(register_wh[row - 1], register_wh[row], -1 if behind else t1 - t0)
        counts = flag != RESET and t1 - t0 <= grid.max_gap_ms
        booked = 0 if t0 >= grid.start_ms else moved * (grid.start_ms - t0) // (t1 - t0)
        while t1 > high and index < grid.n:
            if high > t0:
                share = moved * (high - t0) // (t1 - t0)
                energy, booked, seen = energy + share - booked, share, seen | flag
                covered += high - max(t0, low) if counts else 0
            energy_wh[cell + index], flags[cell + index] = energy, seen | _coverage_flag(covered, grid.period_ms)
            energy = covered = seen = 0
            index, low, high = index + 1, high, high + grid.period_ms
        energy, seen = energy + moved - booked, seen | flag
        covered += t1 - max(t0, low) if counts else 0
    for rest in range(index, grid.n):
        energy_wh[cell + rest], flags[cell + rest] = energy, seen | _coverage_flag(covered, grid.period_ms)
        energy = covered = seen = 0


def _coverage_flag(covered_ms: int, period_ms: int) -> int:
    return 0 if covered_ms == period_ms else PARTIAL if covered_ms else MISSING


# --- block codec: see the format in README.md ------------------------------------------------------------------------

_HAS_MASK = 0x80
_EXP_GOLOMB = 0x40
_FROM_LEAST = 0x20
_MAX_K = 30


def encode_block(values: Buffer, present: Buffer | None = None) -> bytes:
    """Packs up to 2**20 int64 values. `present` holds one byte per value, 0 = missing; None = all are there.

    The value of a missing interval is not kept.
    """
    value_column = check_column("values", values, "ql", 8)
    n = len(value_column)
    if n > MAX_BLOCK:
        raise ValueError(f"{n} intervals in one block, at most {MAX_BLOCK}")
    mask = b"" if present is None else _mask(present, n)
    kept = [v for i, v in enumerate(value_column) if not mask or mask[i >> 3] >> (i & 7) & 1]
    form, residuals = _best_form(kept)
    head = bytearray([(_HAS_MASK if mask else 0) | form])
    while n > 0x7F:
        head.append(n & 0x7F | 0x80)
        n >>= 7
    head.append(n)
    return bytes(head) + mask + _pack(residuals, form & _EXP_GOLOMB, form & 0x1F)


def encode_blocks(
    values: Buffer, sizes: Buffer, present: Buffer | None = None
) -> tuple[list[bytes], array[int], array[int]]:
    """(blocks, sums, counts of the values that are there) of columns that stand one after the other, `sizes[i]` values each."""
    column, lengths = check_column("values", values, "ql", 8), check_column("sizes", sizes, "il", 4)
    there = None if present is None else check_column("present", present, "Bbc?", 1).cast("B")
    if there is not None and len(there) != len(column):
        raise ValueError(f"columns differ in length: {len(column)}, {len(there)}")
    for n in lengths:
        if not 0 <= n <= MAX_BLOCK:
            raise ValueError(f"{n} intervals in one block, at most {MAX_BLOCK}")
    if sum(lengths) != len(column):
        raise ValueError(f"sizes add up to {sum(lengths)}, there are {len(column)} values")
    blocks, totals, counts, first = [], array("q"), array("i"), 0
    for i, n in enumerate(lengths):
        part, mask = column[first : first + n], None if there is None else there[first : first + n]
        kept = list(part) if mask is None else [v for v, is_there in zip(part, mask, strict=True) if is_there]
        if not -INT64_MAX - 1 <= sum(kept) <= INT64_MAX:
            raise ValueError(f"block {i}: the sum of its values is no int64")
        blocks.append(encode_block(part, mask))
        totals.append(sum(kept))
        counts.append(len(kept))
        first += n
    return blocks, totals, counts


def _mask(present: Buffer, n: int) -> bytes:
    """One bit per interval, lowest bit first; empty if all are there."""
    column = check_column("present", present, "Bbc?", 1).cast("B")
    if len(column) != n:
        raise ValueError(f"columns differ in length: {n}, {len(column)}")
    bits, missing = bytearray((n + 7) // 8), False
    for i, there in enumerate(column):
        if there:
            bits[i >> 3] |= 1 << (i & 7)
        else:
            missing = True
    return bytes(bits) if missing else b""


def _zigzag(delta: int) -> int:
    """0, -1, 1, -2 ... -> 0, 1, 2, 3 ...; modulo 2**64, so that any two int64 have a delta."""
    delta &= _MASK64
    return (delta << 1 & _MASK64) ^ (_MASK64 if delta >> 63 else 0)


def _steps(values: list[int]) -> list[int]:
    return [_zigzag(value - before) for before, value in zip([0, *values], values, strict=False)]


def _from_least(values: list[int]) -> list[int]:
    least = min(values)
    return [_zigzag(least), *(value - least for value in values)]


def _best_form(values: list[int]) -> tuple[int, list[int]]:
    """(format bits, residuals) with the fewest bits: how to predict, which code, which k. The first of equals."""
    residuals = _steps(values)
    bits, form = _best_code(residuals)
    if values:
        others = _from_least(values)
        other_bits, other_form = _best_code(others)
        if other_bits < bits:
            return other_form | _FROM_LEAST, others
    return form, residuals


def _best_code(residuals: list[int]) -> tuple[int, int]:
    """(bits, code | k), among the k near the mean."""
    near = (sum(residuals) // len(residuals)).bit_length() if residuals else 0
    lowest = 1 if residuals and max(residuals) >> 63 else 0
    best_bits, best = -1, 0
    for k in range(max(min(near - 4, _MAX_K), lowest), min(near, _MAX_K) + 1):
        for code, bits in ((0, _rice_bits(residuals, k)), (_EXP_GOLOMB, _golomb_bits(residuals, k))):
            if best_bits < 0 or bits < best_bits:
                best_bits, best = bits, code | k
    return best_bits, best


def _rice_bits(residuals: list[int], k: int) -> int:
    return sum(z >> k for z in residuals) + len(residuals) * (k + 1)


def _golomb_bits(residuals: list[int], k: int) -> int:
    return sum(2 * ((z >> k) + 1).bit_length() - 1 for z in residuals) + len(residuals) * k


def _pack(residuals: list[int], code: int, k: int) -> bytes:
    out, window, used = bytearray(), 0, 0
    low_mask = (1 << k) - 1
    for z in residuals:
        high = z >> k
        if code:
            m = (high + 1).bit_length() - 1
            word = ((1 << m) - 1) | (((high + 1) ^ (1 << m)) << (m + 1)) | ((z & low_mask) << (2 * m + 1))
            length = 2 * m + 1 + k
        else:
            word, length = ((1 << high) - 1) | ((z & low_mask) << (high + 1)), high + 1 + k
        window |= word << used
        used += length
        if used >= 512:
            whole = used >> 3
            out += (window & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
            window >>= 8 * whole
            used &= 7
    return bytes(out) + window.to_bytes((used + 7) // 8, "little")


def decode_block(data: Buffer) -> tuple[array[int], bytes]:
    """(values, present) of `encode_block`; a missing value is 0 with present 0.

    Raises ValueError for bytes that are not one whole block. Memory is bounded by 72 bytes per byte of `data`.
    """
    view = check_column("data", data, "Bbc?", 1).cast("B")
    form, n, offset = _head(view)
    present, count = b"\x01" * n, n
    if form & _HAS_MASK:
        present, count = _unmask(bytes(view[offset : offset + (n + 7) // 8]), n)
        offset += (n + 7) // 8
    if count > 8 * (len(view) - offset):
        raise ValueError("block is cut short")
    kept = _unpack(bytes(view[offset:]), count, form)
    if count == n:
        return kept, present
    source = iter(kept)
    return array("q", [next(source) if there else 0 for there in present]), present


def _head(view: memoryview) -> tuple[int, int, int]:
    """(format byte, number of intervals, bytes read)."""
    if len(view) < 2:
        raise ValueError("block is cut short")
    if view[0] & 0x1F > _MAX_K:
        raise ValueError(f"block format {view[0]:#04x} is not known")
    n = 0
    for place in range(3):
        if place + 1 >= len(view):
            raise ValueError("block is cut short")
        byte = view[place + 1]
        n |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if n > MAX_BLOCK or (place and not byte):
                break
            if (n + 7) // 8 > len(view) - 2 - place:
                raise ValueError("block is cut short")
            return view[0], n, place + 2
    raise ValueError("block length is not valid")


def _unmask(mask: bytes, n: int) -> tuple[bytes, int]:
    if n & 7 and mask[-1] >> (n & 7):
        raise ValueError("block has bits after its end")
    present = bytes([mask[i >> 3] >> (i & 7) & 1 for i in range(n)])
    return present, sum(present)


class _Bits:
    """Reads bits, lowest first, from bytes; asks for more than there are raise ValueError."""

    __slots__ = ("_data", "_offset", "_used", "_window")

    def __init__(self, data: bytes) -> None:
        self._data, self._offset, self._window, self._used = data, 0, 0, 0

    def _refill(self) -> None:
        chunk = self._data[self._offset : self._offset + 64]
        if not chunk:
            raise ValueError("block is cut short")
        self._window |= int.from_bytes(chunk, "little") << self._used
        self._offset += len(chunk)
        self._used += 8 * len(chunk)

    def take(self, length: int) -> int:
        while self._used < length:
            self._refill()
        bits = self._window & ((1 << length) - 1)
        self._window >>= length
        self._used -= length
        return bits

    def ones(self) -> int:
        """The number of one bits before the next zero bit; takes them and the zero."""
        count = 0
        while True:
            run = (self._window ^ (self._window + 1)).bit_length() - 1
            if run < self._used:
                self.take(run + 1)
                return count + run
            count += self._used
            self._window = self._used = 0
            self._refill()

    def close(self) -> None:
        if self._offset != len(self._data) or self._used > 7 or self._window:
            raise ValueError("block has bits after its end")


def _residual(bits: _Bits, code: int, k: int) -> int:
    high = bits.ones()
    if code:
        if high > 63:
            raise ValueError("block holds a value beyond 64 bits")
        high = (1 << high | bits.take(high)) - 1
    if high >> (64 - k):
        raise ValueError("block holds a value beyond 64 bits")
    return high << k | bits.take(k)


def _unzigzag(z: int) -> int:
    return z >> 1 ^ (_MASK64 if z & 1 else 0)


def _unpack(data: bytes, count: int, form: int) -> array[int]:
    bits, values = _Bits(data), array("q", bytes(8 * count))
    code, k = form & _EXP_GOLOMB, form & 0x1F
    value = least = _unzigzag(_residual(bits, code, k)) if form & _FROM_LEAST and count else 0
    for i in range(count):
        z = _residual(bits, code, k)
        value = (least + z if form & _FROM_LEAST else value + _unzigzag(z)) & _MASK64
        values[i] = value - 2**64 if value >> 63 else value
    bits.close()
    return values


# --- frame checks ----------------------------------------------------------------------------------------------------


def _crc_table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_X25 = _crc_table(0x8408)
_MODBUS = _crc_table(0xA001)


def _crc16(data: Buffer, table: tuple[int, ...]) -> int:
    crc = 0xFFFF
    for byte in check_column("data", data, "Bbc?", 1).cast("B"):
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


def crc16_x25(data: Buffer) -> int:
    """The frame check of HDLC and of IEC 62056-46 (ISO/IEC 13239); sent low byte first."""
    return _crc16(data, _X25) ^ 0xFFFF


def crc16_modbus(data: Buffer) -> int:
    """The check of a Modbus RTU frame; sent low byte first."""
    return _crc16(data, _MODBUS)
