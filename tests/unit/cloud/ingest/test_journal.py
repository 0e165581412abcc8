"""The journal mirror: order-free, verified by replay; a mismatch is a row and stops that account only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gridtally_cloud.ingest import poison
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.mirror import account_heads, load
from gridtally_cloud.ingest.service import take_entry
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import account_mirror, journal_entry, ledger_problem, outbox_down, switch_counter
from gridtally_shared import cbor
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Entry, EntryKind, JournalRange
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool, move
from gridtally_shared.ledger.evidence import SwitchEvidence, detail
from gridtally_shared.ledger.replay import replay
from support.cloud_store import START_MS, Street, new_street

EURO = 1_000_000_000
DAY = 739_500


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


def _chain(account_no: int = 1, credits: int = 3) -> list[LedgerEntry]:
    """OPEN, then credit and energy by turns."""
    entries = [
        LedgerEntry(account_no, 1, 1, GENESIS, Kind.OPEN, START_MS, meter_no=account_no, register_after_wh=1000, day_after=DAY)
    ]
    register = 1000
    for gseq in range(1, credits + 1):
        credit = replace(entries[-1], seq=len(entries) + 1, previous=entries[-1].entry_hash, kind=Kind.CREDIT, gseq=gseq,
                         postings=move(Pool.RECEIVED, Pool.PAID, 10 * EURO), register_after_wh=None, meter_no=0, day_after=0)  # fmt: skip
        energy = replace(credit, seq=credit.seq + 1, previous=credit.entry_hash, kind=Kind.ENERGY, gseq=0,
                         postings=move(Pool.PAID, Pool.ENERGY, 3 * EURO), register_before_wh=register,
                         register_after_wh=register + 500)  # fmt: skip
        entries += [credit, energy]
        register += 500
    return entries


def _range(entries: list[LedgerEntry]) -> JournalRange:
    return JournalRange(entries[0].account_no, 1, entries[0].seq, tuple(e.to_bytes() for e in entries))


def _take(street: Street, message: JournalRange, seq: int = 1, dcu: str | None = None) -> None:
    with street.db.write() as conn:
        arrival = Arrival(conn, StreamKey(dcu or street.dcu, b"\x01" * 16, 1), seq, START_MS)
        take_entry(arrival, Entry(seq, EntryKind.JOURNAL, encode(message)))


def _problems(street: Street) -> list[tuple[int, int, str]]:
    with street.db.read() as conn:
        p = ledger_problem.c
        return [tuple(row) for row in conn.execute(select(p.account_no, p.seq, p.code).order_by(p.problem_no))]  # type: ignore[misc]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [0, 0, 1, 1, 3, 2, 3]])
def test_ranges_in_any_order_give_the_balance_of_the_replay(street: Street, order: list[int]) -> None:
    chain = _chain()
    parts = [chain[0:2], chain[2:4], chain[4:5], chain[5:7]]
    for n, part in enumerate(order):
        _take(street, _range(parts[part]), n + 1)
    expected, problem = replay(1, 1, chain)
    assert problem is None
    with street.db.read() as conn:
        mirror = load(conn, 1, 1)
        row = conn.execute(select(account_mirror)).one()
        balances = conn.execute(select(journal_entry.c.balance_nano).order_by(journal_entry.c.seq)).scalars().all()
    assert mirror.state == expected
    assert (row.balance_nano, row.seq, row.gseq_prefix) == (21 * EURO, 7, 3)
    assert balances == [n * EURO for n in (0, 10, 7, 17, 14, 24, 21)]
    assert _problems(street) == []


def test_days_charged_in_different_ranges_follow_each_other(street: Street) -> None:
    chain = _chain(credits=1)
    for day in (1, 2):
        chain.append(LedgerEntry(1, 1, chain[-1].seq + 1, chain[-1].entry_hash, Kind.FIXED, START_MS,
                                 move(Pool.PAID, Pool.FIXED, EURO), day_after=DAY + day))  # fmt: skip
    for n, entry in enumerate(chain):
        _take(street, _range([entry]), n + 1)
    assert _problems(street) == []
    with street.db.read() as conn:
        assert load(conn, 1, 1).state == replay(1, 1, chain)[0]


def test_a_state_of_an_older_version_is_rebuilt_from_the_entries(street: Street) -> None:
    chain = _chain()
    _take(street, _range(chain[:5]))
    with street.db.write() as conn:
        conn.execute(update(account_mirror).values(state=cbor.dumps({"seq": 5})))
    _take(street, _range(chain[5:]))
    assert _problems(street) == []
    with street.db.read() as conn:
        assert load(conn, 1, 1).state == replay(1, 1, chain)[0]


def test_a_switch_action_of_the_edge_raises_our_counter(street: Street) -> None:
    chain = _chain(credits=1)
    evidence = detail(SwitchEvidence(False, "done", 12))
    chain.append(LedgerEntry(1, 1, 4, chain[-1].entry_hash, Kind.SWITCH, START_MS, meter_no=1, detail=evidence))
    _take(street, _range(chain))
    with street.db.read() as conn:
        assert conn.execute(select(switch_counter.c.value).where(switch_counter.c.meter_no == 1)).scalar_one() == 12


def test_a_gap_waits_and_is_no_problem(street: Street) -> None:
    chain = _chain()
    _take(street, _range(chain[0:1]))
    _take(street, _range(chain[3:5]))
    with street.db.read() as conn:
        assert load(conn, 1, 1).state.seq == 1
        verified = conn.execute(select(journal_entry.c.verified).order_by(journal_entry.c.seq)).scalars().all()
    assert verified == [True, False, False]
    assert _problems(street) == []


def test_a_broken_chain_is_a_row_and_stops_this_account_only(street: Street) -> None:
    chain = _chain()
    forged = replace(chain[2], postings=move(Pool.PAID, Pool.ENERGY, 1))
    _take(street, _range([chain[0], chain[1], forged]))
    _take(street, _range(chain[3:]))
    _take(street, _range(_chain(2)))
    with street.db.read() as conn:
        mirror = load(conn, 1, 1)
        assert (mirror.stopped, mirror.state.seq) == (True, 3)
        assert load(conn, 2, 1).state.balance_nano == 21 * EURO
        assert len(conn.execute(select(journal_entry.c.seq).where(journal_entry.c.account_no == 1)).all()) == 7
    assert _problems(street) == [(1, 4, "chain")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"postings": ()}, None),
        ({"register_before_wh": 999}, "register"),
        ({"previous": b"\x00" * 32}, "chain"),
    ],
)
def test_each_rule_of_the_replay_is_asked(street: Street, change: dict[str, object], code: str | None) -> None:
    chain = _chain()
    _take(street, _range([chain[0], chain[1], replace(chain[2], **change)]))  # type: ignore[arg-type]
    assert [problem[2] for problem in _problems(street)] == ([code] if code else [])


def test_other_bytes_under_a_known_number_are_a_problem(street: Street) -> None:
    chain = _chain()
    _take(street, _range(chain))
    _take(street, _range([replace(chain[1], at_ms=START_MS + 1)]))
    assert _problems(street) == [(1, 2, "rewritten")]
    with street.db.read() as conn:
        assert load(conn, 1, 1).stopped


def test_an_account_of_another_dcu_is_set_aside(street: Street) -> None:
    _take(street, _range(_chain()), dcu="dcu-other")
    with street.db.read() as conn:
        assert [row.reason for row in poison.waiting(conn)] == ["account 1 is not served by dcu-other"]
        assert load(conn, 1, 1).state.seq == 0


def test_bytes_that_are_no_entry_are_set_aside_whole(street: Street) -> None:
    chain = _chain()
    _take(street, JournalRange(1, 1, 1, (chain[0].to_bytes(), b"\x80")))
    with street.db.read() as conn:
        assert len(poison.waiting(conn)) == 1
        assert conn.execute(select(journal_entry)).all() == []


def test_an_instrument_is_done_when_the_mirror_shows_it(street: Street) -> None:
    with street.db.write() as conn:
        for gseq in (1, 2, 3, 4):
            outbox.put(conn, street.dcu, "instrument", outbox.instrument_ref(1, 1, gseq), b"x", START_MS)
    _take(street, _range(_chain(credits=3)))
    with street.db.read() as conn:
        rows = conn.execute(select(outbox_down.c.ref, outbox_down.c.done_ms).order_by(outbox_down.c.ref)).all()
    assert [(row.ref, row.done_ms is not None) for row in rows] == [("1/1/1", True), ("1/1/2", True), ("1/1/3", True), ("1/1/4", False)]


def test_the_welcome_names_the_heads_of_the_mirrors(street: Street) -> None:
    chain = _chain()
    _take(street, _range(chain))
    with street.db.read() as conn:
        heads = account_heads(conn, street.dcu)
    assert [(h.account_no, h.seq, h.entry_hash, h.gseq_prefix) for h in heads] == [(1, 7, chain[-1].entry_hash, 3)]
