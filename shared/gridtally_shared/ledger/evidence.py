"""What an entry's `detail` holds: the evidence of decisions and switch actions, and the messages to the consumer.

Both sides read these: the edge's page tells why a supply is off, the cloud shows the same to the customer's service.
Names of tests and codes of messages are stable; their texts are local.
"""

from __future__ import annotations

from dataclasses import dataclass

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test of a decision: did it hold, and what was seen."""

    __test__ = False

    name: str = key(0)
    holds: bool = key(1)
    seen: str = key(2, "")


@dataclass(frozen=True, slots=True)
class DecisionEvidence:
    """`verdict` is 'cut', 'held', 'restore' or 'restore_held'."""

    verdict: str = key(0)
    tests: tuple[TestResult, ...] = key(1, ())


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
class MessageParam:
    name: str = key(0)
    value: str = key(1)


@dataclass(frozen=True, slots=True)
class MessageEvidence:
    """A message to the consumer: code and parameters travel, the text is local (prepayment.md 6.3)."""

    code: str = key(0)
    params: tuple[MessageParam, ...] = key(1, ())


Evidence = DecisionEvidence | SwitchEvidence | MessageEvidence

DETAIL_OF: dict[int, type[DecisionEvidence] | type[SwitchEvidence] | type[MessageEvidence]] = {
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
    if not isinstance(evidence, DecisionEvidence | SwitchEvidence | MessageEvidence):
        raise ContractError(f"entry {entry.seq}: its detail is not evidence")
    return evidence


def detail(evidence: Evidence) -> bytes:
    return encode(evidence)
