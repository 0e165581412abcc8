"""A line whose meters are nodes of a mesh or powerline network, behind a coordinator on a serial port: `modem:///dev/...`.

* `codec` chooses how the modem speaks: modem_framed.py or modem_at.py. Each line has a thread of its own.
* A meter is named by its node's lasting identity; the table gives its address of the moment. A node that left or waits for
  permission is not spoken to; a conversation under way is cut off when its node leaves or gets another address.
* Right after the port was opened, conversations wait for the modem's list of nodes, `LIST_S` at most.
* Time-outs grow with the hops of the node's route. What changes in the network goes to the sink as `NodeChanged`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from gridtally_edge.transports.breaker import Event
from gridtally_edge.transports.heard import NodeChanged, Sink
from gridtally_edge.transports.ip_line import NetworkLine
from gridtally_edge.transports.ip_loop import SelectorLoop, Timer
from gridtally_edge.transports.ip_unasked import take_unasked
from gridtally_edge.transports.ip_way import Opened, Traveller, Unreached
from gridtally_edge.transports.modem_at import AtModem
from gridtally_edge.transports.modem_framed import FramedModem
from gridtally_edge.transports.modem_model import (
    CoordinatorModem,
    ModemEvent,
    ModemFailed,
    ModemReady,
    NodeAsks,
    NodeData,
    NodeGone,
    NodeHere,
    NodesListed,
    NotSent,
)
from gridtally_edge.transports.nodes import Node, NodeTable
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.serial_bus import SerialLink
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.contract.messages import NodeState
from gridtally_shared.errors import ConfigError, LinkDown

SCHEME = "modem://"
READ_BYTES = 4_096
LIST_S = 10.0
CODECS: dict[str, Callable[[LineSettings], CoordinatorModem]] = {
    "framed": lambda settings: FramedModem(settings.network.mtu),
    "at": lambda settings: AtModem(),
}


def serial_device(device: str) -> str:
    """The path in `modem:///dev/ttyUSB0`. Raises ConfigError."""
    path = device.removeprefix(SCHEME)
    if not device.startswith(SCHEME) or not path:
        raise ConfigError("line.device", device, f"write {SCHEME}/dev/serial/by-id/...")
    return path


class NodeWay:
    """To one node, wherever it is just now."""

    stream = False

    def __init__(self, medium: CoordinatorMedium, node: str) -> None:
        self.user: Traveller | None = None
        self._medium, self._node = medium, node

    @property
    def hops(self) -> int:
        known = self._medium.table.node(self._node)
        return known.hops if known else 0

    def open(self, done: Opened) -> None:
        try:
            self._medium.reachable(self._node)
        except Unreached as error:
            if self._medium.is_listing:
                return self._medium.when_listed(lambda: self.open(done))
            return done(error)
        done(None)

    def send(self, data: bytes) -> None:
        self._medium.send(self._node, data)

    def rest(self, in_doubt: bool) -> None:
        """The network keeps no connection."""


class CoordinatorMedium:
    """All nodes of one coordinator."""

    def __init__(self, settings: LineSettings, loop: SelectorLoop, line: CoordinatorLine, modem: CoordinatorModem) -> None:
        self.table = NodeTable(settings.name, open_to_all=not settings.network.white_list)
        self.modem = modem
        self._settings, self._loop, self._line = settings, loop, line
        self._device = serial_device(settings.device)
        self._port = SerialLink(LineSettings(settings.name, self._device, settings.speed))
        self._ways: dict[str, NodeWay] = {}
        self._descriptor = -1
        self._pending = b""
        self._timer: Timer | None = None
        self._list_timer: Timer | None = None
        self._waiting: list[Callable[[], None]] = []

    @property
    def is_listing(self) -> bool:
        """The port has just been opened, and the modem has not told yet who is there."""
        return self._list_timer is not None

    def when_listed(self, act: Callable[[], None]) -> None:
        self._waiting.append(act)

    @property
    def alone(self) -> bool:
        return self.modem.alone

    def open(self) -> None:
        self._port.open(self._settings.speed)
        self._descriptor = self._port.fileno()
        self._pending = b""
        self._loop.watch(self._descriptor, self._read)
        self._list_timer = self._loop.after(LIST_S, self._list_over)
        self.modem.begin(time.monotonic())
        self._push_out()

    def close(self) -> None:
        for timer in (self._timer, self._list_timer):
            if timer is not None:
                timer.cancel()
        self._list_timer = None
        self._waiting.clear()
        if self._descriptor >= 0:
            self._loop.unwatch(self._descriptor)
            self._descriptor = -1
            self._port.close()

    def way(self, place: Place) -> NodeWay:
        if not place.node:
            raise ConfigError("node", place.node, "write the node's lasting identity, as 'gridtally-dcu nodes list' shows it")
        if place.node not in self._ways:
            self._ways[place.node] = NodeWay(self, place.node)
        return self._ways[place.node]

    def reachable(self, name: str) -> Node:
        """Raises Unreached, saying what keeps the node away."""
        node = self.table.node(name)
        if node is None:
            raise Unreached(f"node {name} was never seen on line {self._settings.name}: check its power and identity")
        if node.state is NodeState.WAITING:
            raise Unreached(f"node {name} is not on the white list: 'gridtally-dcu nodes allow {self._settings.name}/{name}'")
        if node.state is NodeState.LEFT:
            raise Unreached(f"node {name} has left the network of line {self._settings.name}")
        return node

    def send(self, name: str, data: bytes) -> None:
        self.modem.send(self.reachable(name).address, data, time.monotonic())
        self._push_out()

    def send_to_all(self, payload: bytes) -> bool:
        sent = self.modem.send_to_all(payload)
        self._push_out()
        return sent

    def allow(self, names: frozenset[str]) -> None:
        changes, fresh, gone = self.table.allow(names)
        for name in fresh:
            self.modem.allow(name)
        for name in gone:
            self.modem.forget(name)
        self._report(changes)
        if self._descriptor >= 0:
            self._push_out()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            return self._lost(f"{self._device} went away ({error.strerror})")
        if not data:
            return self._lost(f"{self._device} was closed by the other end")
        self._happened(self.modem.receive(data, time.monotonic()))
        if self._descriptor >= 0:
            self._push_out()

    def _happened(self, events: Iterable[ModemEvent]) -> None:
        for event in events:
            _REACTIONS[type(event)](self, event)

    def _push_out(self) -> None:
        """Write what the modem wants, and come again when it asks for that."""
        output = self.modem.output(time.monotonic())
        self._pending += output.octets
        self._write()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if output.again_s is None else self._loop.after(output.again_s, self._again)

    def _again(self) -> None:
        if self._descriptor < 0:
            return
        self._happened(self.modem.overdue(time.monotonic()))
        if self._descriptor >= 0:
            self._push_out()

    def _write(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._descriptor, self._pending) :]
        except BlockingIOError:
            return self._loop.watch(self._descriptor, self._read, self._write)
        except OSError as error:
            why = f"{self._device} went away ({error.strerror})"
            return self._loop.call(lambda: self._lost(why))
        self._loop.watch(self._descriptor, self._read)

    def _lost(self, why: str) -> None:
        self._line.lost(LinkDown(why))

    # ---- what the modem tells --------------------------------------------------------------------------------------

    def _here(self, event: NodeHere) -> None:
        before = self.table.node(event.node)
        moved = before is not None and before.address not in ("", event.address)
        self._report(self.table.here(event, time.monotonic()))
        if moved:
            self._cut_off(event.node, "has another address now")

    def _gone(self, event: NodeGone) -> None:
        self._report(self.table.gone(event.node, time.monotonic()))

    def _asks(self, event: NodeAsks) -> None:
        if self.table.is_allowed(event.node):
            self.modem.allow(event.node)
        self._report(self.table.asks(event.node, time.monotonic()))

    def _listed(self, event: NodesListed) -> None:
        for node in self.table.nodes():
            if node.node not in event.nodes:
                self._report(self.table.gone(node.node, time.monotonic()))
        self._list_over()

    def _list_over(self) -> None:
        """Whoever was asked for before the list came may now be spoken to, or is told that the node is not there."""
        if self._list_timer is not None:
            self._list_timer.cancel()
            self._list_timer = None
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            act()

    def _data(self, event: NodeData) -> None:
        node = self.table.at(event.address)
        if node is None or node.state is not NodeState.JOINED:
            return self._line.stray(len(event.payload))
        self.table.seen(node.node, event.quality, time.monotonic())
        way = self._ways.get(node.node)
        if way is not None and way.user is not None:
            return way.user.heard(event.payload)
        pushes, rest = take_unasked(event.payload)
        for push in pushes:
            self._line.unasked(node.node, push, event.quality)
        self._line.stray(len(rest))

    def _not_sent(self, event: NotSent) -> None:
        node = self.table.at(event.address)
        if node is not None:
            self._cut_off(node.node, f"was not reached: {event.reason}")

    def _ready(self, event: ModemReady) -> None:
        self._line.modem_ready()

    def _failed(self, event: ModemFailed) -> None:
        self._lost(f"{self._device}: {event.reason}")

    def _report(self, changes: Iterable[NodeChanged]) -> None:
        for change in changes:
            self._line.changed(change)
            if change.state is NodeState.JOINED:
                self._line.forgive(change.node)
            if change.state is not NodeState.JOINED:
                self._cut_off(change.node, "has left the network" if change.state is NodeState.LEFT else "waits for permission")

    def _cut_off(self, name: str, why: str) -> None:
        way = self._ways.get(name)
        if way is not None and way.user is not None:
            way.user.cut_off(Unreached(f"node {name} {why}"))


class CoordinatorLine(NetworkLine):
    """Meters behind a coordinator."""

    def __init__(self, settings: LineSettings, sink: Sink, modem: CoordinatorModem | None = None) -> None:
        loop = SelectorLoop(f"line {settings.name}")
        super().__init__(settings, sink, loop)
        self._ready = threading.Event()
        self.medium = CoordinatorMedium(settings, loop, self, modem or CODECS[settings.network.codec](settings))
        self.join(self.medium)

    def place(self, meter_key: str, place: Place) -> None:
        self.medium.way(place)
        super().place(meter_key, place)

    def allow(self, nodes: Iterable[str]) -> None:
        """The whole white list of this line. From any thread."""
        names = frozenset(nodes)
        if self._running:
            self._loop.call(lambda: self.medium.allow(names))
        else:
            self.medium.allow(names)

    def remember(self, nodes: Iterable[Node]) -> None:
        """Who was there before a restart, so that only what has changed is reported. Before `start`."""
        self.medium.table.remember(nodes)

    def nodes(self) -> tuple[Node, ...]:
        return self.medium.table.nodes()

    def send_to_all(self, payload: bytes) -> bool:
        """A message without answer to every node (clock set, firmware blocks); False where the modem can not."""
        return self._loop.run(lambda: self.medium.send_to_all(payload)) if self._running else False

    def wait_ready(self, within_s: float) -> bool:
        """Whether the modem has answered by then (for a command that reads once)."""
        return self._ready.wait(within_s)

    def modem_ready(self) -> None:
        self._ready.set()

    def changed(self, change: NodeChanged) -> None:
        self._sink(change)

    def forgive(self, node: str) -> None:
        """It has joined or has another way: its meters may be asked at once, however silent they were."""
        for key in [key for key, place in self._places.items() if place.node == node and key in self._breakers]:
            self._note(key, Event.ANSWERED)


_REACTIONS: dict[type, Callable[[CoordinatorMedium, Any], None]] = {
    NodeHere: CoordinatorMedium._here,
    NodeGone: CoordinatorMedium._gone,
    NodeAsks: CoordinatorMedium._asks,
    NodesListed: CoordinatorMedium._listed,
    NodeData: CoordinatorMedium._data,
    NotSent: CoordinatorMedium._not_sent,
    ModemReady: CoordinatorMedium._ready,
    ModemFailed: CoordinatorMedium._failed,
}
