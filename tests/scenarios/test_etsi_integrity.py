"""Seed 004 (ETSI), new requirement 10: end points verify the integrity of what they exchange.

One bit of each type of message is turned on its way, by a relay in front of a real Mosquitto with mutual TLS:

* on the leg of the concentrator (or of the box that asks for a name), and on the leg of the MDM, up and down;
* what also carries a signature of its own is turned inside that as well, where the broker itself would be the liar.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract.samples import SAMPLES
from gridtally_edge.provisioning import identity
from gridtally_edge.provisioning.link import ClaimAccess, Mailbox, connected, enrol
from gridtally_shared.contract.channels import CHANNELS, Channel, Direction
from gridtally_shared.contract.codec import encode
from gridtally_shared.errors import ContractError
from gridtally_shared.signing import sign1, verify1
from support.secured import COMMAND_SIGNER, Headquarters, secured_headquarters
from support.waiting import wait_until

DCU, BOX = "dcu-11", "p-box"
SECRET = bytes(range(16))
CHUNK = 65_536


class Meddler:
    """Forwards 127.0.0.1:`port` to `target`. Once `armed` it turns one bit of the next bytes in the given direction, and lets
    nobody in any more, so that what was refused can not simply be sent again."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._armed = threading.Event()
        self._upwards = True
        self.turned = threading.Event()
        self.ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def arm(self, upwards: bool) -> None:
        self._listener.close()
        self._upwards = upwards
        self._armed.set()

    def close(self) -> None:
        self._listener.close()
        for end in self._sockets:
            end.close()

    def _serve(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", self._target))
        self._sockets += [near, far]
        threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
        self._pump(far, near, False)

    def _pump(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        try:
            while data := source.recv(CHUNK):
                sink.sendall(self._turn(data) if upwards is self._upwards and self._armed.is_set() else data)
        except OSError:
            pass
        self.ended.set()
        for end in (source, sink):
            end.close()

    def _turn(self, data: bytes) -> bytes:
        """One bit of the last byte: part of what TLS protects, whatever its length."""
        if self.turned.is_set():
            return data
        self.turned.set()
        return data[:-1] + bytes((data[-1] ^ 1,))


@pytest.fixture(scope="module")
def hq() -> Iterator[Headquarters]:
    with secured_headquarters() as made:
        yield made


@pytest.fixture(scope="module")
def box(hq: Headquarters, tmp_path_factory: pytest.TempPathFactory) -> ClaimAccess:
    """How the concentrator speaks under its own name."""
    folder: Path = tmp_path_factory.mktemp("box")
    now_ms = time.time_ns() // 1_000_000
    hq.expect("SN-11", DCU, SECRET, now_ms)
    enrol(folder, "SN-11", SECRET, hq.claim, now_ms, 20)
    files = identity.tls_files(folder)
    assert hq.files is not None
    return ClaimAccess("127.0.0.1", hq.files.port, str(files.ca), str(files.certificate), str(files.key))


def ends(hq: Headquarters, box: ClaimAccess, channel: Channel) -> tuple[tuple[str, ClaimAccess], tuple[str, ClaimAccess], str]:
    """The field's end, the MDM's end (client id and access each) and whose channel it is."""
    if channel.pattern.startswith("prov/"):
        return (BOX, hq.claim), ("provisioner-2", hq.credential("provisioner")), BOX
    return (DCU, box), ("mdm", hq.credential("mdm")), DCU


def payload_of(channel: Channel) -> bytes:
    body = encode(SAMPLES[channel.message.__name__])
    return sign1(COMMAND_SIGNER, channel.name, body) if channel.signed else body


def says(mouth: Mailbox, ear: Mailbox, topic: str, payload: bytes, within_s: float) -> bool:
    """Whether a message is heard. Other messages on the way do not count."""
    mouth.client.publish(topic, payload, qos=1)
    end_s = time.monotonic() + within_s
    while (left_s := end_s - time.monotonic()) > 0:
        try:
            if ear.inbox.get(timeout=left_s) == (topic, payload):
                return True
        except queue.Empty:
            return False
    return False


@pytest.mark.covers("ETSI-NR10")
@pytest.mark.parametrize("leg", ["field", "mdm"])
@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: c.name)
def test_a_turned_bit_of_any_type_of_message_is_rejected(hq: Headquarters, box: ClaimAccess, channel: Channel, leg: str) -> None:
    field, mdm, ident = ends(hq, box, channel)
    upwards = channel.direction is Direction.UP
    meddled = field if leg == "field" else mdm
    meddler = Meddler(meddled[1].port)
    through = (meddled[0], replace(meddled[1], port=meddler.port))
    speaker, hearer = (field, mdm) if upwards else (mdm, field)
    speaker, hearer = (through if end is meddled else end for end in (speaker, hearer))
    topic, payload = channel.topic(ident), payload_of(channel)
    try:
        with connected(*hearer) as ear, connected(*speaker) as mouth:
            ear.listen([topic], 5)
            assert says(mouth, ear, topic, payload, 5), "untouched it is heard"
            meddler.arm(upwards is (leg == "field"))
            assert not says(mouth, ear, topic, payload, 0.3)
            assert meddler.turned.is_set()
            wait_until(meddler.ended.is_set, 5, "the end point refused the connection that lied")
            assert not says(mouth, ear, topic, payload, 0.1)
    finally:
        meddler.close()
    if channel.signed:  # and where TLS ends, the signature goes on: no broker may change a bit
        turned = bytearray(payload)
        turned[len(payload) // 2] ^= 1
        with pytest.raises(ContractError):
            verify1({COMMAND_SIGNER.key_id: COMMAND_SIGNER.public}, channel.name, bytes(turned))
