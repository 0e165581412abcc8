"""Real simulated meters on a simulated mesh, and DLMS clients that read them over an `IpLine`."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.client import DlmsClient, Login
from gridtally_edge.protocols.dlms.hdlc import Address
from gridtally_edge.protocols.dlms.link import HdlcLink, Timing, WrapperLink
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit, WrapperSlave
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.mesh import MeshHabits, MeshMeter, SimMesh
from gridtally_shared.clock import ManualClock

START_MS = 1_790_000_000_000
SERIAL = attribute(1, "0.0.96.1.0.255", 2)
PASSWORD = b"ABCD0001"


def login() -> Login:
    return Login(Mechanism.LLS, PASSWORD)


def wrapped(datagrams: bool, answer_ms: int = 400, retries: int = 3) -> DlmsClient:
    return DlmsClient(WrapperLink(32, 1, Timing(answer_ms, retries), datagrams), login(), 1024)


def framed(physical: int = 17, answer_ms: int = 400) -> DlmsClient:
    return DlmsClient(HdlcLink(Address(32), Address(1, physical, 2), timing=Timing(answer_ms, 3)), login(), 1024)


def read_serial(client: DlmsClient) -> Conversation[str]:
    yield from client.open()
    text = axdr.text_of((yield from client.get(SERIAL)))
    yield from client.close()
    return text


@contextlib.contextmanager
def mesh_of(folder: Path, count: int, habits: MeshHabits | None = None, host: str = "::1", hdlc: bool = False) -> Iterator[SimMesh]:
    """Meters 30000001, 30000002 ... on their own ports."""
    clock = ManualClock(START_MS)
    with contextlib.ExitStack() as stack:
        meters = []
        for number in range(1, count + 1):
            serial = str(30_000_000 + number)
            house = HouseMeter(HouseSettings(serial=serial, seed=number), clock, folder / f"{serial}.log")
            stack.callback(house.close)
            unit = DlmsUnit(house, 17, password=PASSWORD)
            meters.append(MeshMeter(serial, DlmsSlave([unit]) if hdlc else WrapperSlave(unit)))
        mesh = SimMesh("mesh", meters, habits, host)
        mesh.start()
        stack.callback(mesh.close)
        yield mesh


@dataclass
class Peer:
    """A UDP socket that does with each datagram what a test says: `react(number, data)` gives the answers."""

    react: Callable[[int, bytes], list[bytes]]
    host: str = "127.0.0.1"
    heard: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((self.host, 0))
        self.port: int = self.socket.getsockname()[1]
        self.asker: Any = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            data, self.asker = self.socket.recvfrom(4_096)
            if self._closing:
                return
            self.heard.append(data)
            for answer in self.react(len(self.heard), data):
                self.socket.sendto(answer, self.asker)

    def close(self) -> None:
        self._closing = True
        with contextlib.closing(socket.socket(self.socket.family, socket.SOCK_DGRAM)) as waker:
            waker.sendto(b"", self.socket.getsockname())
        self._thread.join(5)
        self.socket.close()


def any_answer(received: bytes) -> Found | None:
    return Found(0, len(received)) if received else None


def ask(request: bytes, timeout_ms: int = 200, retries: int = 2, **more: Any) -> Conversation[bytes]:
    return (yield Exchange(request, more.pop("find", any_answer), None, timeout_ms, retries, **more))
