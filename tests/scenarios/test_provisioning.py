"""Provisioning: a new box asks, proves itself, gets a certificate and speaks under its own name; any other is refused.

Seed 004 (ETSI M2M) device provisioning; reliability-security.md 3.2. On a real Mosquitto with mutual TLS and dynamic
security, and with the same messages on each loopback broker.
"""

from __future__ import annotations

import queue
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import select

from gridtally_cloud.provisioning.tables import certificate, inventory, refused_box
from gridtally_edge.config import load_config
from gridtally_edge.provisioning import identity, keys
from gridtally_edge.provisioning.link import ClaimAccess, connected, enrol, settings_for
from gridtally_shared.contract import channels
from gridtally_shared.errors import GridtallyError, LinkDown, RefusedCommand
from support.brokers import Broker
from support.secured import COMMAND_SIGNER, Headquarters, open_headquarters, secured_headquarters

SECRET = bytes(range(16))


@pytest.fixture(scope="module")
def hq() -> Iterator[Headquarters]:
    with secured_headquarters() as made:
        made.expect("SN-1", "dcu-1", SECRET, now())
        made.expect("SN-2", "dcu-2", bytes(16), now())
        yield made


def now() -> int:
    return time.time_ns() // 1_000_000


def rows(hq: Headquarters, table: object) -> list[dict[str, object]]:
    with hq.db.read() as conn:
        return [dict(r) for r in conn.execute(select(table)).mappings()]  # type: ignore[call-overload]


def own_access(folder: Path) -> tuple[str, ClaimAccess]:
    who = identity.load(folder)
    assert who is not None
    files = identity.tls_files(folder)
    return who.dcu, ClaimAccess(who.host, who.port, str(files.ca), str(files.certificate), str(files.key))


def says(access: ClaimAccess, client_id: str, topic: str, listen: str, at: ClaimAccess, at_id: str) -> bool:
    """Whether a publish of one client reaches another that listens."""
    with connected(at_id, at) as ear:
        ear.listen([listen], 5)
        with connected(client_id, access) as mouth:
            mouth.client.publish(topic, b"x", qos=1)
            try:
                return ear.inbox.get(timeout=1.0)[0] == topic
            except queue.Empty:
                return False


def publish_is_denied(access: ClaimAccess, client_id: str, topic: str) -> bool:
    """What the broker's PUBACK says (MQTT 5 names a refusal; 3.1.1 would call it success)."""
    with connected(client_id, access) as mouth:
        reasons: queue.Queue[bool] = queue.Queue()
        mouth.client.on_publish = lambda _c, _u, _mid, reason, _p: reasons.put(reason.is_failure)
        mouth.client.publish(topic, b"x", qos=1)
        return reasons.get(timeout=5)


def test_a_box_of_the_inventory_gets_its_name_and_speaks_under_it(hq: Headquarters, tmp_path: Path) -> None:
    got = enrol(tmp_path, "SN-1", SECRET, hq.claim, now(), 20)
    assert (got.dcu, got.transport) == ("dcu-1", "mtls")
    assert got.command_key_bytes == COMMAND_SIGNER.public
    issued = x509.load_pem_x509_certificate(identity.tls_files(tmp_path).certificate.read_bytes())
    assert issued.subject.rfc4514_string() == "CN=dcu-1"
    assert [r["state"] for r in rows(hq, inventory) if r["serial"] == "SN-1"] == ["active"]
    name, access = own_access(tmp_path)
    assert says(access, name, channels.BY_NAME["live"].topic(name), "gt/1/+/up/#", hq.credential("mdm"), "mdm")


def test_its_keys_never_leave_and_only_their_owner_reads_them(hq: Headquarters, tmp_path: Path) -> None:
    own = keys.open_or_create(tmp_path)
    assert b"PRIVATE" not in own.certificate_request("SN-1")
    for name in ("tls.key", "journal.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o400


def test_a_box_not_in_the_inventory_is_refused_and_shown(hq: Headquarters, tmp_path: Path) -> None:
    with pytest.raises(RefusedCommand, match="unknown_serial"):
        enrol(tmp_path, "SN-404", SECRET, hq.claim, now(), 20)
    assert [r["reason"] for r in rows(hq, refused_box) if r["serial"] == "SN-404"] == ["unknown_serial"]
    assert identity.load(tmp_path) is None


def test_a_wrong_install_secret_is_refused_and_shown(hq: Headquarters, tmp_path: Path) -> None:
    with pytest.raises(RefusedCommand, match="wrong_proof"):
        enrol(tmp_path, "SN-2", SECRET, hq.claim, now(), 20)
    assert [r["reason"] for r in rows(hq, refused_box) if r["serial"] == "SN-2"] == ["wrong_proof"]


def test_the_same_key_again_gets_the_same_certificate(hq: Headquarters, tmp_path: Path) -> None:
    hq.expect("SN-3", "dcu-3", SECRET, now())
    enrol(tmp_path, "SN-3", SECRET, hq.claim, now(), 20)
    first = identity.tls_files(tmp_path).certificate.read_bytes()
    enrol(tmp_path, "SN-3", SECRET, hq.claim, now(), 20)
    assert identity.tls_files(tmp_path).certificate.read_bytes() == first
    assert len([r for r in rows(hq, certificate) if r["serial"] == "SN-3"]) == 1


def test_a_power_cut_after_the_answer_goes_on_with_the_pending_slot(hq: Headquarters, tmp_path: Path) -> None:
    hq.expect("SN-4", "dcu-4", SECRET, now())
    enrol(tmp_path, "SN-4", SECRET, hq.claim, now(), 20)
    (tmp_path / "active").rename(tmp_path / "pending")
    nowhere = ClaimAccess("127.0.0.1", 1)
    assert enrol(tmp_path, "SN-4", SECRET, nowhere, now(), 20).dcu == "dcu-4"


def test_the_claim_credential_may_do_nothing_but_ask(hq: Headquarters) -> None:
    for topic in ("gt/1/dcu-1/up/live", "prov/1/req/p-somebody-else/hello", "gt/1/dcu-1/down/command", "prov/1/resp/p-me/issued"):
        assert publish_is_denied(hq.claim, "p-me", topic), topic
    assert not publish_is_denied(hq.claim, "p-me", "prov/1/req/p-me/hello")


def test_the_claim_certificate_opens_no_operational_door(hq: Headquarters) -> None:
    assert hq.files is not None
    wrong = ClaimAccess("127.0.0.1", hq.files.port, hq.claim.ca_file, hq.claim.cert_file, hq.claim.key_file)
    with pytest.raises(LinkDown), connected("mdm", wrong):
        raise AssertionError("a claim certificate was let in")


@pytest.mark.covers_part("ETSI-NR7")
def test_no_certificate_no_door(hq: Headquarters) -> None:
    assert hq.files is not None
    for port in (hq.files.port, hq.files.claim_port):
        with pytest.raises(GridtallyError), connected("dcu-1", ClaimAccess("127.0.0.1", port, hq.claim.ca_file)):
            raise AssertionError("let in without a certificate")


@pytest.mark.covers_part("ETSI-NR7")
def test_neighbours_neither_speak_nor_hear_for_each_other(hq: Headquarters, tmp_path: Path) -> None:
    boxes = {}
    for serial, dcu in (("SN-5", "dcu-5"), ("SN-6", "dcu-6")):
        hq.expect(serial, dcu, SECRET, now())
        enrol(tmp_path / dcu, serial, SECRET, hq.claim, now(), 20)
        boxes[dcu] = own_access(tmp_path / dcu)[1]
    mdm = hq.credential("mdm")
    assert says(boxes["dcu-5"], "dcu-5", "gt/1/dcu-5/up/live", "gt/1/+/up/#", mdm, "mdm")
    assert not says(boxes["dcu-5"], "dcu-5", "gt/1/dcu-6/up/live", "gt/1/+/up/#", mdm, "mdm")
    assert says(mdm, "mdm", "gt/1/dcu-5/down/command", "gt/1/dcu-5/down/#", boxes["dcu-5"], "dcu-5")
    with connected("dcu-6", boxes["dcu-6"]) as ear, pytest.raises(RefusedCommand):
        ear.listen(["gt/1/dcu-5/down/#"], 5)
    with connected("dcu-6", boxes["dcu-6"]) as ear, pytest.raises(RefusedCommand):
        ear.listen(["#"], 5)


@pytest.mark.broker
def test_the_same_messages_on_a_loopback_broker(broker: Broker, tmp_path: Path) -> None:
    with open_headquarters(broker) as plain:
        plain.expect("SN-9", "dcu-9", SECRET, now())
        got = enrol(tmp_path, "SN-9", SECRET, plain.claim, now(), 20)
        assert got.transport == "loopback-plain"
        (tmp_path / "dcu.toml").write_text(settings_for(tmp_path, got))
        assert list(load_config(tmp_path / "dcu.toml").command_keys().values()) == [COMMAND_SIGNER.public]
        with pytest.raises(RefusedCommand, match="unknown_serial"):
            enrol(tmp_path / "other", "SN-0", SECRET, plain.claim, now(), 20)
