"""Our client on a real line reads, switches and loads a foreign meter (gurux-dlms, GPL, in its own process)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from gridtally_edge.drivers.dlms_table import columns_of, table_rows
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import attribute, entry_selector, range_selector
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.ciphering import CipherKeys
from gridtally_edge.protocols.dlms.client import DlmsClient, Login
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, datetime_octets
from gridtally_edge.protocols.dlms.counters import MemoryCounters
from gridtally_edge.protocols.dlms.hdlc import Address
from gridtally_edge.protocols.dlms.hdlc_link import HdlcLink
from gridtally_edge.protocols.dlms.image import Image, ImageStatus, ImageTransfer
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.object_list import read_objects
from gridtally_edge.protocols.dlms.scaling import scaler_unit_of
from gridtally_edge.protocols.dlms.security import Form, Policy, Security
from gridtally_edge.protocols.dlms.timing import Timing
from gridtally_edge.protocols.dlms.wrapper_link import WrapperLink
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.tcp_line import TcpLine
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from interop.peers import Peer, needs_gurux

T = TypeVar("T")
PASSWORD, SECRET = b"12345678", b"0123456789ABCDEF"
TITLE, METER_TITLE = b"GRT12345", b"GURUX017"
START_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1_000
QUARTER_MS = 900_000
ROWS = 400
UTC_CLOCK = ClockRule()
CLOCK = attribute(8, "0.0.1.0.0.255", 2)
PROFILE = "1.0.99.1.0.255"
KEY, AUTH_KEY = bytes(range(16)), bytes(range(0xD0, 0xE0))
KEY_32, AUTH_KEY_32 = bytes(range(32)), bytes(range(0xC0, 0xE0))
MECHANISMS = {
    "high": Mechanism.HLS,
    "md5": Mechanism.HLS_MD5,
    "sha1": Mechanism.HLS_SHA1,
    "gmac": Mechanism.HLS_GMAC,
    "sha256": Mechanism.HLS_SHA256,
}


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    needs_gurux()
    peer = Peer("gurux_server.py")
    yield peer
    peer.close()


class Bench:
    """A foreign meter and our line to it."""

    def __init__(self, peer: Peer, framing: str) -> None:
        self.peer, self.framing = peer, framing
        self._line: TcpLine | None = None

    def meter(self, **job: Any) -> None:
        port = self.peer.ask({"framing": self.framing, "secret": PASSWORD.hex(), "title": METER_TITLE.hex(), **job})
        self._line = TcpLine(LineSettings("peer", f"tcp://127.0.0.1:{port}", Speed(0)))
        self._line.start()

    def link(self, size: int = 128) -> HdlcLink | WrapperLink:
        timing = Timing(5_000, 0)
        if self.framing == "wrapper":
            return WrapperLink(32, 1, timing)
        return HdlcLink(Address(32), Address(1, 17, 2), LinkParameters(size, size), timing)

    def run(self, conversation: Conversation[T]) -> T:
        assert self._line
        return self._line.submit(conversation, Priority.ON_DEMAND, "meter").result(30)

    def close(self) -> None:
        if self._line:
            self._line.close()


@pytest.fixture(params=["hdlc", "wrapper"])
def bench(request: pytest.FixtureRequest, peer: Peer) -> Iterator[Bench]:
    bench = Bench(peer, request.param)
    yield bench
    bench.close()


LOW = Login(Mechanism.LLS, PASSWORD)


def security(policy: Policy, suite: int = 0, **more: Any) -> Security:
    keys = CipherKeys(KEY_32, AUTH_KEY_32) if suite == 2 else CipherKeys(KEY, AUTH_KEY)
    return Security(TITLE, keys, MemoryCounters(), policy, suite, **more)


def ciphered(suite: int = 0, level: str = "both") -> dict[str, Any]:
    keys = (KEY_32, AUTH_KEY_32) if suite == 2 else (KEY, AUTH_KEY)
    return {"key": keys[0].hex(), "auth_key": keys[1].hex(), "suite": suite, "security": level}


def serial(client: DlmsClient) -> Conversation[str]:
    yield from client.open()
    value = yield from client.get(attribute(1, "0.0.96.1.0.255", 2))
    yield from client.close()
    return axdr.octets_of(value).decode()


def everything(client: DlmsClient) -> Conversation[dict[str, Any]]:
    """What an installer looks at: objects, register, profile whole, by range and by entries."""
    yield from client.open()
    seen: dict[str, Any] = {"objects": {(o.class_id, o.obis) for o in (yield from read_objects(client))}}
    scaling = scaler_unit_of((yield from client.get(attribute(3, "1.0.1.8.0.255", 3))))
    seen["energy"] = axdr.integer_of((yield from client.get(attribute(3, "1.0.1.8.0.255", 2)))) * 10**scaling.scaler
    columns = columns_of((yield from client.get(attribute(7, PROFILE, 3))))
    whole = yield from client.get(attribute(7, PROFILE, 2))
    seen["rows"] = [row.at_ms for row in table_rows(columns, whole, UTC_CLOCK, 900)]
    ends = (axdr.octet_string(datetime_octets(START_MS + n * QUARTER_MS, UTC_CLOCK)) for n in (10, 29))
    hours = yield from client.get(attribute(7, PROFILE, 2), range_selector(CLOCK, *ends))
    seen["range"] = [axdr.integer_of(axdr.items_of(row)[1]) for row in axdr.items_of(hours)]
    entries = yield from client.get(attribute(7, PROFILE, 2), entry_selector(3, 5))
    seen["entries"] = [axdr.integer_of(axdr.items_of(row)[1]) for row in axdr.items_of(entries)]
    yield from client.close()
    return seen


def check(seen: dict[str, Any]) -> None:
    assert (7, Obis.of(PROFILE)) in seen["objects"]
    assert seen["energy"] == 1_234_560
    assert seen["rows"] == [START_MS + n * QUARTER_MS for n in range(ROWS)]
    assert seen["range"] == list(range(10, 30))
    assert seen["entries"] == [2, 3, 4]


@pytest.mark.parametrize("size", [128, 2_030])
def test_a_foreign_meter_is_read(bench: Bench, size: int) -> None:
    bench.meter(frame_size=size, max_pdu=2_000 if size > 128 else 400)
    check(bench.run(everything(DlmsClient(bench.link(size), LOW))))


@pytest.mark.parametrize("mechanism", ["high", "md5", "sha1", "sha256", "gmac"])
def test_high_level_security(bench: Bench, mechanism: str) -> None:
    bench.meter(auth=mechanism, **{**ciphered(level="auth" if mechanism == "gmac" else "none"), "secret": SECRET.hex()})
    own = security(Policy.AUTHENTICATED if mechanism == "gmac" else Policy.NONE)
    assert bench.run(serial(DlmsClient(bench.link(), Login(MECHANISMS[mechanism], SECRET), security=own))) == "GURUX17"


def test_a_foreign_meter_refuses_a_wrong_password(bench: Bench) -> None:
    bench.meter()
    with pytest.raises(MeterFault, match="refuses"):
        bench.run(serial(DlmsClient(bench.link(), Login(Mechanism.LLS, b"87654321"))))


@pytest.mark.parametrize("suite", [0, 2])
def test_gmac_with_ciphering(bench: Bench, suite: int) -> None:
    bench.meter(auth="gmac", **ciphered(suite))
    check(bench.run(everything(DlmsClient(bench.link(), Login(Mechanism.HLS_GMAC), security=security(Policy.BOTH, suite)))))


@pytest.mark.parametrize("level", ["auth", "enc", "both"])
def test_ciphered_reads(bench: Bench, level: str) -> None:
    bench.meter(**ciphered(level=level))
    policy = {"auth": Policy.AUTHENTICATED, "enc": Policy.ENCRYPTED, "both": Policy.BOTH}[level]
    check(bench.run(everything(DlmsClient(bench.link(), LOW, security=security(policy)))))


def test_a_foreign_switch_opens_and_closes(bench: Bench) -> None:
    def turn(client: DlmsClient) -> Conversation[list[bool]]:
        yield from client.open()
        seen = []
        for method in (1, 2):
            yield from client.act(attribute(70, "0.0.96.3.10.255", method), Data(Tag.INT8, 0))
            seen.append(bool((yield from client.get(attribute(70, "0.0.96.3.10.255", 2))).value))
        yield from client.close()
        return seen

    bench.meter(auth="gmac", **ciphered())
    assert bench.run(turn(DlmsClient(bench.link(), Login(Mechanism.HLS_GMAC), security=security(Policy.BOTH)))) == [False, True]


def test_firmware_goes_into_a_foreign_meter(bench: Bench) -> None:
    image = Image(b"GT2.0", bytes(n * 7 % 256 for n in range(1_000)))

    def load(client: DlmsClient) -> Conversation[tuple[int, ImageStatus, ImageStatus]]:
        yield from client.open()
        transfer = ImageTransfer(client)
        sent = yield from transfer.send(image)
        verified = yield from transfer.verify()
        activated = yield from transfer.activate()
        yield from client.close()
        return sent, verified, activated

    bench.meter()
    assert bench.run(load(DlmsClient(bench.link(), LOW))) == (16, ImageStatus.VERIFIED, ImageStatus.ACTIVATED)
    assert bench.peer.ask({"state": True})["image"] == image.content.hex()


def test_a_long_value_is_written_in_blocks(bench: Bench) -> None:
    octets = bytes(n % 251 for n in range(3_000))

    def echo(client: DlmsClient) -> Conversation[bytes]:
        yield from client.open()
        yield from client.set(attribute(1, "0.0.128.0.0.255", 2), axdr.octet_string(octets))
        value = yield from client.get(attribute(1, "0.0.128.0.0.255", 2))
        yield from client.close()
        return axdr.octets_of(value)

    bench.meter()
    assert bench.run(echo(DlmsClient(bench.link(), LOW))) == octets


def test_several_values_in_one_request(bench: Bench) -> None:
    targets = (attribute(1, "0.0.96.1.0.255", 2), attribute(3, "1.0.1.8.0.255", 2))

    def several(client: DlmsClient) -> Conversation[tuple[Any, ...]]:
        yield from client.open()
        values = yield from client.get_list(targets)
        yield from client.close()
        return values

    bench.meter()
    name, energy = bench.run(several(DlmsClient(bench.link(), LOW)))
    assert (axdr.octets_of(name), axdr.integer_of(energy)) == (b"GURUX17", 123_456)


@pytest.mark.parametrize("more", [{"form": Form.GENERAL}, {"dedicated": True}], ids=["general", "dedicated"])
def test_other_ways_of_ciphering(bench: Bench, more: dict[str, Any]) -> None:
    bench.meter(**ciphered())
    assert bench.run(serial(DlmsClient(bench.link(), LOW, security=security(Policy.BOTH, **more)))) == "GURUX17"
