"""A line to a Modbus TCP server: a meter with an Ethernet port, or a gateway with an RS-485 line of meters behind it.

* `modbus-tcp://host:port`. The drivers stay as they are: their RTU request is asked with pymodbus' synchronous client and
  the answer is put back into the RTU frame the protocol checks. Reads of coils, inputs and registers travel (functions 1
  to 4) and the writes of relay boards (5, 15, 16), so that a board behind a gateway works as a switch.
* A request that pymodbus would not send octet for octet is not sent at all.
* A server may close an idle connection; it is opened again before the next request, and nobody hears of it.
* Every try is one request; the line does the repeating, so pymodbus' own retries are off.
* Exception 11 is the gateway's word for a silent meter and counts as silence. Other exceptions are the meter's answer.
* The answer to a request that was given up carries an old transaction number: pymodbus skips it. What arrived meanwhile
  is thrown away before the next request, so that half a frame can not put the stream out of step.
* pymodbus takes whole registers out of an answer: an odd byte behind them is dropped unseen, and so is the number of octets
  that an answer of bits says it has. Any other answer that does
  not fit its request yields no value.
* The wire behind a gateway costs its time: the time-out grows by what the frames need at 2400 baud.

The only module that imports pymodbus; `line_for` imports it when a line of this kind is configured.
Source: MODBUS Messaging on TCP/IP Implementation Guide 1.0b.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import DecodePDU, ModbusPDU

from gridtally_edge.protocols.conversation import Exchange, Found
from gridtally_edge.protocols.modbus import TARGET_SILENT, Function, crc_holds, with_crc
from gridtally_edge.protocols.modbus_bits import READ_COILS, READ_INPUTS, WRITE_COIL, WRITE_COILS, WRITE_REGISTERS
from gridtally_edge.transports.line import Line
from gridtally_edge.transports.link import read_now
from gridtally_edge.transports.pace import Pace
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_edge.transports.talker import SLOW_CHARACTER_S, Missed
from gridtally_edge.transports.tcp_line import TcpLink, host_and_port
from gridtally_shared.errors import ConfigError, LinkDown

SCHEME = "modbus-tcp://"
USUAL_PORT = 502
TCP_MORE_BYTES = 4  # a header of seven bytes instead of unit and CRC
CARRIED = frozenset(
    {READ_COILS, READ_INPUTS, Function.READ_HOLDING, Function.READ_INPUT, WRITE_COIL, WRITE_COILS, WRITE_REGISTERS}
)
REQUESTS = DecodePDU(is_server=True)

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # the line's own health and counters say it already


class ModbusTcpTalker:
    """The `Speaker` for Modbus TCP. The link opens and closes the connection, pymodbus speaks on it."""

    def __init__(self, link: TcpLink, settings: LineSettings, statistics: LineStatistics) -> None:
        host, port = host_and_port(settings.device, SCHEME, USUAL_PORT)
        self._link = link
        self._device = settings.device
        self._statistics = statistics
        self._client = ModbusTcpClient(host, port=port, retries=0)
        self._speed = settings.speed
        self._idle_since_s = 0.0
        self._closing = threading.Event()

    def now_s(self) -> float:
        return time.monotonic()

    def interrupt(self) -> None:
        self._closing.set()
        self._link.hang_up()

    def release(self) -> None:
        """The connection is the link's; there is nothing else to give back."""

    def opened(self, speed: Speed) -> None:
        self._speed = speed
        self._client.socket = self._link.connection()
        self._idle_since_s = time.monotonic()

    def speed_changed(self, speed: Speed) -> None:
        self._speed = speed

    def attempt(self, exchange: Exchange, gap_s: float, timeout_s: float, pace: Pace) -> bytes | Missed:
        """The answer as an RTU frame, or how it was missed. Raises LinkDown when the connection goes away, ConfigError
        when the driver speaks something else than Modbus."""
        request = _request_of(exchange, self._device)
        self.pause(self._idle_since_s + gap_s - time.monotonic())
        self._statistics.exchanges += 1
        self._freshen()
        self._statistics.bytes_sent += len(exchange.request) + TCP_MORE_BYTES
        began_s = time.monotonic()
        response = self._ask(request, timeout_s + (len(exchange.request) + (exchange.expected_bytes or 0)) * SLOW_CHARACTER_S)
        self._idle_since_s = time.monotonic()
        self._statistics.busy_s += self._idle_since_s - began_s
        if response is None:
            self._statistics.timeouts += 1
            return Missed.SILENT
        return self._checked(exchange, rtu_answer(request.dev_id, response))

    def swallow(self, find_answer: Callable[[bytes], Found | None], until_s: float) -> None:
        """A late answer can not be mistaken, its transaction number is another one."""

    def pause(self, seconds: float) -> None:
        """Sleep unless interrupted. Raises LinkDown when the line is being closed."""
        if self._closing.wait(max(0.0, seconds)):
            raise LinkDown(f"{self._device} is being closed")

    def _freshen(self) -> None:
        """Throw away what arrived unasked. A server may close an idle connection: then it is opened again."""
        try:
            while stale := read_now(self._link.fileno(), self._device):
                self._statistics.bytes_received += len(stale)
                self._statistics.noise_bytes += len(stale)
        except LinkDown:
            self.pause(0)
            self._link.open(self._speed)
            self.opened(self._speed)
            self._statistics.openings += 1
            self.pause(0)

    def _ask(self, request: ModbusPDU, timeout_s: float) -> ModbusPDU | None:
        """One request through pymodbus; None when nothing came that answers it."""
        for parameters in (self._client.comm_params, self._client.transaction.comm_params):
            parameters.timeout_connect = timeout_s
        try:
            response: ModbusPDU = self._client.execute(False, request)
        except (ConnectionException, OSError) as error:
            self.pause(0)
            raise LinkDown(f"{self._device} went away under a request; it is opened again by itself") from error
        except ModbusException:  # no answer in time, or bytes that are no Modbus
            return None
        return None if response.isError() and response.exception_code == TARGET_SILENT else response

    def _checked(self, exchange: Exchange, frame: bytes) -> bytes | Missed:
        self._statistics.bytes_received += len(frame) + TCP_MORE_BYTES
        if exchange.find_answer(frame) is None:
            self._statistics.timeouts += 1
            return Missed.GARBLED
        self._statistics.answers += 1
        return frame


class ModbusTcpLine(Line):
    """A line over Modbus TCP. It has no bit timing, whatever the settings or a driver's defaults say."""

    def __init__(self, settings: LineSettings) -> None:
        link = TcpLink(settings, SCHEME, USUAL_PORT)
        untimed = replace(settings, speed=replace(settings.speed, baud=0))
        super().__init__(untimed, link, partial(ModbusTcpTalker, link))


def rtu_answer(unit: int, response: ModbusPDU) -> bytes:
    """What the meter would have said on a serial line."""
    return with_crc(bytes((unit, response.function_code)) + response.encode())


def _request_of(exchange: Exchange, device: str) -> ModbusPDU:
    frame = exchange.request
    if crc_holds(frame) and frame[1] in CARRIED:
        request = REQUESTS.decode(frame[1:-2])
        if request is not None and request.encode() == frame[2:-2]:
            request.dev_id = frame[0]
            return request
    remedy = "this line carries Modbus only; for a meter of another protocol use a serial device or tcp://host:port"
    raise ConfigError("line.device", device, remedy)
