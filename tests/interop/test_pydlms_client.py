"""Another foreign client (pydlms, GPL, in its own process) on our simulated meter: windows, general block transfer, GMAC.

GRIDTALLY_DLMS_PEER names a Python that has pydlms-client, where it is not installed beside gridtally.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit, WrapperSlave
from gridtally_edge.simulators.house import HouseMeter
from gridtally_shared.clock import ManualClock
from interop.peers import Peer, on_tcp
from support.dlms_wire import PASSWORD, START_MS, house

PYTHON = os.environ.get("GRIDTALLY_DLMS_PEER", sys.executable)
VERIFIED = 3
KEYS = MeterKeys(b"GTY00017")


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    if subprocess.run([PYTHON, "-c", "import pydlms.client"], capture_output=True, check=False).returncode:
        pytest.skip("the foreign client is not installed: pip install pydlms-client, or name its Python in GRIDTALLY_DLMS_PEER")
    peer = Peer("pydlms_client.py", python=PYTHON)
    yield peer
    peer.close()


@pytest.fixture
def meter() -> HouseMeter:
    return house("GT0017", ManualClock(START_MS))


def seen(peer: Peer, meter: HouseMeter, framing: str, unit: dict[str, Any], *steps: list[Any], **job: Any) -> Any:
    made = DlmsUnit(meter, 17, **unit)
    with on_tcp(DlmsSlave([made]) if framing == "hdlc" else WrapperSlave(made)) as port:
        fixed = {"port": port, "framing": framing, "physical": 17, "steps": steps}
        answer = peer.ask({"secret": PASSWORD.encode().hex(), **job, **fixed})
    assert "seen" in answer, answer
    return answer["seen"]


@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("size", [128, 2_030])
def test_windows_and_frame_sizes(peer: Peer, meter: HouseMeter, window: int, size: int) -> None:
    unit = {"frame_size": size, "window": window, "max_pdu": 8_000}
    found = seen(peer, meter, "hdlc", unit, ["whole"], ["echo", 3_000], window=window, frame_size=size)
    assert found == {"whole": len(meter.profile(0, START_MS)), "echo": True}


def test_a_lost_frame_of_a_window_comes_again(peer: Peer, meter: HouseMeter) -> None:
    quirks = QuirkBoard()
    quirks.add(Quirk.LOSE_FRAME, 2)
    unit = {"window": 5, "frame_size": 128, "max_pdu": 4_000, "quirks": quirks}
    assert seen(peer, meter, "hdlc", unit, ["whole"], window=5, timeout=2.0)["whole"] == len(meter.profile(0, START_MS))
    assert quirks.listed() == ()


@pytest.mark.parametrize(("framing", "window"), [("hdlc", 1), ("wrapper", 1), ("wrapper", 5)])
def test_general_block_transfer(peer: Peer, meter: HouseMeter, framing: str, window: int) -> None:
    unit = {"max_pdu": 400, "block_transfer": True}
    # On HDLC the peer does not read the RR that answers each block of its own.
    both = [["whole"], ["echo", 3_000]] if framing == "wrapper" else [["whole"]]
    found = seen(peer, meter, framing, unit, *both, gbt_window=window, max_pdu=400)
    assert found["whole"] == len(meter.profile(0, START_MS))
    assert found.get("echo", True)


def test_a_lost_block_of_general_block_transfer_comes_again(peer: Peer, meter: HouseMeter) -> None:
    quirks = QuirkBoard()
    quirks.add(Quirk.LOSE_GENERAL_BLOCK, 1)
    unit = {"max_pdu": 400, "block_transfer": True, "quirks": quirks}
    assert seen(peer, meter, "wrapper", unit, ["whole"], gbt_window=5, max_pdu=400, timeout=2.0)["whole"] == len(meter.profile(0, START_MS))
    assert quirks.listed() == ()


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_gmac_ciphered(peer: Peer, meter: HouseMeter, framing: str) -> None:
    access = MeterAccess(mechanism=Mechanism.HLS_GMAC, ciphered=True, keys=KEYS)
    job = {"mechanism": 5, "key": KEYS.unicast.hex(), "auth_key": KEYS.authentication.hex()}
    found = seen(
        peer, meter, framing, {"access": access, "max_pdu": 400}, ["serial"], ["objects"], ["whole"], ["echo", 2_000], ["disconnect"], **job
    )
    assert (found["serial"], found["echo"], found["disconnect"]) == ("GT0017", True, False)
    assert [70, "0.0.96.3.10.255"] in found["objects"]
    assert found["whole"] == len(meter.profile(0, START_MS))
    assert meter.switch() is SwitchState.OPEN


def test_firmware_with_a_lost_block(peer: Peer, meter: HouseMeter) -> None:
    quirks = QuirkBoard()
    quirks.add(Quirk.LOSE_BLOCK, 1)
    assert seen(peer, meter, "wrapper", {"quirks": quirks}, ["image", "GT2.0", bytes(1_000).hex()], timeout=2.0)["image"] == VERIFIED
    assert quirks.listed() == ()
