"""The modem's half of the two serial interfaces of a simulated coordinator; what they say is documented in
transports/modem_framed.py and transports/modem_at.py."""

from __future__ import annotations

import time
from collections.abc import Callable

from gridtally_edge.simulators.coordinator import SimCoordinator, SimNode
from gridtally_edge.transports.modem_at import ESCAPE, FACTORY_GUARD_S
from gridtally_edge.transports.modem_fragments import Fragmenter, Reassembler
from gridtally_edge.transports.modem_framed import (
    MULTICAST,
    DataCommand,
    FrameReader,
    NodeCommand,
    ProtocolId,
    StatusCommand,
    UsiFrame,
    encode_frame,
)

VERSION = 1


class FramedSide:
    def __init__(self, coordinator: SimCoordinator) -> None:
        self._net = coordinator
        self._reader = FrameReader()
        self._pieces = Reassembler()
        self._cut = Fragmenter(coordinator.mtu)

    def hear(self, octets: bytes) -> None:
        for frame in self._reader.feed(octets):
            react = _FRAMED.get((frame.protocol, frame.command))
            if react is not None:
                react(self, frame)

    def appeared(self, node: SimNode, rerouted: bool) -> None:
        self._tell_node(NodeCommand.ROUTE if rerouted else NodeCommand.JOINED, node)

    def vanished(self, node: SimNode) -> None:
        self._tell(ProtocolId.NODES, NodeCommand.LEFT, bytes.fromhex(node.node) + b"\x00")

    def asks(self, node: SimNode) -> None:
        self._tell(ProtocolId.NODES, NodeCommand.WAITS, bytes.fromhex(node.node))

    def deliver(self, node: SimNode, message: bytes) -> None:
        for piece in self._cut.pieces(str(node.address), message):
            if not self._net.lost():
                head = node.address.to_bytes(2, "big") + bytes((node.quality,))
                self._tell(ProtocolId.DATA, DataCommand.DATA, head + piece)

    def restarted(self) -> None:
        self._tell(ProtocolId.STATUS, StatusCommand.RESTARTED, self._status())

    def _status(self) -> bytes:
        return bytes((VERSION,)) + self._net.mtu.to_bytes(2, "big") + bytes((MULTICAST,))

    def _tell(self, protocol: ProtocolId, command: int, data: bytes) -> None:
        self._net.write(encode_frame(UsiFrame(protocol, command, data)))

    def _tell_node(self, command: NodeCommand, node: SimNode) -> None:
        numbers = node.address.to_bytes(2, "big") + node.parent.to_bytes(2, "big")
        self._tell(ProtocolId.NODES, command, bytes.fromhex(node.node) + numbers + bytes((node.hops, node.quality)))

    def _asked(self, frame: UsiFrame) -> None:
        self._tell(ProtocolId.STATUS, StatusCommand.STATUS, self._status())

    def _list(self, frame: UsiFrame) -> None:
        here = [node for node in self._net.nodes.values() if node.here]
        for node in here:
            if node.allowed:
                self._tell_node(NodeCommand.LISTED, node)
            else:
                self.asks(node)
        self._tell(ProtocolId.NODES, NodeCommand.LIST_END, len(here).to_bytes(2, "big"))

    def _allow(self, frame: UsiFrame) -> None:
        node = self._net.named(frame.data.hex())
        if node is not None:
            self._net.allow(node, frame.command == NodeCommand.ALLOW)

    def _send(self, frame: UsiFrame) -> None:
        handle, address = frame.data[0], int.from_bytes(frame.data[1:3], "big")
        node = self._net.at(address)
        self._tell(ProtocolId.DATA, DataCommand.SENT, bytes((handle, 0 if node else 1)))
        if node is None or self._net.lost():
            return
        message = self._pieces.add(str(address), frame.data[3:], time.monotonic())
        if message is not None:
            self._net.to_meter(node, message)

    def _send_all(self, frame: UsiFrame) -> None:
        self._tell(ProtocolId.DATA, DataCommand.SENT, bytes((frame.data[0], 0)))
        message = self._pieces.add("all", frame.data[1:], time.monotonic())
        if message is not None:
            self._net.broadcasts.append(message)


_FRAMED: dict[tuple[int, int], Callable[[FramedSide, UsiFrame], None]] = {
    (ProtocolId.STATUS, StatusCommand.ASK): FramedSide._asked,
    (ProtocolId.NODES, NodeCommand.LIST): FramedSide._list,
    (ProtocolId.NODES, NodeCommand.ALLOW): FramedSide._allow,
    (ProtocolId.NODES, NodeCommand.FORGET): FramedSide._allow,
    (ProtocolId.DATA, DataCommand.SEND): FramedSide._send,
    (ProtocolId.DATA, DataCommand.SEND_ALL): FramedSide._send_all,
}


class AtSide:
    """Connected to one node at a time; what happens meanwhile is told by the next list only."""

    def __init__(self, coordinator: SimCoordinator, factory_guard_s: float = FACTORY_GUARD_S) -> None:
        self._net = coordinator
        self._factory_guard_s = self._guard_s = factory_guard_s
        self._addressed: SimNode | None = None
        self._online = False
        self._line = b""
        self._heard_s = 0.0
        self._escapes = 0

    def hear(self, octets: bytes) -> None:
        now_s = time.monotonic()
        quiet_s, self._heard_s = now_s - self._heard_s, now_s
        self._escapes += 1
        if self._online and octets == ESCAPE and quiet_s >= 0.9 * self._guard_s:
            number = self._escapes
            self._net.loop.after(self._guard_s, lambda: self._escape(number))
        elif self._online:
            if self._addressed is not None and self._addressed.here:
                self._net.to_meter(self._addressed, octets)
        else:
            self._commands(octets)

    def appeared(self, node: SimNode, rerouted: bool) -> None:
        if not self._online:
            self._say(f"+JOIN:{_row(node)}")

    def vanished(self, node: SimNode) -> None:
        if not self._online:
            self._say(f"+LEAVE:{node.node}")

    def asks(self, node: SimNode) -> None:
        if not self._online:
            self._say(f"+WAIT:{node.node}")

    def deliver(self, node: SimNode, message: bytes) -> None:
        if self._online and node is self._addressed:
            self._net.write(message)

    def restarted(self) -> None:
        self._online, self._addressed, self._guard_s, self._line = False, None, self._factory_guard_s, b""

    def _escape(self, number: int) -> None:
        if number == self._escapes:
            self._online = False
            self._say("OK")

    def _say(self, text: str) -> None:
        self._net.write(text.encode() + b"\r\n")

    def _commands(self, octets: bytes) -> None:
        *lines, self._line = (self._line + octets).split(b"\r")
        for line in lines:
            text = line.decode("ascii", "replace").strip()
            word, _, value = text.partition("=")
            react = _AT.get(word)
            self._say(react(self, value) if react else "ERROR")

    def _attention(self, value: str) -> str:
        return "OK"

    def _guard(self, value: str) -> str:
        self._guard_s = int(value) / 50 if value.isdecimal() else self._guard_s
        return "OK" if value.isdecimal() else "ERROR"

    def _info(self, value: str) -> str:
        self._say(f"+INFO:{self._net.mtu}")
        return "OK"

    def _nodes(self, value: str) -> str:
        for node in self._net.nodes.values():
            if node.here:
                self._say(f"+NODE:{_row(node)}" if node.allowed else f"+WAIT:{node.node}")
        return "OK"

    def _allow(self, value: str, allowed: bool = True) -> str:
        node = self._net.named(value)
        if node is None:
            return "ERROR"
        self._net.allow(node, allowed)
        return "OK"

    def _forget(self, value: str) -> str:
        return self._allow(value, False)

    def _address(self, value: str) -> str:
        self._addressed = self._net.at(int(value)) if value.isdecimal() else None
        return "OK" if self._addressed else "ERROR"

    def _connect(self, value: str) -> str:
        self._online = self._addressed is not None and self._addressed.here
        return "CONNECT" if self._online else "NO CARRIER"


def _row(node: SimNode) -> str:
    return f"{node.node},{node.address},{node.parent},{node.hops},{node.quality}"


_AT: dict[str, Callable[[AtSide, str], str]] = {
    "AT": AtSide._attention,
    "ATS12": AtSide._guard,
    "AT+INFO": AtSide._info,
    "AT+NODES": AtSide._nodes,
    "AT+ALLOW": AtSide._allow,
    "AT+FORGET": AtSide._forget,
    "AT+DST": AtSide._address,
    "ATO": AtSide._connect,
}
