"""What an entry's `detail` holds: the evidence of decisions and switch actions, and the messages to the consumer.

Both sides read these: the edge's page tells why a supply is off, the cloud shows the same to the customer's service.
Names of tests and codes of messages are stable; their texts are local.
"""

from __future__ import annotations

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class MessageParam:
    name: str = key(0)
    value: str = key(1)


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test of a decision: did it hold, and what was seen, as a text and as parameters for a text of the reader's own."""

    __test__ = False

    name: str = key(0)
    holds: bool = key(1)
    seen: str = key(2, "")
    params: tuple[MessageParam, ...] = key(3, ())


@dataclass(frozen=True, slots=True)
class DecisionEvidence:
    """`verdict` is 'cut', 'limit', 'held', 'restore' or 'restore_held'. `transition` names the row of the engine's table,
    `policy` and `policy_version` the catalogue it followed; `reason` is why a PROTECTED supply is protected."""

    verdict: str = key(0)
    tests: tuple[TestResult, ...] = key(1, ())
    transition: str = key(2, "")
    policy: str = key(3, "")
    policy_version: int = key(4, 0)
    reason: str = key(5, "")


@dataclass(frozen=True, slots=True)
class SwitchEvidence:
    """A switch action and what the meter itself reported afterwards. Also the `result` of a switch command's receipt;
    `counter` is the switch's newest action number, so that an overtaken sender can reissue above it. `state_*` are
    SwitchState numbers (0 open, 1 closed, 2 armed, 3 not fitted, 4 unknown)."""

    close: bool = key(0)
    result: str = key(1)
    counter: int = key(2)
    state_before: int = key(3, 4)
    state_after: int = key(4, 4)
    serial: str = key(5, "")
    register_wh: int | None = key(6, None)
    origin: str = key(7, "")
    fault: str = key(8, "")


@dataclass(frozen=True, slots=True)
class MessageEvidence:
    """A message to the consumer: code and parameters travel, the text is local (prepayment.md 6.3)."""

    code: str = key(0)
    params: tuple[MessageParam, ...] = key(1, ())


@dataclass(frozen=True, slots=True)
class InstrumentEvidence:
    """An instrument that moved no money: what it set, or (`refused` not empty) why it was refused. `type` is an
    InstrumentType, `amount_nano` what a refused one would have moved; `seen` is for people. `by` is set where no instrument
    but a named person on site did it, to a hold of this `reason`. `gseq` names an instrument used before whose order is withdrawn. `order`
    is the detail of what stands since, in the form of `type` (standing_orders.py); b"" where nothing does."""

    type: int = key(0)
    refused: str = key(1, "")
    amount_nano: int = key(2, 0)
    seen: str = key(3, "")
    by: str = key(4, "")
    reason: str = key(5, "")
    gseq: int = key(6, 0)
    order: bytes = key(7, b"")


Evidence = DecisionEvidence | SwitchEvidence | MessageEvidence | InstrumentEvidence

DETAIL_OF: dict[int, type[Evidence]] = {
    Kind.CONTROL: InstrumentEvidence,
    Kind.DECISION: DecisionEvidence,
    Kind.SWITCH: SwitchEvidence,
    Kind.NOTICE: MessageEvidence,
}


def evidence_of(entry: LedgerEntry) -> Evidence | None:
    """The evidence in an entry, None where its kind carries none. Raises ContractError."""
    kind = DETAIL_OF.get(entry.kind)
    if kind is None or not entry.detail:
        return None
    evidence = decode(kind, entry.detail)
    if not isinstance(evidence, Evidence):
        raise ContractError(f"entry {entry.seq}: its detail is not evidence")
    return evidence


def refusal_of(entry: LedgerEntry) -> str:
    """Why the instrument of this entry was refused; '' where it was not. Raises ContractError."""
    evidence = evidence_of(entry)
    return evidence.refused if isinstance(evidence, InstrumentEvidence) else ""


def detail(evidence: Evidence) -> bytes:
    return encode(evidence)
