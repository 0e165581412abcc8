"""Our client and driver read and switch a foreign simulated meter (pydlms, GPL, in its own process) over TCP.

GRIDTALLY_DLMS_PEER names a Python that has pydlms-client, where it is not installed beside gridtally.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import pytest

from gridtally_edge.drivers.dlms_table import columns_of, table_rows
from gridtally_edge.drivers.is15959 import CLOCK, DlmsPort, Is15959Settings
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import attribute, range_selector
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.client import PROPOSED, AccessDenied, DlmsClient, Login
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, datetime_octets
from gridtally_edge.protocols.dlms.hdlc import Address
from gridtally_edge.protocols.dlms.initiate import Conformance
from gridtally_edge.protocols.dlms.link import HdlcLink, WrapperLink
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.scaling import scaler_unit_of
from support.waiting import wait_until

T = TypeVar("T")
PYTHON = os.environ.get("GRIDTALLY_DLMS_PEER", sys.executable)
PASSWORD = "12345678"
UTC = ClockRule()
GENERAL = PROPOSED | Conformance.GENERAL_BLOCK_TRANSFER


@dataclass(slots=True)
class Peer:
    """A connection to the foreign meter."""

    connection: socket.socket

    def run(self, conversation: Conversation[T]) -> T:
        try:
            exchange = next(conversation)
            while True:
                self.connection.sendall(exchange.request)
                received = b""
                while (found := exchange.find_answer(received)) is None:
                    piece = self.connection.recv(4096)
                    assert piece, "the foreign meter closed the line"
                    received += piece
                exchange = conversation.send(received[found.start : found.end])
        except StopIteration as end:
            return end.value


def _peer(*options: str) -> Iterator[Peer]:
    probe = subprocess.run([PYTHON, "-c", "import pydlms.simulator"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("the foreign meter is not installed: pip install pydlms-client, or name its Python in GRIDTALLY_DLMS_PEER")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "pydlms.simulator", "--port", str(port), "--client", f"32:1:{PASSWORD}", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), 20)
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            yield Peer(connection)
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def hdlc_peer() -> Iterator[Peer]:
    yield from _peer("--hdlc")


@pytest.fixture
def window_peer() -> Iterator[Peer]:
    yield from _peer("--hdlc", "--hdlc-window", "7")


@pytest.fixture
def wrapper_peer() -> Iterator[Peer]:
    yield from _peer()


def _read_all(client: DlmsClient) -> Conversation[tuple[int, int, int, int]]:
    """Scaler and value of the register, rows of the whole profile, rows of one hour of it."""
    yield from client.open()
    scaling = scaler_unit_of((yield from client.get(attribute(3, "1.0.1.8.0.255", 3))))
    energy = axdr.integer_of((yield from client.get(attribute(3, "1.0.1.8.0.255", 2))))
    columns = columns_of((yield from client.get(attribute(7, "1.0.99.1.0.255", 3))))
    whole = yield from client.get(attribute(7, "1.0.99.1.0.255", 2))
    rows = list(table_rows(columns, whole, UTC, 900))
    first = rows[4].at_ms or 0
    moments = (axdr.octet_string(datetime_octets(at_ms, UTC)) for at_ms in (first, first + 3_600_000))
    hour = yield from client.get(attribute(7, "1.0.99.1.0.255", 2), range_selector(CLOCK, *moments))
    yield from client.close()
    return scaling.scaler, energy, len(rows), len(axdr.items_of(hour))


def test_a_foreign_meter_over_hdlc_in_segments_and_blocks(hdlc_peer: Peer) -> None:
    client = DlmsClient(HdlcLink(Address(32), Address(1, 17, 2)), Login(Mechanism.LLS, PASSWORD.encode()), 1_000)
    assert hdlc_peer.run(_read_all(client)) == (0, 12_345_678, 96, 5)


def test_a_foreign_meter_over_the_wrapper(wrapper_peer: Peer) -> None:
    client = DlmsClient(WrapperLink(32, 1), Login(Mechanism.LLS, PASSWORD.encode()), 1_000)
    assert wrapper_peer.run(_read_all(client)) == (0, 12_345_678, 96, 5)


def test_a_foreign_meter_over_hdlc_in_windows(window_peer: Peer) -> None:
    link = HdlcLink(Address(32), Address(1, 17, 2), LinkParameters(128, 128, 7, 7))
    assert window_peer.run(_read_all(DlmsClient(link, Login(Mechanism.LLS, PASSWORD.encode()), 2_000))) == (0, 12_345_678, 96, 5)


def test_a_foreign_meter_by_general_block_transfer(hdlc_peer: Peer) -> None:
    client = DlmsClient(HdlcLink(Address(32), Address(1, 17, 2)), Login(Mechanism.LLS, PASSWORD.encode()), 300, proposed=GENERAL)
    assert hdlc_peer.run(_read_all(client)) == (0, 12_345_678, 96, 5)


def test_a_foreign_meter_takes_a_long_value_by_general_block_transfer(wrapper_peer: Peer) -> None:
    client = DlmsClient(WrapperLink(32, 1), Login(Mechanism.LLS, PASSWORD.encode()), 300, proposed=GENERAL)
    long, target = axdr.octet_string(bytes(n % 251 for n in range(4_000))), attribute(1, "0.0.96.1.0.255", 2)

    def there_and_back() -> Conversation[axdr.Data]:
        yield from client.open()
        yield from client.set(target, long)
        value = yield from client.get(target)
        yield from client.close()
        return value

    assert wrapper_peer.run(there_and_back()) == long


def test_the_driver_reads_and_opens_a_foreign_switch(hdlc_peer: Peer) -> None:
    port = DlmsPort(Is15959Settings(17, password=PASSWORD, utc_offset_min=0))
    hdlc_peer.run(port.open())
    assert hdlc_peer.run(port.read_serial())
    assert hdlc_peer.run(port.read_clock()) > 1_700_000_000_000
    assert hdlc_peer.run(port.read_switch()) is SwitchState.CLOSED
    hdlc_peer.run(port.open_switch())
    assert hdlc_peer.run(port.read_switch()) is SwitchState.OPEN
    with pytest.raises(AccessDenied):
        hdlc_peer.run(port.read_instant(lambda: 0))
    hdlc_peer.run(port.close())
