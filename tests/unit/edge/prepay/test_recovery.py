"""Checkpoints and the mirror: an old disk image, a fork or a torn file is found, and healed without a nano lost (T27, 5.5, 5.9)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.ingest.service import Outgoing
from gridtally_cloud.ingest.tables import checkpoint
from gridtally_cloud.store.tables import ledger_problem
from gridtally_edge.journal.sqlite import open_store
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.recovery_rows import CheckpointRow, RecoveryRow
from gridtally_edge.prepay.rows import some
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.turn import Cadence
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import AccountHead, EntryKind, Event, JournalRange, Lane
from gridtally_shared.contract.prepay_messages import Checkpoint, SignedCheckpoint
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.ledger.replay import replay
from gridtally_shared.signing import KeySigner, open_unverified, sign1
from support.linked_pair import JOURNAL_KEY, LinkedPair
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, SIGNER
from support.prepay_bench import Bench


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    pair = LinkedPair(tmp_path, cadence=Cadence(entries=10, hours=24))
    pair.read(0, OPENED_WH)
    pair.pay("100")
    pair.meet()
    yield pair
    pair.close()


def use(pair: LinkedPair, wh: int, hours: int = 1) -> None:
    """Hours pass, and the meter is read at each."""
    for _ in range(hours):
        pair.wait(HOUR_MS)
        pair.read(0, (pair.state().register_wh or 0) + wh)


def agree(pair: LinkedPair) -> None:
    """Both sides say the same, to the nano, and nobody found anything wrong."""
    pair.greet()
    pair.sync()
    view = pair.balance()
    assert (view.balance_nano, view.seq) == (pair.state().balance_nano, pair.state().seq)
    assert pair.row.balance_nano == pair.state().balance_nano
    assert pair.row.ledger_fault == ""
    assert pair.problems() == []


def charged(pair: LinkedPair) -> int:
    return sum(e.register_after_wh - e.register_before_wh for e in pair.entries() if e.kind == Kind.ENERGY)  # type: ignore[operator]


def told(pair: LinkedPair, name: str) -> list[str]:
    query = "SELECT body FROM outbox_entry WHERE kind = ?"
    found = [decode(Event, body) for (body,) in pair.money.execute(query, (int(EntryKind.EVENT),))]
    return [e.detail for e in found if e.code == EVENTS[name].code]


def checkpoints(pair: LinkedPair) -> list[CheckpointRow]:
    return some(pair.money, CheckpointRow, "WHERE account_no = ? ORDER BY seq", pair.account)


# ---- checkpoints


def test_a_checkpoint_is_countersigned_over_the_same_bytes_and_older_ones_go(pair: LinkedPair) -> None:
    use(pair, 300, hours=12)
    pair.sync()
    rows = checkpoints(pair)
    assert rows[-1].cloud
    assert open_unverified(rows[-1].cloud)[1] == rows[-1].payload
    given = decode(Checkpoint, rows[-1].payload)
    at = replay(pair.account, 1, [e for e in pair.entries() if e.seq <= given.seq])[0]
    assert (given.entry_hash, given.balance_nano, given.register_wh) == (at.head, at.balance_nano, at.register_wh)
    use(pair, 300, hours=25)
    pair.sync()
    assert len([r for r in checkpoints(pair) if r.cloud]) == 1
    assert pair.problems() == []


def test_a_lost_answer_is_asked_for_again(pair: LinkedPair) -> None:
    pair.lose = lambda answer: answer.channel == "checkpoint"
    use(pair, 300, hours=12)
    pair.sync()
    assert not any(r.cloud for r in checkpoints(pair))
    pair.lose = lambda answer: False
    pair.wait(HOUR_MS)
    pair.greet()
    pair.sync()
    assert any(r.cloud for r in checkpoints(pair))


def test_of_many_that_nobody_signed_the_last_goes_again(pair: LinkedPair) -> None:
    answers: list[Outgoing] = []

    def lost(answer: Outgoing) -> bool:
        answers.extend([answer] if answer.channel == "checkpoint" else [])
        return answer.channel == "checkpoint"

    pair.lose = lost
    use(pair, 300, hours=50)
    pair.sync()
    rows = checkpoints(pair)
    assert len(rows) == len(answers) > 3
    answers.clear()
    pair.wait(HOUR_MS)
    pair.greet()
    pair.sync()
    assert [open_unverified(a.payload)[1] for a in answers] == [rows[-1].payload]


def test_a_signature_of_somebody_else_or_over_other_bytes_changes_nothing(pair: LinkedPair) -> None:
    pair.lose = lambda answer: answer.channel == "checkpoint"
    use(pair, 300, hours=12)
    pair.sync()
    (row, *_) = checkpoints(pair)
    for envelope in (
        sign1(KeySigner.from_seed(b"x" * 32), "checkpoint", row.payload),
        sign1(SIGNER, "instrument", row.payload),
        sign1(SIGNER, "checkpoint", encode(Checkpoint("dcu-pay", pair.account, 1, row.seq, bytes(32), 1, 1, 1, 1))),
        b"junk",
    ):
        pair.tell(p.CheckpointSigned(envelope))
    assert not any(r.cloud for r in checkpoints(pair))


def test_a_checkpoint_that_says_otherwise_is_a_finding_and_moves_no_money(pair: LinkedPair) -> None:
    use(pair, 300)
    pair.sync()
    before = pair.balance()
    state = pair.state()
    false = Checkpoint("dcu-pay", pair.account, 1, state.seq, state.head, state.balance_nano + 1, state.meter_no, state.register_wh, 1)
    signed = SignedCheckpoint(sign1(JOURNAL_KEY, "checkpoint", encode(false)))
    pair.edge.outbox.append(EntryKind.CHECKPOINT, signed, Lane.URGENT, pair.now_ms)
    pair.sync()
    with pair.db.read() as conn:
        rows = conn.execute(select(ledger_problem.c.code, ledger_problem.c.text)).all()
        states = set(conn.execute(select(checkpoint.c.state).where(checkpoint.c.seq == state.seq)).scalars())
    assert [code for code, _ in rows] == ["checkpoint"]
    assert "balance" in rows[0].text
    assert states == {"mismatch"}
    use(pair, 300)
    pair.sync()
    assert pair.balance().balance_nano == pair.state().balance_nano < before.balance_nano


def test_a_start_replays_from_the_checkpoint_and_finds_what_was_written_over(pair: LinkedPair) -> None:
    use(pair, 300, hours=12)
    pair.sync()
    first_kept = checkpoints(pair)[-1].seq
    pair.money.execute("DELETE FROM journal WHERE account_no = ? AND seq < ?", (pair.account, first_kept))
    pair.restart()
    assert pair.row.ledger_fault == ""
    pair.money.execute("UPDATE account SET state = replace(state, '\"seq\": ', '\"seq\": 1') WHERE account_no = ?", (pair.account,))
    pair.restart()
    assert pair.row.ledger_fault.startswith("chain")


@pytest.mark.parametrize("damage", ["UPDATE journal SET body = x'00' WHERE seq = 6", "DELETE FROM journal WHERE seq >= 6"])
def test_a_journal_that_was_written_over_is_made_anew_from_the_mirror(pair: LinkedPair, damage: str) -> None:
    use(pair, 300, hours=4)
    pair.sync()
    pair.pay("107")
    pair.carry_down()
    before = pair.state()
    pair.money.execute(f"{damage} AND account_no = ?", (pair.account,))
    pair.restart()
    assert pair.row.ledger_fault.startswith("chain")
    agree(pair)
    assert pair.state().balance_nano == before.balance_nano
    assert told(pair, "ledger_healed")


# ---- old images


def test_an_old_image_is_found_and_healed_from_the_mirror(pair: LinkedPair) -> None:
    """The register is the witness: what was used in the lost time is charged once (5.5, I9)."""
    use(pair, 300, hours=2)
    old = pair.image("old")
    use(pair, 300, hours=6)
    pair.pay("120")
    pair.meet()
    lost = pair.state()
    pair.roll_back(old)
    assert pair.state().seq < lost.seq
    use(pair, 1_800 + 250)  # written by the old image before it hears of the cloud
    pair.greet()
    assert pair.row.ledger_fault.startswith("mirror")
    pair.sync()
    use(pair, 100)
    agree(pair)
    assert charged(pair) == (pair.state().register_wh or 0) - OPENED_WH
    assert pair.state().used == lost.used
    assert [e.entry_hash for e in pair.entries()][: lost.seq][-1] == lost.head
    assert pair.money.execute("SELECT count(*) FROM journal_aside").fetchone()[0] > 0


def test_what_the_old_image_charged_by_itself_is_charged_again_and_is_no_jump(pair: LinkedPair) -> None:
    """Its charges go aside with its entries; a minute later the register has moved by twenty hours."""
    use(pair, 300)
    old = pair.image("old")
    use(pair, 300)
    pair.sync()
    pair.roll_back(old)
    use(pair, 5_000, hours=20)
    last_wh = pair.state().register_wh or 0
    pair.greet()
    pair.sync()
    assert (pair.state().register_wh or 0) == OPENED_WH + 600
    pair.wait(60_000)
    pair.read(0, last_wh)
    assert told(pair, "register_jumped") == []
    agree(pair)
    assert charged(pair) == last_wh - OPENED_WH


def test_nobody_is_cut_while_a_journal_is_being_healed(pair: LinkedPair) -> None:
    use(pair, 300)
    old = pair.image("old")
    use(pair, 300, hours=3)
    pair.sync()
    pair.roll_back(old)
    pair.lose = lambda answer: answer.channel == "mirror"
    pair.greet()
    pair.sync()
    effects = pair.edge.handle(p.MeterRead(pair.homes[0].meter_no, pair.homes[0].serial, pair.now_ms, OPENED_WH + 60_000), pair.now_ms)
    assert not any(isinstance(e, p.RunSwitch) for e in effects)
    assert some(pair.money, RecoveryRow, "")
    pair.lose = lambda answer: False
    pair.wait(HOUR_MS)  # asked again
    pair.sync()
    assert pair.row.ledger_fault == ""
    assert not some(pair.money, RecoveryRow, "")


def test_credit_that_came_to_the_old_image_is_applied_once(pair: LinkedPair) -> None:
    old = pair.image("old")
    use(pair, 300, hours=2)
    pair.sync()
    pair.pay("111")
    pair.roll_back(old)
    pair.carry_down()  # the old image takes the credit under a number the mirror gave to another entry
    pair.greet()
    pair.sync()
    agree(pair)
    used = [e.gseq for e in pair.entries() if e.kind == Kind.CREDIT]
    assert used == sorted(set(used))
    assert pair.state().used.prefix == len(pair.instruments())


def test_an_image_as_new_as_the_mirror_is_seen_by_the_register_only(pair: LinkedPair) -> None:
    """Rolled back to a point after the last mirrored entry: no chain shows it, and nothing is lost."""
    use(pair, 300)
    pair.sync()
    old = pair.image("old")
    use(pair, 400)  # never sent
    pair.roll_back(old)
    use(pair, 400 + 50)
    agree(pair)
    assert charged(pair) == (pair.state().register_wh or 0) - OPENED_WH


def test_long_gaps_are_healed_from_several_answers(pair: LinkedPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridtally_cloud.ingest.mirror.RANGE_BYTES", 700)
    old = pair.image("old")
    use(pair, 100, hours=12)
    pair.sync()
    lost = pair.state()
    pair.roll_back(old)
    agree(pair)
    assert pair.state().head == lost.head


def test_entries_that_are_not_the_clouds_are_not_taken(pair: LinkedPair) -> None:
    old = pair.image("old")
    use(pair, 100, hours=2)
    pair.sync()
    bodies = tuple(e.to_bytes() for e in pair.entries())
    pair.roll_back(old)
    pair.lose = lambda answer: answer.channel == "mirror"
    pair.greet()
    pair.sync()
    before = pair.state()
    whole = encode(JournalRange(pair.account, 1, 1, bodies))
    for envelope in (b"junk", sign1(KeySigner.from_seed(b"x" * 32), "mirror", whole), sign1(SIGNER, "config", whole)):
        pair.tell(p.MirrorArrived(envelope))
    assert pair.state() == before
    pair.tell(p.MirrorArrived(sign1(SIGNER, "mirror", whole)))
    assert pair.state().seq > before.seq


# ---- torn files


def test_a_torn_log_leaves_a_whole_chain_and_what_is_missing_comes_again(pair: LinkedPair) -> None:
    """A power cut in the middle of a write: the log ends anywhere, with rubbish in its last page."""
    use(pair, 300, hours=6)
    rng = random.Random(7)
    for n in range(12):
        folder = pair.image(f"torn-{n}")
        log = folder / "money.db-wal"
        data = log.read_bytes()
        cut = rng.randrange(len(data) // 4, len(data))
        log.write_bytes(data[:cut] + rng.randbytes(rng.randrange(0, 300)))
        (folder / "money.db-shm").unlink(missing_ok=True)
        db = open_store(folder / "money.db", MONEY_STORE)
        entries = entries_of(db, pair.account, 1)
        balance = db.execute("SELECT balance_nano, seq FROM account WHERE account_no = ?", (pair.account,)).fetchone()
        db.close()
        state, problem = replay(pair.account, 1, entries)
        assert problem is None
        assert (state.balance_nano, state.seq) == tuple(balance)
    pair.roll_back(pair.folder / "torn-3")
    use(pair, 1_900)
    agree(pair)
    assert charged(pair) == (pair.state().register_wh or 0) - OPENED_WH


def test_a_day_makes_a_checkpoint_of_whatever_is_new(pair: LinkedPair) -> None:
    pair.wait(DAY_MS)
    made = len(checkpoints(pair))
    pair.wait(HOUR_MS)
    assert made >= 1
    assert len(checkpoints(pair)) == made, "nothing new, nothing signed"


# ---- an entry that was damaged on its way or in the MDM's store


def damage(pair: LinkedPair, **changes: object) -> None:
    """The newest entry that waits to be sent arrives at the cloud as another one; ours is as it was."""
    query = "SELECT seq, body FROM outbox_entry WHERE kind = ? ORDER BY seq DESC LIMIT 1"
    seq, body = pair.money.execute(query, (int(EntryKind.JOURNAL),)).fetchone()
    part = decode(JournalRange, body)
    spoilt = replace(entry_from(part.entries[-1]), **changes).to_bytes()  # type: ignore[arg-type]
    damaged = encode(replace(part, entries=(*part.entries[:-1], spoilt)))
    pair.money.execute("UPDATE outbox_entry SET body = ? WHERE seq = ? AND kind = ?", (damaged, seq, int(EntryKind.JOURNAL)))


@pytest.mark.parametrize(
    ("changes", "verified"), [({"cause": b"not this one"}, 1), ({"previous": b"x" * 32}, 0)], ids=["it follows", "it does not follow"]
)
def test_a_damaged_entry_in_the_mirror_stops_it_only_until_the_next_welcome(pair: LinkedPair, changes: dict, verified: int) -> None:
    use(pair, 300, hours=2)
    pair.sync()
    before = pair.balance().seq
    use(pair, 300)
    damage(pair, **changes)
    pair.sync()
    use(pair, 300, hours=3)
    pair.pay("100")
    pair.meet()
    assert told(pair, "ledger_healed") or not verified
    agree(pair)
    assert pair.balance().seq > before
    use(pair, 300, hours=2)
    agree(pair)
    assert charged(pair) == (pair.state().register_wh or 0) - OPENED_WH


def test_what_waits_to_be_sent_is_not_sent_twice(pair: LinkedPair) -> None:
    use(pair, 300, hours=3)
    queued = "SELECT count(*) FROM outbox_entry WHERE kind = ?"
    waiting = pair.money.execute(queued, (int(EntryKind.JOURNAL),)).fetchone()
    pair.greet()
    assert pair.money.execute(queued, (int(EntryKind.JOURNAL),)).fetchone() == waiting
    agree(pair)


def test_an_empty_disk_knows_of_its_mirror_before_it_writes(tmp_path: Path) -> None:
    """The welcome comes before the configuration that names the account."""
    bench = Bench(tmp_path, ready=False)
    bench.trust()
    bench.tell(p.LinkChanged(True))
    bench.tell(p.WelcomeSeen(bench.now_ms, (AccountHead(101, 1, 5, b"h" * 32),)))
    bench.configure()
    (fault,) = bench.db.execute("SELECT ledger_fault FROM account WHERE account_no = 101").fetchone()
    assert fault.startswith("mirror")
    (asked,) = bench.outbox(EntryKind.MIRROR_ASK)
    assert (asked.account_no, asked.from_seq) == (101, 1)
