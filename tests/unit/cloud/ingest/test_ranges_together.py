"""The journal ranges of a batch are taken in together: what is stored is the same as one by one, in a fixed number of statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, update

from gridtally_cloud.ingest import checkpoints, journal
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.ingest.service import Ingest, take_entries, take_entry
from gridtally_cloud.ingest.tables import checkpoint
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import account_mirror, dcu, journal_entry, ledger_problem, meter, outbox_down, poison, switch_counter
from gridtally_shared.contract import channels
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Batch, Entry, EntryKind, JournalRange, Lane
from gridtally_shared.contract.prepay_messages import Checkpoint, SignedCheckpoint
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool, move
from gridtally_shared.ledger.evidence import SwitchEvidence, detail
from gridtally_shared.ledger.replay import replay
from gridtally_shared.signing import KeySigner, sign1
from support.cloud_store import START_MS, Street, new_street
from support.stores import ON_POSTGRES

UNIT = 1_000_000_000
SIGNER = KeySigner.from_seed(b"j" * 32)
TABLES = (journal_entry, account_mirror, ledger_problem, outbox_down, switch_counter, checkpoint, poison)
PASSED_OVER = {"problem_no", "poison_no", "outbox_no"}
FAULT = (
    (
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.account_no = 7 THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER fault BEFORE INSERT ON journal_entry FOR EACH ROW EXECUTE FUNCTION fault()",
    )
    if ON_POSTGRES
    else ("CREATE TRIGGER fault BEFORE INSERT ON journal_entry WHEN NEW.account_no = 7 BEGIN SELECT RAISE(ABORT, 'no'); END",)
)
Take = Callable[[Arrival, tuple[Entry, ...]], None]


def _one_by_one(arrival: Arrival, entries: tuple[Entry, ...]) -> None:
    for entry in entries:
        take_entry(arrival.of(entry), entry)


def _chain(account_no: int, length: int) -> list[LedgerEntry]:
    """OPEN, then a credit, energy and an action of the switch by turns."""
    chain = [LedgerEntry(account_no, 1, 1, GENESIS, Kind.OPEN, START_MS, meter_no=account_no, register_after_wh=1000, day_after=739_500)]
    for n in range(2, length + 1):
        entry = LedgerEntry(account_no, 1, n, chain[-1].entry_hash, Kind.CREDIT, START_MS + n, move(Pool.RECEIVED, Pool.PAID, UNIT))
        register = 999 + n // 3
        kinds = (
            replace(entry, gseq=n // 3 + 1),
            replace(entry, kind=Kind.ENERGY, postings=move(Pool.PAID, Pool.ENERGY, n), register_before_wh=register,
                    register_after_wh=register + 1),
            replace(entry, kind=Kind.SWITCH, postings=(), meter_no=account_no, detail=detail(SwitchEvidence(False, "done", n))),
        )  # fmt: skip
        chain.append(kinds[(n - 1) % 3 - 1])
    return chain


def _entry(seq: int, chain: list[LedgerEntry]) -> Entry:
    first = chain[0]
    return Entry(seq, EntryKind.JOURNAL, encode(JournalRange(first.account_no, 1, first.seq, tuple(e.to_bytes() for e in chain))))


def _checkpoint(street: Street, chain: list[LedgerEntry], upto: int, signer: KeySigner = SIGNER, **changes: Any) -> Entry:
    state = replay(chain[0].account_no, 1, chain[:upto])[0]
    stands = (state.seq, state.head, state.balance_nano, state.meter_no, state.register_wh)
    told = replace(Checkpoint(street.dcu, state.account_no, 1, *stands, START_MS), **changes)
    return Entry(0, EntryKind.CHECKPOINT, encode(SignedCheckpoint(sign1(signer, checkpoints.CHANNEL, encode(told)))))


def _checkpoints(street: Street, chain: list[LedgerEntry], random: Random) -> list[Entry]:
    """One that fits, again, another one of the same entry, a wrong one, a stranger's and one of a box that is not ours."""
    upto, other = random.sample(range(1, 13), 2)
    good = _checkpoint(street, chain, upto)
    changed = [_checkpoint(street, chain, upto, at_ms=START_MS + 1), _checkpoint(street, chain, other, balance_nano=7)]
    strange = [_checkpoint(street, chain, other, KeySigner.from_seed(b"x" * 32)), _checkpoint(street, chain, other, dcu="dcu-other")]
    return [good, good, *random.sample(changed, 1), *strange, _checkpoint(street, _chain(99, 3), 2)]


def _upload(street: Street, random: Random) -> list[Entry]:
    """What may arrive: everything, cut anyhow, some of it twice, out of order, changed, unreadable or another box's."""
    entries: list[Entry] = []
    for account_no in street.accounts:
        chain = _chain(account_no, 12)
        cuts = sorted({0, 12, *random.sample(range(1, 12), 4)})
        parts = [chain[a:b] for a, b in pairwise(cuts)]
        parts += [random.choice(parts) for _ in range(2)]
        for _ in range(random.randint(0, 2)):
            place = random.randrange(1, 12)
            parts.append([replace(chain[place], at_ms=START_MS + 500)])
        entries += [_entry(0, part) for part in parts] + _checkpoints(street, chain, random)
    entries += [Entry(0, EntryKind.JOURNAL, b"\xff"), _entry(0, _chain(99, 3)), _entry(0, [replace(_chain(1, 2)[1], epoch=0)])]
    if random.random() < 0.7:
        random.shuffle(entries)
    return [replace(entry, seq=n) for n, entry in enumerate(entries, 1)]


def _fill(folder: Path, seed: int, take: Take, width: int) -> tuple[list[list[Any]], list[bytes]]:
    """Everything stored and answered after an upload that came in batches of `width`."""
    folder.mkdir()
    street, replies = new_street(folder), []
    entries = _upload(street, Random(seed))
    with street.db.write() as conn:
        conn.execute(update(dcu).values(journal_key=SIGNER.public))
        for gseq in range(1, 5):
            outbox.put(conn, street.dcu, "instrument", outbox.instrument_ref(1, 1, gseq), b"x", START_MS)
    for at in range(0, len(entries), width):
        with street.db.write() as conn:
            arrival = Arrival(conn, StreamKey(street.dcu, b"\x01" * 16, 1), 0, START_MS, [])
            take(arrival, tuple(entries[at : at + width]))
            replies += [reply.payload for reply in arrival.replies]
    with street.db.read() as conn:
        held = [_rows(conn, table) for table in TABLES]
    street.db.close()
    return held, replies


def _rows(conn: Connection, table: Any) -> list[Any]:
    columns = [c for c in table.c if c.name not in PASSED_OVER]
    return sorted((tuple(row) for row in conn.execute(select(*columns))), key=repr)


@pytest.mark.parametrize("seed", range(5))
def test_together_is_the_same_as_one_by_one(tmp_path: Path, seed: int) -> None:
    alone, said_alone = _fill(tmp_path / "alone", seed, _one_by_one, 1)
    together, said_together = _fill(tmp_path / "together", seed, take_entries, 7 + 10 * seed)
    for table, ours, theirs in zip(TABLES, together, alone, strict=True):
        assert ours == theirs, table.name
    assert sorted(said_together) == sorted(said_alone)
    assert alone[0], "something was kept"
    assert alone[-1], "something was set aside"


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path, meters=40)
    yield street
    street.db.close()


def _statements(street: Street, entries: list[Entry]) -> int:
    seen: list[str] = []
    with street.db.write() as conn:
        event.listen(conn, "before_cursor_execute", lambda _c, _cursor, statement, *_: seen.append(statement))
        take_entries(Arrival(conn, StreamKey(street.dcu, b"\x01" * 16, 1), 0, START_MS), tuple(entries))
    return len(seen)


def test_the_number_of_statements_does_not_grow_with_the_number_of_accounts(street: Street) -> None:
    chains = {n: _chain(n, 2) for n in street.accounts}
    quiet = {n: [chain[0], replace(chain[1], kind=Kind.CORRECTION, gseq=0)] for n, chain in chains.items()}
    held = int(ON_POSTGRES)  # where others write too, the accounts are held
    assert _statements(street, [_entry(n, [chain[0]]) for n, chain in quiet.items()]) <= 10 + held
    few = _statements(street, [_entry(100 + n, [quiet[n][1]]) for n in (1, 2)])
    many = _statements(street, [_entry(200 + n, [quiet[n][1]]) for n in street.accounts[2:]])
    assert many == few <= 8 + held
    with street.db.read() as conn:
        assert {load(conn, n, 1).state.seq for n in street.accounts} == {2}


def test_a_fault_of_one_account_is_found_and_the_others_are_stored(street: Street) -> None:
    with street.db.write() as conn:
        for statement in FAULT:
            conn.exec_driver_sql(statement)
        conn.execute(update(dcu).values(journal_key=SIGNER.public))
        waits = _checkpoint(street, _chain(3, 1), 1)
        take_entries(Arrival(conn, StreamKey(street.dcu, b"\x01" * 16, 1), 0, START_MS), (waits,))
    with street.db.write() as conn:
        arrival = Arrival(conn, StreamKey(street.dcu, b"\x01" * 16, 1), 0, START_MS)
        take_entries(arrival, tuple(_entry(10 + n, _chain(n, 1)) for n in street.accounts))
    with street.db.read() as conn:
        kept = conn.execute(select(journal_entry.c.account_no).order_by(journal_entry.c.account_no)).scalars().all()
        aside = conn.execute(select(poison.c.seq, poison.c.reason)).all()
    assert kept == [n for n in street.accounts if n != 7]
    assert [(row.seq, row.reason.split(":")[0]) for row in aside] == [(17, "fault in the MDM")]
    assert len(arrival.replies) == 1, "the checkpoint is countersigned once, though its account was taken in twice"


def test_ranges_of_a_meter_that_went_to_another_concentrator_leave_the_others_together(street: Street) -> None:
    with street.db.write() as conn:
        conn.execute(insert(dcu).values(dcu="dcu-other", serial="S-2", state="enrolled", created_ms=START_MS))
        conn.execute(update(meter).where(meter.c.meter_no == 5).values(dcu="dcu-other"))
    assert _statements(street, [_entry(n, _chain(n, 1)) for n in street.accounts]) <= 15
    with street.db.read() as conn:
        assert conn.execute(select(poison.c.seq)).scalars().all() == [5]
        assert len(conn.execute(select(journal_entry.c.seq)).all()) == len(street.accounts) - 1


@pytest.mark.skipif(ON_POSTGRES, reason="asks SQLite how it goes about it")
@pytest.mark.parametrize("query", [journal.ABOVE_MIRROR, checkpoints.WAITING_ABOVE])
def test_the_store_looks_only_above_the_mirrors(street: Street, query: Any) -> None:
    with street.db.read() as conn:
        text = str(query.params(accounts=[1, 2]).compile(conn, compile_kwargs={"literal_binds": True}))
        plan = [row.detail for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert plan[0].startswith("SEARCH account_mirror USING PRIMARY KEY"), plan
    assert "AND seq>?" in plan[1], plan


class Killed(BaseException):
    """The process is gone."""


def test_killed_at_any_statement_a_batch_is_there_whole_or_not_at_all(street: Street) -> None:
    accounts = street.accounts[:6]
    with street.db.write() as conn:
        conn.execute(update(dcu).values(journal_key=SIGNER.public))
    ingest, left = Ingest(street.db, SIGNER), [0]

    def die(*_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    topic = channels.BY_NAME["urgent"].topic(street.dcu)
    for number, (first, last) in enumerate(((0, 5), (5, 9)), 1):
        parts = [part for n in accounts for part in (_entry(0, _chain(n, 12)[first:last]), _checkpoint(street, _chain(n, 12), last))]
        entries = tuple(replace(entry, seq=n) for n, entry in enumerate(sorted(parts, key=lambda e: e.kind), 100 * number))
        payload = encode(Batch(b"\x01" * 16, Lane.URGENT, entries, START_MS))
        for statements in count():
            left[0] = statements
            event.listen(street.db.engine, "before_cursor_execute", die)
            try:
                answers = ingest.handle(topic, payload, START_MS)
            except Killed:
                answers = ()
            event.remove(street.db.engine, "before_cursor_execute", die)
            with street.db.read() as conn:
                assert {load(conn, n, 1).state.seq for n in accounts} == {last if answers else first}
                assert len(conn.execute(select(journal_entry.c.seq)).all()) == (last if answers else first) * len(accounts)
                assert len(conn.execute(select(checkpoint.c.seq)).all()) == (number if answers else number - 1) * len(accounts)
            if answers:
                break
        assert statements > 10
        assert len(answers) == 1 + len(accounts), "a receipt, and each checkpoint countersigned"
    with street.db.read() as conn:
        assert [load(conn, n, 1).state for n in accounts] == [replay(n, 1, _chain(n, 12)[:9])[0] for n in accounts]
        assert conn.execute(select(poison.c.reason)).all() == []
