"""A simulated IEC 62056-21 meter: characters in, characters out, no I/O.

* Modes A, B, C and E: sign-on with or without its device address, readout with BCC, programming mode with a password
  (P1, R1, W1, R5, W5, R6, break), repeat on NAK, hand-over of the port to an HDLC slave.
* It keeps the coding it is in, `baud`: a request in another one would be noise to a real meter; on a pty it hears all.
* `parity` puts the even parity of 7E1 into the eighth bit, as a reader sees it whose port knows no parity.
* While it is in its programming mode it hears no sign-on, so a reader that forgets the break loses it, and with it every
  other meter of the bus that waits for the line.

Source: IEC 62056-21:2002; VDEW specification 2.1 (data sets, P.01).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from gridtally_edge.protocols.iec62056_21.characters import ACK, EOT, ETX, NAK, SOH, STX, bcc, framed, seven_bits, with_parity
from gridtally_edge.protocols.iec62056_21.messages import BREAK, SPEEDS_B, SPEEDS_C, Mode, crc16_p1
from gridtally_edge.simulators.bus import Slave
from gridtally_edge.simulators.meter import SimMeter
from gridtally_shared.records import dataclass

REFUSED: Final = "(ERROR)"
ROWS_A_BLOCK: Final = 8
HISTORY_MS: Final = 400 * 86_400_000


class State(Enum):
    IDLE = "idle"
    IDENTIFIED = "identified"
    PROGRAMMING = "programming"
    BINARY = "binary"


@dataclass(slots=True)
class Iec62056Slave:
    """One meter. `fast` is the speed it proposes; `inner` speaks HDLC behind mode E."""

    meter: SimMeter
    address: str = ""
    mode: Mode = Mode.C
    fast: int = 9_600
    password: str = "00000000"
    utc_offset_min: int = 60
    parity: bool = False
    inner: Slave | None = None
    state: State = State.IDLE
    baud: int = 300
    written: dict[str, str] = field(default_factory=dict)
    trusted: bool = False
    _buffer: bytes = b""
    _last: bytes = b""
    _blocks: list[str] = field(default_factory=list)

    def receive(self, data: bytes) -> bytes:
        """Whatever the line carried; what this meter says to it."""
        if self.state is State.BINARY and self.inner is not None and not seven_bits(data).startswith(b"/?"):
            return self.inner.receive(data)
        self._buffer = (self._buffer + seven_bits(data))[-1_024:]
        answers = b""
        while (message := self._next()) is not None:
            answers += self._answer(message)
        return with_parity(answers) if self.parity else answers

    def _next(self) -> bytes | None:
        """A whole message taken from the buffer; noise in front of it is passed over."""
        starts = [place for place in (self._buffer.find(c) for c in _STARTS) if place >= 0]
        if not starts:
            self._buffer = b""
            return None
        start = min(starts)
        end = _end(self._buffer, start)
        if not end:
            return None
        message, self._buffer = self._buffer[start:end], self._buffer[end:]
        return message

    def _answer(self, message: bytes) -> bytes:
        if message[:2] == b"/?":
            return self._sign_on(message)
        if message[:1] == bytes((NAK,)):
            return self._last
        if message[:1] == bytes((ACK,)):
            return self._option(message) if self.state is State.IDENTIFIED else self._next_block()
        return self._command(message) if self.state is State.PROGRAMMING else b""

    def _sign_on(self, message: bytes) -> bytes:
        wanted = message[2 : message.find(b"!")].decode("ascii").lstrip("0")
        if self.state is State.PROGRAMMING or wanted not in ("", self.address.lstrip("0")):
            return b""
        self.baud = 300
        letter = {Mode.A: "a", Mode.B: _letter(SPEEDS_B, self.fast)}.get(self.mode, _letter(SPEEDS_C, self.fast))
        model = "\\2GT1" if self.mode is Mode.E else "GT1"
        hello = f"/GTY{letter}{model}-{self.meter.serial}\r\n".encode()
        if self.mode in (Mode.A, Mode.B):
            self.baud = self.fast if self.mode is Mode.B else 300
            return hello + self._readout()
        self.state = State.IDENTIFIED
        return hello

    def _option(self, message: bytes) -> bytes:
        z, option = chr(message[2]), chr(message[3])
        self.state = State.IDLE
        self.baud = SPEEDS_C.get(z, 300)
        if option == "1":
            self.state, self.trusted = State.PROGRAMMING, not self.password
            return framed(bytes((SOH,)) + b"P0" + bytes((STX,)) + f"({self.meter.serial})".encode())
        if option == "2" and self.mode is Mode.E:
            self.state = State.BINARY
            return message
        return self._readout()

    def _readout(self) -> bytes:
        text = "".join(f"{address}({value})\r\n" for address, value in values_of(self.meter, self.utc_offset_min)) + "!\r\n"
        self._last = framed(bytes((STX,)) + text.encode())
        return self._last

    def _command(self, message: bytes) -> bytes:
        if bcc(message[1:-1]) != message[-1]:
            return bytes((NAK,))
        if message == BREAK:
            self.state, self.baud = State.IDLE, 300
            return b""
        name, _, body = message[1:-2].partition(bytes((STX,)))
        address, _, value = body.decode("ascii", "replace").partition("(")
        action = _COMMANDS.get(name.decode("ascii", "replace"))
        self._last = action(self, address, value.removesuffix(")")) if action else _text(REFUSED)
        return self._last

    def _log_in(self, _address: str, value: str) -> bytes:
        self.trusted = value == self.password
        return bytes((ACK,)) if self.trusted else _text(REFUSED)

    def _read(self, address: str, value: str) -> bytes:
        if address == "P.01":
            return _text(self._profile_text(value))
        known = {**dict(values_of(self.meter, self.utc_offset_min)), **self.written}
        return _text(f"{address}({known[address]})" if address in known else REFUSED)

    def _write(self, address: str, value: str) -> bytes:
        if not self.trusted:
            return _text(REFUSED)
        self.written[address] = value
        return bytes((ACK,))

    def _read_blocks(self, address: str, value: str) -> bytes:
        lines = self._profile_text(value).splitlines(keepends=True) if address == "P.01" else [REFUSED]
        self._blocks = ["".join(lines[n : n + ROWS_A_BLOCK]) for n in range(0, len(lines), ROWS_A_BLOCK)]
        return self._next_block()

    def _next_block(self) -> bytes:
        if not self._blocks:
            return b""
        text = self._blocks.pop(0)
        self._last = _text(text, EOT if self._blocks else ETX)
        return self._last

    def _profile_text(self, span: str) -> str:
        first, _, last = span.partition(";")
        from_ms, to_ms = (_moment_ms(text, self.utc_offset_min) for text in (first, last))
        now_ms = self.meter.clock_ms()
        from_ms = now_ms - HISTORY_MS if from_ms is None else from_ms
        rows = self.meter.profile(from_ms + 1, now_ms if to_ms is None else to_ms)
        period_min = self.meter.interval_s // 60
        lines: list[str] = []
        before_ms = 0
        for row in rows:
            if row.end_ms != before_ms + period_min * 60_000:
                stamp = _stamp(row.end_ms, self.utc_offset_min)
                lines.append(f"P.01(0{stamp:%y%m%d%H%M})(00)({period_min})(2)(1.29)(kWh)(2.29)(kWh)\r\n")
            lines.append(f"({_thousandths(row.import_wh)})({_thousandths(row.export_wh)})\r\n")
            before_ms = row.end_ms
        return "".join(lines) or REFUSED


_COMMANDS: dict[str, Callable[[Iec62056Slave, str, str], bytes]] = {
    "P1": Iec62056Slave._log_in,
    "R1": Iec62056Slave._read,
    "R5": Iec62056Slave._read,
    "W1": Iec62056Slave._write,
    "W5": Iec62056Slave._write,
    "R6": Iec62056Slave._read_blocks,
}
_STARTS: Final = (b"/?", bytes((ACK,)), bytes((NAK,)), bytes((SOH,)))


def _end(buffer: bytes, start: int) -> int:
    """Where the message at `start` ends; 0: not all of it is there."""
    if buffer[start] == NAK:
        return start + 1
    if buffer[start] == ACK and buffer[start + 1 : start + 2] not in (b"0", b"1", b"2", b""):
        return start + 1
    if buffer[start] == ACK and len(buffer) == start + 1:
        return start + 1
    if buffer[start] == SOH:
        end = buffer.find(ETX, start)
        return end + 2 if 0 <= end < len(buffer) - 1 else 0
    end = buffer.find(b"\r\n", start)
    return end + 2 if end >= 0 else 0


def _text(text: str, end: int = ETX) -> bytes:
    block = bytes((STX,)) + text.encode() + bytes((end,))
    return block + bytes((bcc(block[1:]),))


def _letter(speeds: dict[str, int], baud: int) -> str:
    return next(letter for letter, speed in speeds.items() if speed == baud)


def values_of(meter: SimMeter, utc_offset_min: int) -> Iterator[tuple[str, str]]:
    """(address, value) of the standard readout of a simulated home."""
    now = meter.snapshot()
    local = _stamp(meter.clock_ms(), utc_offset_min)
    yield "F.F", "00000000"
    yield "0.0.0", meter.serial
    yield "0.9.1", f"{local:%H%M%S}"
    yield "0.9.2", f"{local:%y%m%d}"
    yield "1.8.0", f"{_thousandths(now.energy_import_wh):0>10}*kWh"
    yield "2.8.0", f"{_thousandths(now.energy_export_wh):0>10}*kWh"
    yield "1.7.0", f"{_thousandths(max(0, now.power_w)):0>7}*kW"
    yield "2.7.0", f"{_thousandths(max(0, -now.power_w)):0>7}*kW"
    yield "12.7.0", f"{_thousandths(now.voltage_mv)}*V"
    yield "11.7.0", f"{_thousandths(now.current_ma)}*A"
    yield "14.7.0", f"{_thousandths(now.frequency_mhz)}*Hz"


def _thousandths(value: int) -> str:
    return f"{value // 1_000}.{value % 1_000:03}"


def _stamp(utc_ms: int, utc_offset_min: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=utc_ms, minutes=utc_offset_min)


def _moment_ms(text: str, utc_offset_min: int) -> int | None:
    """[season]YYMMDDhhmm as UTC milliseconds, None where it is left out."""
    try:
        local = datetime.strptime(text[-10:] + "+0000", "%y%m%d%H%M%z")
    except ValueError:
        return None
    return int(local.timestamp()) * 1_000 - utc_offset_min * 60_000


def mode_d_telegram(meter: SimMeter, utc_offset_min: int = 60) -> bytes:
    """What a meter in mode D sends of a simulated home, with the even parity of 7E1 in the eighth bit."""
    lines = (f"{address}({value})\r\n" for address, value in values_of(meter, utc_offset_min))
    return with_parity(f"/GTY3GT1-{meter.serial}\r\n\r\n{''.join(lines)}!\r\n".encode())


def p1_telegram(meter: SimMeter, version: str = "50", utc_offset_min: int = 60) -> bytes:
    """What a P1 port sends of a simulated home, with its CRC; a gas meter on channel 1 follows the home's use."""
    now, counts, local = meter.snapshot(), meter.counts(), _stamp(meter.clock_ms(), utc_offset_min)
    serial, gas = meter.serial.encode().hex().upper(), f"G{meter.serial}".encode().hex().upper()
    hour = local.replace(minute=0, second=0)
    lines = [
        "/GTY5\\2GT1", "", f"1-3:0.2.8({version})", f"0-0:1.0.0({local:%y%m%d%H%M%S}W)", f"0-0:96.1.1({serial})",
        f"1-0:1.8.1({_thousandths(now.energy_import_wh):0>10}*kWh)", f"1-0:2.8.1({_thousandths(now.energy_export_wh):0>10}*kWh)",
        "0-0:96.14.0(0001)", f"1-0:1.7.0({_thousandths(max(0, now.power_w)):0>6}*kW)",
        f"1-0:2.7.0({_thousandths(max(0, -now.power_w)):0>6}*kW)", f"0-0:96.7.21({counts.power_failures:05})",
        f"1-0:32.32.0({counts.sags:05})", f"1-0:32.36.0({counts.swells:05})", f"1-0:32.7.0({now.voltage_mv / 1000:.1f}*V)",
        f"1-0:31.7.0({now.current_ma / 1000:.2f}*A)", "0-1:24.1.0(003)", f"0-1:96.1.0({gas})",
        f"0-1:24.2.1({hour:%y%m%d%H%M%S}W)({_thousandths(now.energy_import_wh * 95 // 1_000):0>9}*m3)", "!",
    ]  # fmt: skip
    content = "\r\n".join(lines).encode()
    return content + f"{crc16_p1(content):04X}\r\n".encode()
