"""The account journal: window of used instruments, entries, replay and its problems."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared import cbor
from gridtally_shared.contract.codec import encode
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool, Posting, entry_from, hash_of, move
from gridtally_shared.ledger.evidence import (
    DecisionEvidence,
    MessageEvidence,
    MessageParam,
    SwitchEvidence,
    TestResult,
    detail,
    evidence_of,
)
from gridtally_shared.ledger.replay import LedgerState, apply, problem_of, replay
from gridtally_shared.ledger.window import WIDTH, UsedWindow

DAY = 738_000


def chain(*parts: dict) -> list[LedgerEntry]:
    """Entries with numbers and hashes filled in."""
    entries: list[LedgerEntry] = []
    for part in parts:
        previous = entries[-1].entry_hash if entries else GENESIS
        entries.append(LedgerEntry(7, 1, len(entries) + 1, previous, at_ms=1_000 * len(entries), **part))
    return entries


OPEN = {"kind": Kind.OPEN, "meter_no": 3, "register_before_wh": 500, "register_after_wh": 500, "day_after": DAY}
CREDIT = {"kind": Kind.CREDIT, "gseq": 1, "postings": move(Pool.RECEIVED, Pool.PAID, 100)}
ENERGY = {
    "kind": Kind.ENERGY, "register_before_wh": 500, "register_after_wh": 530,
    "postings": (Posting(Pool.PAID, -33), Posting(Pool.ENERGY, 30), Posting(Pool.TAX, 3)),
}  # fmt: skip
FIXED = {"kind": Kind.FIXED, "day_after": DAY + 2, "postings": move(Pool.PAID, Pool.FIXED, 10)}


def test_a_replay_yields_balance_register_days_and_head() -> None:
    entries = chain(OPEN, CREDIT, ENERGY, FIXED)
    state, problem = replay(7, 1, entries)
    assert problem is None
    assert (state.balance_nano, state.seq, state.head) == (57, 4, entries[-1].entry_hash)
    assert (state.register_wh, state.register_at_ms, state.charged_wh, state.meter_no) == (530, 2_000, 30, 3)
    assert (state.opened_day, state.charged_day) == (DAY, DAY + 2)
    assert state.used == UsedWindow(1, 0)
    assert sum(state.pools.values()) == 0


def test_what_a_refund_could_not_take_is_a_debt() -> None:
    refund = {"kind": Kind.REFUND, "gseq": 2, "postings": (Posting(Pool.PAID, -100), Posting(Pool.DEBT, -20), Posting(Pool.RECEIVED, 120))}
    state, problem = replay(7, 1, chain(CREDIT, refund))
    assert problem is None
    assert (state.balance_nano, state.debt_nano) == (0, 20)


BROKEN = [
    ("account", 1, {"account_no": 8}),
    ("account", 1, {"epoch": 2}),
    ("gap", 2, {"seq": 4}),
    ("chain", 2, {"previous": bytes(32)}),
    ("unbalanced", 1, {"postings": (Posting(Pool.PAID, 1),)}),
    ("reused", 4, {"gseq": 1}),
    ("register", 2, {"register_before_wh": 499}),
    ("register", 2, {"register_after_wh": 499}),
    ("register", 2, {"register_after_wh": None}),
    ("day", 3, {"day_after": DAY}),
]


@pytest.mark.parametrize(("code", "at", "changes"), BROKEN)
def test_each_rule_is_found_broken(code: str, at: int, changes: dict) -> None:
    entries = chain(OPEN, CREDIT, ENERGY, FIXED, CREDIT | {"gseq": 2})
    entries[at] = replace(entries[at], **changes)
    state, problem = replay(7, 1, entries)
    assert problem is not None
    assert (problem.code, state.seq) == (code, at)


@pytest.mark.parametrize(("code", "parts"), [("register", (ENERGY,)), ("day", (FIXED,)), ("opened", (OPEN, OPEN))])
def test_nothing_is_charged_before_the_one_opening(code: str, parts: tuple[dict, ...]) -> None:
    problem = replay(7, 1, chain(*parts))[1]
    assert problem is not None
    assert problem.code == code


@given(st.integers(0, 4), st.integers(0, 10_000))
def test_no_byte_of_a_chain_can_change_unseen(which: int, place: int) -> None:
    entries = chain(OPEN, CREDIT, ENERGY, FIXED, CREDIT | {"gseq": 2})
    body = bytearray(entries[which].to_bytes())
    body[place % len(body)] ^= 1 << place % 8
    try:
        entries[which] = entry_from(bytes(body))
    except ContractError:
        return
    state, problem = replay(7, 1, entries)
    assert problem is not None or state.head != chain(OPEN, CREDIT, ENERGY, FIXED, CREDIT | {"gseq": 2})[-1].entry_hash


def test_an_entry_survives_its_bytes_and_bytes_of_another_form_are_refused() -> None:
    (entry,) = chain(OPEN)
    assert entry_from(entry.to_bytes()) == entry
    assert entry.entry_hash == hash_of(entry.to_bytes())
    with pytest.raises(ContractError):
        entry_from(encode(replace(entry, kind=99)))
    with pytest.raises(ContractError, match="does not know"):
        entry_from(cbor.dumps(cbor.loads(entry.to_bytes()) | {99: 1}))


@given(st.permutations(range(1, WIDTH + 1)))
def test_instruments_inside_the_window_may_come_in_any_order(order: list[int]) -> None:
    window = UsedWindow()
    for gseq in order:
        assert window.accepts(gseq)
        window = window.use(gseq)
        assert not window.accepts(gseq)
    assert window == UsedWindow(WIDTH, 0)


@given(st.lists(st.integers(-2, 200), max_size=120))
def test_the_window_agrees_with_a_plain_set(numbers: list[int]) -> None:
    window, used = UsedWindow(), set[int]()
    for gseq in numbers:
        prefix = next(n for n in range(300) if n + 1 not in used)
        expected = gseq >= 1 and gseq not in used and gseq <= prefix + WIDTH
        assert window.accepts(gseq) == expected
        if expected:
            window, used = window.use(gseq), used | {gseq}
        else:
            with pytest.raises(ValueError, match="used or outside"):
                window.use(gseq)


@given(st.lists(st.tuples(st.sampled_from(list(Pool)), st.sampled_from(list(Pool)), st.integers(-(2**60), 2**60)), max_size=20))
def test_money_is_moved_never_made(moves: list[tuple[Pool, Pool, int]]) -> None:
    state = LedgerState(7, 1)
    for source, target, amount in moves:
        entry = LedgerEntry(7, 1, state.seq + 1, state.head, Kind.CORRECTION, 0, move(source, target, amount))
        assert problem_of(state, entry) is None
        state = apply(state, entry)
    assert sum(state.pools.values()) == 0


EVIDENCE = [
    (Kind.DECISION, DecisionEvidence("cut", (TestResult("clock", True, "trusted"),))),
    (Kind.SWITCH, SwitchEvidence(False, "done", 4, 1, 0, "GT1", 5, "local")),
    (Kind.NOTICE, MessageEvidence("LOW", (MessageParam("b", "5"),))),
]


@pytest.mark.parametrize(("kind", "evidence"), EVIDENCE)
def test_evidence_comes_back_from_its_entry(kind: Kind, evidence: DecisionEvidence | SwitchEvidence | MessageEvidence) -> None:
    (entry,) = chain({"kind": kind, "detail": detail(evidence)})
    assert evidence_of(entry_from(entry.to_bytes())) == evidence


def test_entries_without_evidence_have_none() -> None:
    assert evidence_of(chain(OPEN)[0]) is None
    assert evidence_of(chain({"kind": Kind.SWITCH})[0]) is None


def test_an_entry_that_moves_nothing_leaves_every_other_field_as_it_was() -> None:
    """Also a field that is added later, whatever it is."""
    odd = {"pools": {1: 5, 2: -5}, "used": UsedWindow(3, 4), "closed": False, "head": bytes(31) + b"h"}
    values = {f.name: odd.get(f.name, number + 1) for number, f in enumerate(fields(LedgerState))}
    state = LedgerState(**values)
    entry = LedgerEntry(state.account_no, state.epoch, state.seq + 1, state.head, Kind.NOTICE, 777)
    assert problem_of(state, entry) is None
    assert apply(state, entry) == replace(state, seq=state.seq + 1, head=entry.entry_hash, at_ms=777)
