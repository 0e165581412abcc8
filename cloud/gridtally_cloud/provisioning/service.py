"""The decisions of provisioning: who may enrol, with which proof, and when a name becomes active.

* Nothing enrols that is not in the inventory; a box that is not is refused and shown (`refused_box`).
* The proof is HMAC-SHA256 under the per-device install secret over nonce, hash of the request and the journal key.
* The row is committed before the certificate is signed; the same key again gets the same certificate, never a second.
* A pending certificate may only activate; a token that ran out is deleted and the box starts over.

Source: reliability-security.md 3.2 steps 0 to 8; seed 004 (ETSI) provisioning cases.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets

from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from gridtally_cloud.provisioning import broker_admin, ca
from gridtally_cloud.provisioning.tables import attempt, certificate, challenge, inventory, refused_box
from gridtally_cloud.store.db import Database, insert_new, upsert
from gridtally_cloud.store.tables import dcu as dcu_table
from gridtally_shared.contract import messages as m
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

NONCE_LIFE_MS = 10 * 60_000
TOKEN_LIFE_MS = 3_600_000
ATTEMPTS_PER_HOUR = 5
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an enrolled DCU connects, and how: 'mtls' or 'loopback-plain'."""

    host: str
    port: int
    transport: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say to the box, and what to order from the broker: before it, so that the name is known when the box comes; or
    after it (`orders_last`), because a change of its role ends the session that waits for the answer."""

    channel: str
    to: str
    message: object
    broker_orders: bytes = b""
    orders_last: bool = False


def proof_of(install_secret: bytes, nonce: bytes, csr: bytes, journal_key: bytes) -> bytes:
    """The proof both sides compute."""
    return hmac.new(install_secret, nonce + hashlib.sha256(csr).digest() + journal_key, hashlib.sha256).digest()


def add_to_inventory(conn: Connection, serial: str, dcu: str, install_secret: bytes, now_ms: int, batch: str = "") -> bool:
    """Step 0: the factory's or the store's row. False when the serial is known already; it is left as it is."""
    row = {"serial": serial, "dcu": dcu, "install_secret": install_secret, "batch": batch, "added_ms": now_ms}
    return insert_new(conn, inventory, [row]) == 1


class ProvisioningService:
    """One per provisioner process. Every method is one store transaction."""

    def __init__(self, db: Database, operational: ca.Authority, endpoint: Endpoint, command_key: bytes) -> None:
        self._db, self._ca, self._endpoint, self._command_key = db, operational, endpoint, command_key

    def hello(self, client_id: str, message: m.ProvisionHello, now_ms: int) -> Answer:
        """Steps 2 and 3: a known serial gets a nonce."""
        with self._db.write() as conn:
            reason = self._refusal(conn, message.serial, now_ms)
            if reason:
                return _rejected(conn, client_id, message.request_id, message.serial, reason, now_ms)
            known = conn.execute(select(challenge).where(challenge.c.client_id == client_id)).mappings().first()
            if known is None or known["request_id"] != message.request_id:
                known_row = {
                    "client_id": client_id, "request_id": message.request_id, "serial": message.serial,
                    "nonce": secrets.token_bytes(32), "expires_ms": now_ms + NONCE_LIFE_MS,
                }  # fmt: skip
                upsert(conn, challenge, known_row)
                conn.execute(delete(challenge).where(challenge.c.expires_ms < now_ms))
                known = conn.execute(select(challenge).where(challenge.c.client_id == client_id)).mappings().one()
        reply = m.ProvisionChallenge(message.request_id, known["nonce"], now_ms, known["expires_ms"])
        return Answer("prov-challenge", client_id, reply)

    def enrol(self, client_id: str, message: m.ProvisionEnrol, now_ms: int) -> Answer:
        """Steps 4 and 5: a right proof gets a certificate under the inventory's name."""
        with self._db.write() as conn:
            asked = conn.execute(select(challenge).where(challenge.c.client_id == client_id)).mappings().first()
            if asked is None or asked["request_id"] != message.request_id or asked["expires_ms"] < now_ms:
                return _rejected(conn, client_id, message.request_id, "", "ask_again", now_ms)
            row = conn.execute(select(inventory).where(inventory.c.serial == asked["serial"])).mappings().one()
            conn.execute(insert(attempt).values(serial=row["serial"], at_ms=now_ms))
            reason, key_hash = self._check_proof(conn, row, asked, message)
            if reason:
                return _rejected(conn, client_id, message.request_id, row["serial"], reason, now_ms)
            self._remember(conn, row, key_hash, message, now_ms)
        return self._sign(client_id, row["dcu"], key_hash, message, now_ms)

    def activate(self, dcu: str, message: m.Activate, now_ms: int) -> Answer | None:
        """Steps 7 and 8: first contact under the own name. None when the token is wrong or has run out."""
        with self._db.write() as conn:
            found = conn.execute(select(certificate).where(certificate.c.dcu == dcu, certificate.c.serial == message.serial)
                                 .order_by(certificate.c.issued_ms.desc())).mappings().first()  # fmt: skip
            if found is None or not hmac.compare_digest(found["token"], message.token):
                return None
            if found["state"] == "pending" and found["token_expires_ms"] < now_ms:
                conn.execute(delete(certificate).where(certificate.c.key_hash == found["key_hash"]))
                return None
            conn.execute(update(certificate).where(certificate.c.dcu == dcu).values(state="revoked"))
            conn.execute(update(certificate).where(certificate.c.key_hash == found["key_hash"]).values(state="active"))
            conn.execute(update(inventory).where(inventory.c.dcu == dcu).values(state="active"))
            _name_dcu(conn, dcu, message.serial, found["journal_key"], now_ms)
        return Answer("activated", dcu, m.Activated(dcu, now_ms), broker_admin.admit_active(dcu), orders_last=True)

    def _refusal(self, conn: Connection, serial: str, now_ms: int) -> str:
        row = conn.execute(select(inventory).where(inventory.c.serial == serial)).mappings().first()
        recent = select(func.count()).select_from(attempt).where(attempt.c.serial == serial, attempt.c.at_ms > now_ms - HOUR_MS)
        tests = (
            (row is None, "unknown_serial"),
            (row is not None and row["state"] == "retired", "retired"),
            (int(conn.execute(recent).scalar_one()) >= ATTEMPTS_PER_HOUR, "too_many_attempts"),
        )
        return next((reason for failed, reason in tests if failed), "")

    def _check_proof(self, conn: Connection, row: RowMapping, asked: RowMapping, message: m.ProvisionEnrol) -> tuple[str, bytes]:
        expected = proof_of(row["install_secret"], asked["nonce"], message.csr, message.journal_key)
        if not hmac.compare_digest(expected, message.proof) or len(message.journal_key) != 32:
            return "wrong_proof", b""
        try:
            key_hash = hashlib.sha256(ca.key_bytes(ca.public_key_of(message.csr))).digest()
        except ContractError:
            return "bad_request", b""
        owner = conn.execute(select(certificate.c.serial).where(certificate.c.key_hash == key_hash)).scalar()
        return ("key_of_another_box", b"") if owner not in (None, row["serial"]) else ("", key_hash)

    def _remember(self, conn: Connection, row: RowMapping, key_hash: bytes, message: m.ProvisionEnrol, now_ms: int) -> None:
        """Commit the row before anything is signed; a known key keeps its row and certificate."""
        if conn.execute(select(certificate.c.key_hash).where(certificate.c.key_hash == key_hash)).first() is None:
            conn.execute(insert(certificate).values(
                key_hash=key_hash, serial=row["serial"], dcu=row["dcu"], journal_key=message.journal_key, state="pending",
                token=secrets.token_bytes(32), token_expires_ms=now_ms + TOKEN_LIFE_MS, issued_ms=now_ms,
                not_after_ms=now_ms + ca.DEVICE_DAYS * 86_400_000))  # fmt: skip
        if row["state"] == "expected":
            conn.execute(update(inventory).where(inventory.c.serial == row["serial"]).values(state="pending"))
        conn.execute(delete(refused_box).where(refused_box.c.serial == row["serial"]))

    def _sign(self, client_id: str, dcu: str, key_hash: bytes, message: m.ProvisionEnrol, now_ms: int) -> Answer:
        with self._db.write() as conn:
            row = conn.execute(select(certificate).where(certificate.c.key_hash == key_hash)).mappings().one()
            pem = row["pem"]
            if pem is None:
                now = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
                made = ca.issue(self._ca, dcu, ca.public_key_of(message.csr), now, ca.DEVICE_DAYS)
                pem = made.public_bytes(Encoding.PEM)
                conn.execute(update(certificate).where(certificate.c.key_hash == key_hash).values(pem=pem))
        end = self._endpoint
        issued = m.ProvisionIssued(message.request_id, dcu, pem, self._ca.pem, self._command_key, row["token"],
                                   end.host, end.port, end.transport)  # fmt: skip
        orders = broker_admin.admit_pending(dcu) if row["state"] == "pending" else b""
        return Answer("prov-issued", client_id, issued, orders)


def _name_dcu(conn: Connection, dcu: str, serial: str, journal_key: bytes, now_ms: int) -> None:
    """The asset row of the DCU: made here when the desk has not planned it before."""
    values = {"serial": serial, "journal_key": journal_key, "state": "active"}
    if conn.execute(update(dcu_table).where(dcu_table.c.dcu == dcu).values(values)).rowcount == 0:
        conn.execute(insert(dcu_table).values(dcu=dcu, created_ms=now_ms, **values))


def _rejected(conn: Connection, client_id: str, request_id: bytes, serial: str, reason: str, now_ms: int) -> Answer:
    """Refuse, and keep what was refused where the operator sees it."""
    if serial:
        seen = conn.execute(select(refused_box).where(refused_box.c.serial == serial)).mappings().first()
        upsert(conn, refused_box, {
            "serial": serial[:80], "reason": reason, "last_ms": now_ms,
            "first_ms": seen["first_ms"] if seen else now_ms, "count": (seen["count"] if seen else 0) + 1})  # fmt: skip
    retry_s = {"ask_again": 1, "unknown_serial": 60, "too_many_attempts": 3600}.get(reason, 300)
    return Answer("prov-rejected", client_id, m.ProvisionRejected(request_id, reason, retry_s))
