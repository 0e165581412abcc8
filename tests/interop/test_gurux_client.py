"""A foreign client (gurux-dlms, GPL, in its own process) on our simulated meter: framings, logins, ciphers, long values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit, WrapperSlave
from gridtally_edge.simulators.house import HouseMeter
from gridtally_shared.clock import ManualClock
from interop.peers import Peer, needs_gurux, on_tcp, on_udp
from support.dlms_wire import PASSWORD, START_MS, house

QUARTER_MS = 900_000
FIRST_MS = (START_MS // QUARTER_MS - 40) * QUARTER_MS
LAST_MS = START_MS // QUARTER_MS * QUARTER_MS
SECRET = b"0123456789ABCDEF"
MECHANISMS = {
    "high": Mechanism.HLS,
    "md5": Mechanism.HLS_MD5,
    "sha1": Mechanism.HLS_SHA1,
    "gmac": Mechanism.HLS_GMAC,
    "sha256": Mechanism.HLS_SHA256,
}
KEYS = MeterKeys(b"GTY00017")
KEYS_32 = MeterKeys(b"GTY00017", bytes(range(32)), bytes(range(0xC0, 0xE0)), bytes(32), bytes(32), suite=2)
FORMS: dict[str, dict[str, Any]] = {"global": {}, "dedicated": {"dedicated": bytes(range(40, 56)).hex()}, "general": {"general": True}}
SECURITY = {"auth": 0x10, "enc": 0x20, "both": 0x30}


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    needs_gurux()
    peer = Peer("gurux_client.py")
    yield peer
    peer.close()


@pytest.fixture
def meter() -> HouseMeter:
    return house("GT0017", ManualClock(START_MS))


@dataclass
class Bench:
    """One simulated meter and the foreign client."""

    peer: Peer
    meter: HouseMeter
    framing: str = "hdlc"
    udp: bool = False

    def does(self, *steps: list[Any], unit: dict[str, Any] | None = None, **job: Any) -> Any:
        """What the client saw in these steps."""
        answer = self.tries(*steps, unit=unit, **job)
        assert "seen" in answer, answer
        return answer["seen"]

    def tries(self, *steps: list[Any], unit: dict[str, Any] | None = None, **job: Any) -> Any:
        made = DlmsUnit(self.meter, 17, **(unit or {}))
        slave = DlmsSlave([made]) if self.framing == "hdlc" else WrapperSlave(made)
        with (on_udp if self.udp else on_tcp)(slave) as port:
            fixed = {"port": port, "framing": self.framing, "physical": 17, "udp": self.udp, "steps": steps}
            return self.peer.ask({"secret": PASSWORD.encode().hex(), **job, **fixed})


@pytest.fixture(params=["hdlc", "wrapper", "udp"])
def bench(request: pytest.FixtureRequest, peer: Peer, meter: HouseMeter) -> Bench:
    return Bench(peer, meter, "hdlc" if request.param == "hdlc" else "wrapper", request.param == "udp")


@pytest.fixture(params=["hdlc", "wrapper"])
def two(request: pytest.FixtureRequest, peer: Peer, meter: HouseMeter) -> Bench:
    return Bench(peer, meter, request.param)


@pytest.fixture
def hdlc(peer: Peer, meter: HouseMeter) -> Bench:
    return Bench(peer, meter)


@pytest.fixture
def wrapped(peer: Peer, meter: HouseMeter) -> Bench:
    return Bench(peer, meter, "wrapper")


def moments() -> list[str]:
    return [datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat() for at_ms in (FIRST_MS, LAST_MS)]


def ciphered(keys: MeterKeys = KEYS, **job: Any) -> dict[str, Any]:
    return {"key": keys.unicast.hex(), "auth_key": keys.authentication.hex(), "suite": keys.suite, "security": "both", **job}


def test_a_foreign_client_reads_and_switches_the_simulated_meter(bench: Bench) -> None:
    energy_wh = bench.meter.snapshot().energy_import_wh
    rows = bench.meter.profile(FIRST_MS, LAST_MS)
    seen = bench.does(
        ["serial"], ["clock"], ["energy"], ["objects"], ["columns"], ["several"], ["by_range", *moments()], ["by_entry", 1, 3],
        ["disconnect"], unit={"max_pdu": 300}, release=True,
    )  # fmt: skip
    assert seen["serial"] == "GT0017"
    assert seen["clock"] * 1_000 == START_MS
    assert seen["energy"] == energy_wh
    assert seen["columns"][0] == "0.0.1.0.0.255"
    assert [7, "1.0.99.1.0.255"] in seen["objects"]
    assert [70, "0.0.96.3.10.255"] in seen["objects"]
    assert seen["several"] == ["GT0017", energy_wh, START_MS / 1_000]
    assert [row[2] for row in seen["by_range"]] == [str(row.import_wh) for row in rows]
    assert len(seen["by_entry"]) == 3
    assert seen["disconnect"] is False
    assert bench.meter.switch() is SwitchState.OPEN


def test_a_foreign_client_reconnects(two: Bench) -> None:
    assert two.does(["disconnect"], ["reconnect"]) == {"disconnect": False, "reconnect": True, "pushes": 0}
    assert two.meter.switch() is SwitchState.CLOSED


@pytest.mark.parametrize("mechanism", list(MECHANISMS))
def test_high_level_security(two: Bench, mechanism: str) -> None:
    access = MeterAccess(mechanism=MECHANISMS[mechanism], secret=SECRET, keys=KEYS)
    job = ciphered(security="auth" if mechanism == "gmac" else "none", auth=mechanism, secret=SECRET.hex())
    assert two.does(["serial"], unit={"access": access}, **job)["serial"] == "GT0017"


def test_a_wrong_secret_is_refused(two: Bench) -> None:
    access = MeterAccess(mechanism=Mechanism.HLS, secret=SECRET)
    assert "error" in two.tries(["serial"], unit={"access": access}, auth="high", secret=b"0123456789ABCDEG".hex())


@pytest.mark.parametrize("security", list(SECURITY))
@pytest.mark.parametrize("form", list(FORMS))
def test_ciphered_reads_of_a_long_profile(two: Bench, security: str, form: str) -> None:
    access = MeterAccess(mechanism=Mechanism.LLS, keys=KEYS)
    job = ciphered(security=security, **FORMS[form])
    seen = two.does(["serial"], ["by_range", *moments()], unit={"access": access, "max_pdu": 300}, **job)
    assert seen["serial"] == "GT0017"
    assert [row[2] for row in seen["by_range"]] == [str(row.import_wh) for row in two.meter.profile(FIRST_MS, LAST_MS)]


@pytest.mark.parametrize("keys", [KEYS, KEYS_32], ids=["suite 0", "suite 2"])
def test_gmac_with_ciphering(two: Bench, keys: MeterKeys) -> None:
    access = MeterAccess(mechanism=Mechanism.HLS_GMAC, keys=keys, ciphered=True)
    seen = two.does(["serial"], ["disconnect"], ["several"], unit={"access": access}, auth="gmac", **ciphered(keys))
    assert (seen["serial"], seen["disconnect"]) == ("GT0017", False)


def test_a_replayed_counter_is_refused_with_the_one_expected(two: Bench) -> None:
    unit = {"access": MeterAccess(keys=KEYS, ciphered=True)}
    made = DlmsUnit(two.meter, 17, **unit)
    slave = DlmsSlave([made]) if two.framing == "hdlc" else WrapperSlave(made)
    job = {"framing": two.framing, "physical": 17, "secret": PASSWORD.encode().hex(), **ciphered()}
    with on_tcp(slave) as port:
        assert "seen" in two.peer.ask({**job, "port": port, "steps": [["serial"]], "counter": 500})
        again = two.peer.ask({**job, "port": port, "steps": [["serial"]], "counter": 500})
        public = {"framing": two.framing, "physical": 17, "port": port, "client": 16, "auth": "none"}
        shown = two.peer.ask({**public, "steps": [["counter", 2]]})
        after = two.peer.ask({**job, "port": port, "steps": [["serial"]], "counter": again["counter"]})
    assert (again["refused"], again["counter"]) == (6, shown["seen"]["counter"] + 1)
    assert after["seen"]["serial"] == "GT0017"


def test_clients_have_the_rights_of_the_standard(two: Bench) -> None:
    access = MeterAccess(Scheme.IS15959, Mechanism.HLS, PASSWORD.encode(), SECRET, True, KEYS)
    reader = ciphered(security="enc", client=32)
    settings = ciphered(client=48, auth="high", secret=SECRET.hex())
    unit = {"access": access}
    assert two.does(["serial"], ["by_entry", 1, 2], unit=unit, **reader)["serial"] == "GT0017"
    assert two.tries(["disconnect"], unit=unit, **reader)["error"].endswith("error 3")
    assert two.meter.switch() is SwitchState.CLOSED
    assert two.does(["disconnect"], unit=unit, **settings)["disconnect"] is False
    assert two.tries(["energy"], unit=unit, client=16, auth="none")["error"].endswith("error 3")
    assert two.does(["serial"], ["clock"], unit=unit, client=16, auth="none")["serial"] == "GT0017"
    assert "error" in two.tries(["serial"], unit=unit, client=64, auth="none")
    assert "error" in two.tries(["serial"], unit=unit, client=33)
    assert "error" in two.tries(["serial"], unit=unit, client=32), "plain associations are refused"


def test_firmware(two: Bench) -> None:
    content = bytes(n * 7 % 256 for n in range(1_000))
    seen = two.does(["image", "GT2.0", content.hex()])["image"]
    assert seen["blocks"] == "1" * 8
    assert (seen["verified"], seen["status"]) == (3, 6)
    assert seen["shown"] == [[1_000, "GT2.0", hashlib.sha256(content).hexdigest()]]


def test_a_key_transfer_takes_hold_after_its_answer(two: Bench) -> None:
    access = MeterAccess(keys=KEYS, ciphered=True)
    change = ["new_key", KEYS.master.hex(), bytes(range(60, 76)).hex()]
    seen = two.does(["serial"], change, ["energy"], unit={"access": access}, **ciphered())
    assert seen["energy"] == two.meter.snapshot().energy_import_wh


@pytest.mark.parametrize("size", [128, 2_030])
def test_frame_sizes(hdlc: Bench, size: int) -> None:
    """One frame at a time: the peer does not follow windows, though it offers them."""
    seen = hdlc.does(["whole"], ["echo", 3_000], unit={"frame_size": size, "max_pdu": 4_096}, frame_size=size)
    assert len(seen["whole"]) == len(hdlc.meter.profile(0, LAST_MS))
    assert seen["echo"] == bytes(n % 251 for n in range(3_000)).hex()


def test_long_values_both_ways(two: Bench) -> None:
    seen = two.does(["echo", 5_000], unit={"max_pdu": 400}, max_pdu=400)
    assert seen["echo"] == bytes(n % 251 for n in range(5_000)).hex()


def test_an_answer_with_octets_behind_it_is_read(two: Bench) -> None:
    slow = DlmsUnit(two.meter, 17).quirks
    slow.add(Quirk.TRAILING)
    assert two.does(["serial"], unit={"quirks": slow})["serial"] == "GT0017"
