"""The steps of enrolment as a table: what the box says, what it waits for, what comes next. No I/O.

    HELLO --challenge--> PROVING --issued--> ISSUED        a rejection leads to REFUSED from both waiting states

Any lost answer is repaired by saying the same again: the request id and the key stay, so the MDM answers the same.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum

from gridtally_shared.contract import messages as m
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass


class Step(Enum):
    HELLO = "hello"
    PROVING = "proving"
    ISSUED = "issued"
    REFUSED = "refused"


NEXT: dict[tuple[Step, type], Step] = {
    (Step.HELLO, m.ProvisionChallenge): Step.PROVING,
    (Step.HELLO, m.ProvisionRejected): Step.REFUSED,
    (Step.PROVING, m.ProvisionChallenge): Step.PROVING,
    (Step.PROVING, m.ProvisionIssued): Step.ISSUED,
    (Step.PROVING, m.ProvisionRejected): Step.REFUSED,
}

Reply = m.ProvisionChallenge | m.ProvisionIssued | m.ProvisionRejected


@dataclass(frozen=True, slots=True)
class Applicant:
    """What this box brings: its serial, the per-device install secret, the signed request and its journal key."""

    serial: str
    install_secret: bytes
    csr: bytes
    journal_key: bytes


class Enrolment:
    """One attempt with one request id. `to_say()` is what to send (again); `take()` moves on."""

    def __init__(self, applicant: Applicant, hello: m.ProvisionHello) -> None:
        self._applicant, self._hello = applicant, hello
        self.step = Step.HELLO
        self.issued: m.ProvisionIssued | None = None
        self.rejected: m.ProvisionRejected | None = None
        self._nonce = b""

    def to_say(self) -> tuple[str, m.ProvisionHello | m.ProvisionEnrol] | None:
        """Channel and message of the present step; None when there is nothing left to say."""
        if self.step is Step.HELLO:
            return "prov-hello", self._hello
        if self.step is Step.PROVING:
            who = self._applicant
            proof = proof_of(who.install_secret, self._nonce, who.csr, who.journal_key)
            return "prov-enrol", m.ProvisionEnrol(self._hello.request_id, who.csr, who.journal_key, proof)
        return None

    def take(self, reply: Reply) -> Step:
        """Answer of the MDM. One for another request changes nothing; a step out of order is a ContractError."""
        if reply.request_id != self._hello.request_id:
            return self.step
        following = NEXT.get((self.step, type(reply)))
        if following is None:
            raise ContractError(f"{type(reply).__name__} can not follow while {self.step.value}")
        if isinstance(reply, m.ProvisionChallenge):
            self._nonce = reply.nonce
        elif isinstance(reply, m.ProvisionIssued):
            self.issued = reply
        else:
            self.rejected = reply
        self.step = following
        return following


def proof_of(install_secret: bytes, nonce: bytes, csr: bytes, journal_key: bytes) -> bytes:
    """HMAC-SHA256 under the install secret over nonce, hash of the request, journal key (step 4)."""
    return hmac.new(install_secret, nonce + hashlib.sha256(csr).digest() + journal_key, hashlib.sha256).digest()
