"""A simulated Modbus TCP gateway: requests with an MBAP head go to the RTU slaves behind it, answers come back the same way.

* Several requests may lie in one segment, and one may come in pieces. What is no MBAP head ends the talk until the next one:
  nothing can be found in a stream that lost its place.
* A unit nobody answers for gets exception 0x0B, as gateways give it.

Source: MODBUS Messaging on TCP/IP Implementation Guide 1.0b, 3.1.3; MODBUS Application Protocol 1.1b3, 7.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gridtally_edge.simulators.bus import Station
from gridtally_native import crc16_modbus

HEAD = struct.Struct(">HHHB")
LONGEST_PDU = 253
NO_ANSWER = 0x0B


class Gateway:
    """One `Slave` in front of many."""

    def __init__(self, stations: Sequence[Station]) -> None:
        self._stations = tuple(stations)
        self._heard = b""
        self._spoke = ""

    def receive(self, data: bytes) -> bytes:
        self._heard += data
        answers = []
        while len(self._heard) >= HEAD.size:
            number, protocol, length, unit = HEAD.unpack_from(self._heard)
            if protocol or not 2 <= length <= LONGEST_PDU + 1:
                self._heard = b""
                break
            if len(self._heard) < HEAD.size + length - 1:
                break
            pdu, self._heard = self._heard[HEAD.size : HEAD.size + length - 1], self._heard[HEAD.size + length - 1 :]
            answer = self._ask(unit, pdu)
            answers.append(HEAD.pack(number, 0, len(answer) + 1, unit) + answer)
        return b"".join(answers)

    def whose(self, answer: bytes) -> str:
        """The serial of the meter that gave the last answer, by which faults name it."""
        return self._spoke

    def _ask(self, unit: int, pdu: bytes) -> bytes:
        frame = bytes([unit]) + pdu
        frame += crc16_modbus(frame).to_bytes(2, "little")
        for station in self._stations:
            rtu = station.slave.receive(frame)
            if rtu:
                self._spoke = station.whose(rtu)
                return rtu[1:-2]
        self._spoke = ""
        return bytes([pdu[0] | 0x80, NO_ANSWER])
