"""A coordinator on a pty with a network of meters behind it: nodes join, leave and come back with another address, routes
change, far nodes are slow, pieces get lost.

* `side` is how it speaks to its host: `FramedSide` or `AtSide`, the far ends of modem_framed.py and modem_at.py.
* A node's slave gets whole messages and gives whole messages: HDLC frames, wrapper PDUs, or the LLC of 4-32 (`LlcSlave`).
* `loss_percent` of all pieces is lost each way; `hop_ms` is taken by each hop and way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from gridtally_edge.protocols.dlms.llc432 import LlcPdu, decode_llc
from gridtally_edge.simulators.dlms_server import CosemServer
from gridtally_edge.simulators.dlms_slave import DlmsUnit, SimulatedMeter, simulated
from gridtally_edge.simulators.faults import FaultBoard
from gridtally_edge.simulators.mesh import MeshHabits, Slave
from gridtally_edge.simulators.ports import SimPort
from gridtally_edge.transports.ip_loop import SelectorLoop
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass


@dataclass(slots=True)
class SimNode:
    """`node` is an EUI-64 as 16 hex digits; `parent` an address, 0 the coordinator itself."""

    node: str
    serial: str
    slave: Slave
    address: int
    parent: int = 0
    hops: int = 1
    quality: int = 200
    here: bool = True
    allowed: bool = True


class Side(Protocol):
    """The modem's half of a serial interface. `hear` takes the host's octets."""

    def hear(self, octets: bytes) -> None: ...

    def appeared(self, node: SimNode, rerouted: bool) -> None: ...

    def vanished(self, node: SimNode) -> None: ...

    def asks(self, node: SimNode) -> None: ...

    def deliver(self, node: SimNode, message: bytes) -> None: ...

    def restarted(self) -> None: ...


class LlcSlave:
    """One meter behind the LLC of IEC 61334-4-32: one association for each client LSAP."""

    def __init__(self, unit: DlmsUnit | SimulatedMeter) -> None:
        self._meter = simulated(unit)
        self._logical = self._meter.unit.logical
        self._servers: dict[int, CosemServer] = {}

    def receive(self, octets: bytes) -> bytes:
        try:
            pdu = decode_llc(octets)
        except MeterFault:
            return b""
        if pdu.destination != self._logical:
            return b""
        if pdu.source not in self._servers:
            self._servers[pdu.source] = CosemServer(self._meter.device)
            self._servers[pdu.source].start(pdu.source)
        answers = self._servers[pdu.source].handle(pdu.apdu)
        return LlcPdu(pdu.source, self._logical, answers[0]).octets() if answers else b""

    def forget(self) -> None:
        self._servers.clear()


class SimCoordinator:
    """Start it, and the port's `address()` can be opened as `modem://...`. All methods may be called from any thread."""

    def __init__(
        self, name: str, port: SimPort, nodes: Sequence[SimNode], side: Callable[[SimCoordinator], Side],
        habits: MeshHabits | None = None, mtu: int = 120, seed: int = 1,
    ) -> None:  # fmt: skip
        self.name, self.port, self.mtu = name, port, mtu
        self.habits = habits or MeshHabits()
        self.faults = FaultBoard()
        self.nodes = {node.serial: node for node in nodes}
        self.broadcasts: list[bytes] = []
        self.pieces_lost = 0
        self.loop = SelectorLoop(f"simulated {name}")
        self._random = random.Random(seed)
        self._side = side(self)

    def start(self) -> None:
        self.loop.acquire()
        self.loop.run(self._plug)

    def close(self, within_s: float = 5.0) -> None:
        self.loop.run(self._unplug, within_s)
        self.loop.release(within_s)

    def unplug(self, within_s: float = 5.0) -> None:
        self.loop.run(self._unplug, within_s)

    def plug(self, within_s: float = 5.0) -> None:
        self.loop.run(self._plug, within_s)

    def address(self) -> str:
        return f"modem://{self.port.address()}"

    def leave(self, serial: str) -> None:
        """The node is gone, and the coordinator says so."""
        self.loop.run(lambda: self._leave(self.nodes[serial]))

    def join(self, serial: str, address: int | None = None) -> None:
        """The node is there (again), at a new address if given."""
        self.loop.run(lambda: self._join(self.nodes[serial], address))

    def route(self, serial: str, parent: int, hops: int) -> None:
        self.loop.run(lambda: self._route(self.nodes[serial], parent, hops))

    def restart(self) -> None:
        """As after a power cut of the modem."""
        self.loop.run(self._side.restarted)

    def push(self, serial: str, message: bytes) -> None:
        """What a meter says unasked."""
        self.loop.run(lambda: self._side.deliver(self.nodes[serial], message))

    # ---- for the side, on the loop's thread ------------------------------------------------------------------------

    def write(self, octets: bytes) -> None:
        self.port.send(octets)

    def at(self, address: int) -> SimNode | None:
        return next((n for n in self.nodes.values() if n.address == address and n.here and n.allowed), None)

    def named(self, name: str) -> SimNode | None:
        return next((n for n in self.nodes.values() if n.node == name), None)

    def lost(self) -> bool:
        lost = self._random.uniform(0, 100) < self.habits.loss_percent
        self.pieces_lost += lost
        return lost

    def to_meter(self, node: SimNode, message: bytes) -> None:
        """A whole message for the meter; its answer comes when the hops and the faults let it."""
        hops_s = node.hops * self.habits.hop_ms / 1_000

        def arrive() -> None:
            octets = node.slave.receive(message)
            wait_s = hops_s
            for piece in self.faults.shape(node.serial, octets) if octets else ():
                wait_s += piece.wait_ms / 1_000
                self.loop.after(wait_s, self._delivery(node, piece.data))

        self.loop.after(hops_s, arrive)

    def allow(self, node: SimNode, allowed: bool) -> None:
        was, node.allowed = node.allowed, allowed
        if allowed and not was and node.here:
            self._side.appeared(node, rerouted=False)
        if was and not allowed:
            self._side.vanished(node)

    def _delivery(self, node: SimNode, data: bytes) -> Callable[[], None]:
        def deliver() -> None:
            if node.here and node.allowed:
                self._side.deliver(node, data)

        return deliver

    def _leave(self, node: SimNode) -> None:
        node.here = False
        node.slave.forget()
        self._side.vanished(node)

    def _join(self, node: SimNode, address: int | None) -> None:
        node.here, node.address = True, address or node.address
        if node.allowed:
            self._side.appeared(node, rerouted=False)
        else:
            self._side.asks(node)

    def _route(self, node: SimNode, parent: int, hops: int) -> None:
        node.parent, node.hops = parent, hops
        self._side.appeared(node, rerouted=True)

    def _plug(self) -> None:
        self.port.plug()
        for descriptor in self.port.descriptors():
            self.loop.watch(descriptor, self._hear)

    def _hear(self) -> None:
        for descriptor in self.port.descriptors():
            self._side.hear(self.port.receive(descriptor))

    def _unplug(self) -> None:
        for descriptor in self.port.descriptors():
            self.loop.unwatch(descriptor)
        self.port.unplug()
