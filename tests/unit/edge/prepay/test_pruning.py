"""The old part of a journal is let go below a countersigned checkpoint, and nothing else changes: the balances by replay, the running
charge, what the display tells, and how a box and a cloud that forgot something find together again (prepayment.md 5.5, T27)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.store.db import upsert_all
from gridtally_cloud.store.tables import journal_entry, stream_head
from gridtally_edge.config import load_config
from gridtally_edge.display.account import AccountView, view_account
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import hash_at, state_from
from gridtally_edge.prepay.charge_store import stored_running, walked
from gridtally_edge.prepay.cli import Keeping, verify
from gridtally_edge.prepay.opening import first_kept
from gridtally_edge.prepay.pruning import LOOKED_AT_ONCE
from gridtally_edge.prepay.recovery_rows import OpeningRow
from gridtally_edge.prepay.rows import some
from gridtally_edge.prepay.turn import Cadence
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import EntryKind, Event
from gridtally_shared.errors import ConfigError
from gridtally_shared.events import BY_NAME
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.replay import replay
from support import stores
from support.linked_pair import JOURNAL_KEY, KEYS, LinkedPair
from support.payday import DAY_MS, HOUR_MS, OPENED_WH
from support.required import ROOT
from support.stores import Kept, keep
from support.waiting import wait_until

KEEP_MS = 4 * DAY_MS
CADENCE = Cadence(entries=5, hours=6)
ALL_KEYS = {**KEYS, JOURNAL_KEY.key_id: JOURNAL_KEY.public}


def begun(folder: Path) -> LinkedPair:
    pair = LinkedPair(folder, cadence=CADENCE, keep_journal_ms=KEEP_MS)
    pair.read(0, OPENED_WH)
    pair.pay("100")
    pair.meet()
    return pair


@dataclass(frozen=True, slots=True)
class Lived:
    """The stores of a street that lived some days, to go on from."""

    money: Path
    store: Kept
    now_ms: int


def kept(pair: LinkedPair, name: str) -> Lived:
    money = pair.folder / name
    with contextlib.closing(sqlite3.connect(pair.path)) as now, contextlib.closing(sqlite3.connect(money)) as copy:
        now.backup(copy)
    return Lived(money, keep(pair.db), pair.now_ms)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lived]:
    """Four days, of which nothing may go yet; and seven, when something went."""
    pair = begun(tmp_path_factory.mktemp("street"))
    live(pair, 4)
    four = kept(pair, "four.db")
    live(pair, 3)
    look(pair)
    seven = kept(pair, "seven.db")
    pair.close()
    return {"four": four, "seven": seven}


def going_on(folder: Path, lived: Lived) -> LinkedPair:
    pair = LinkedPair(folder, cadence=CADENCE, keep_journal_ms=KEEP_MS)
    pair.now_ms = lived.now_ms
    put_back(pair, lived.store)
    pair.roll_back_from(lived.money)
    return pair


@pytest.fixture
def pair(tmp_path: Path, days: dict[str, Lived]) -> Iterator[LinkedPair]:
    """After four days."""
    pair = going_on(tmp_path, days["four"])
    yield pair
    pair.close()


@pytest.fixture
def pruned(tmp_path: Path, days: dict[str, Lived]) -> Iterator[LinkedPair]:
    """After seven days, when the first entries went."""
    pair = going_on(tmp_path, days["seven"])
    assert begins(pair) > 1
    yield pair
    pair.close()


def live(pair: LinkedPair, days: int, wh: int = 200) -> None:
    """Days pass; the meter is read every six hours, and the two sides meet at the end of each day."""
    for _ in range(days):
        for _ in range(4):
            pair.wait(6 * HOUR_MS)
            pair.read(0, register(pair) + wh)
        pair.greet()
        pair.sync()


def register(pair: LinkedPair) -> int:
    return state_from(pair.row).register_wh or 0


def ticks(pair: LinkedPair, times: int = 6) -> None:
    for _ in range(times):
        pair.wait(60_000)


def look(pair: LinkedPair, times: int = 6) -> None:
    """Minutes pass; then the two sides meet."""
    ticks(pair, times)
    pair.greet()
    pair.sync()


def seqs(pair: LinkedPair) -> list[int]:
    query = "SELECT seq FROM journal WHERE account_no = ? ORDER BY seq"
    return [seq for (seq,) in pair.money.execute(query, (pair.account,))]


def begins(pair: LinkedPair) -> int:
    return first_kept(pair.money, pair.account, 1)


def told(pair: LinkedPair, name: str) -> list[str]:
    query = "SELECT body FROM outbox_entry WHERE kind = ?"
    found = [decode(Event, body) for (body,) in pair.money.execute(query, (int(EntryKind.EVENT),))]
    return [e.detail for e in found if e.code == BY_NAME[name].code]


def whole(pair: LinkedPair) -> None:
    """Both sides say the same to the nano, the running charge is the one a walk gives, and nobody found anything wrong."""
    pair.greet()
    pair.sync()
    view, state = pair.balance(), pair.state()
    assert (view.balance_nano, view.seq) == (state.balance_nano, state.seq) == (pair.row.balance_nano, pair.row.seq)
    assert walked(pair.money, state) == stored_running(pair.money, pair.account, 1)
    assert [f.fault for f in verify(pair.money, Keeping(ALL_KEYS)) if f.account_no == pair.account] == [""]
    assert pair.row.ledger_fault == ""
    assert pair.problems() == []


# ---- letting go


def test_a_replay_of_the_pruned_journal_gives_the_same_to_the_nano(pair: LinkedPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridtally_edge.prepay.pruning.LET_GO_AT_ONCE", 4)
    all_entries, before = pair.entries(), pair.state()
    assert seqs(pair) == list(range(1, before.seq + 1))
    pair.now_ms += 2 * DAY_MS
    look(pair, 3)
    begin = begins(pair)
    assert 1 < begin < before.seq
    assert seqs(pair)[0] < begin, "a few at a time: not all are gone yet"
    look(pair, 12)
    credit = next(e.seq for e in all_entries if e.kind == Kind.CREDIT)
    kept = [e.seq for e in all_entries if e.seq < begin and (e.seq == credit or e.kind in (Kind.NOTICE, Kind.DECISION, Kind.SWITCH))]
    assert [s for s in seqs(pair) if s < begin] == kept
    after = pair.state()
    everything = [e for e in all_entries if e.seq < begin] + [e for e in pair.entries() if e.seq >= begin]
    assert replay(pair.account, 1, everything) == (after, None)
    whole(pair)
    pair.restart()
    live(pair, 1)
    whole(pair)


def test_what_is_younger_than_stated_stays_and_the_opening_moves_on(pair: LinkedPair) -> None:
    openings = [begins(pair)]
    for _ in range(6):
        live(pair, 1)
        openings.append(begins(pair))
        young = [e for e in pair.entries() if e.seq >= openings[-1]]
        all_young = replay_times(pair, pair.now_ms - KEEP_MS)
        assert {e.seq for e in young} >= all_young
    assert openings[0] == 1
    assert len(set(openings)) > 3
    assert openings == sorted(openings)
    look(pair)
    assert len(seqs(pair)) < pair.state().seq * 3 // 4
    whole(pair)


def replay_times(pair: LinkedPair, since_ms: int) -> set[int]:
    """The numbers of the mirror's entries since then."""
    j = journal_entry.c
    with pair.db.read() as conn:
        return set(conn.execute(select(j.seq).where(j.account_no == pair.account, j.at_ms > since_ms)).scalars())


def test_without_a_countersigned_checkpoint_everything_stays_and_the_command_says_why(pair: LinkedPair) -> None:
    pair.lose = lambda answer: answer.channel == "checkpoint"
    pair.money.execute("UPDATE checkpoint SET cloud = x''")
    pair.now_ms += 2 * DAY_MS
    look(pair)
    assert seqs(pair) == list(range(1, pair.state().seq + 1))
    (found,) = [f for f in verify(pair.money, Keeping(ALL_KEYS, pair.now_ms - KEEP_MS)) if f.account_no == pair.account]
    assert found.all_kept == "the cloud has countersigned no checkpoint that is old enough"
    assert (found.fault, found.kept_from) == ("", 1)


@pytest.mark.parametrize(
    ("hindrance", "reason"),
    [
        ("UPDATE checkpoint SET cloud = x'00', own = x'00'", "is not signed by a key that is known here"),
        ("UPDATE checkpoint SET state = replace(state, '\"1\": ', '\"1\": 1')", "is not the signed one"),
        ("UPDATE account SET ledger_fault = 'chain: x'", "it is not whole: chain: x"),
    ],
)
def test_nothing_goes_below_what_is_not_good(pair: LinkedPair, hindrance: str, reason: str) -> None:
    pair.money.execute(hindrance)
    pair.now_ms += 2 * DAY_MS
    ticks(pair)
    assert begins(pair) == 1
    found = verify(pair.money, Keeping(ALL_KEYS, pair.now_ms - KEEP_MS))
    assert any(reason in f.all_kept for f in found)


def test_entries_that_wait_for_their_receipt_stay(pair: LinkedPair) -> None:
    pair.money.execute("UPDATE outbox_lane SET receipted = 0")
    pair.now_ms += 2 * DAY_MS
    ticks(pair)
    assert begins(pair) == 1


def test_an_unbelieved_clock_lets_nothing_go(pair: LinkedPair) -> None:
    pair.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms + 30 * DAY_MS))
    pair.now_ms += 30 * DAY_MS
    for _ in range(4):
        pair.now_ms += 60_000
        pair.tell(p.Tick())
    assert begins(pair) == 1


def test_what_the_display_tells_does_not_change(pair: LinkedPair) -> None:
    at_ms = pair.now_ms
    before = view_account(pair.money, pair.account, at_ms)
    assert isinstance(before, AccountView)
    pair.now_ms += 2 * DAY_MS
    entries = pair.state().seq
    for _ in range(6):  # nothing is read or charged meanwhile, so the page of then can be compared
        pair.now_ms += 60_000
        pair.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
        pair.tell(p.Tick())
    after = view_account(pair.money, pair.account, at_ms)
    assert begins(pair) > 1
    assert after is not None
    assert after.topup == before.topup is not None
    assert after.explanation == before.explanation
    assert entries > 15


def test_the_time_is_configured_and_not_below_what_is_receipted(tmp_path: Path) -> None:
    path = tmp_path / "dcu.toml"
    path.write_text('dcu = "dcu-1"\n')
    assert load_config(path).keep_journal_days == 90
    path.write_text('dcu = "dcu-1"\nkeep_journal_days = 45\n')
    assert load_config(path).keep_journal_days == 45
    path.write_text('dcu = "dcu-1"\nkeep_journal_days = 44\n')
    with pytest.raises(ConfigError, match="keep_journal_days"):
        load_config(path)
    assert LOOKED_AT_ONCE > 1


# ---- healing, in both directions


def test_an_old_image_with_a_pruned_journal_is_healed(pruned: LinkedPair) -> None:
    pair, begin = pruned, begins(pruned)
    old = pair.image("old")
    live(pair, 1, 300)
    lost = pair.state()
    pair.roll_back(old)
    assert pair.state().seq < lost.seq
    pair.greet()
    assert pair.row.ledger_fault.startswith("mirror")
    pair.sync()
    assert pair.state().head == lost.head
    assert begins(pair) == begin
    live(pair, 1)
    whole(pair)


def test_an_image_from_before_the_pruning_is_healed_and_pruned_again(pair: LinkedPair) -> None:
    old = pair.image("old")
    live(pair, 3)
    look(pair)
    pair.sync()
    assert begins(pair) > 1
    lost = pair.state()
    pair.roll_back(old)
    assert begins(pair) == 1
    pair.greet()
    pair.sync()
    assert hash_at(pair.money, pair.account, 1, lost.seq) == lost.head
    live(pair, 2)
    look(pair)
    assert begins(pair) > 1
    whole(pair)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE journal SET body = x'00' WHERE seq = {begin} AND account_no = {account}",
        "DELETE FROM checkpoint WHERE seq = {begin} AND account_no = {account}",
        "UPDATE checkpoint SET state = replace(state, '\"1\": ', '\"1\": 1') WHERE seq = {begin} AND account_no = {account}",
        "UPDATE journal SET body = x'00' WHERE seq = {begin} + 5 AND account_no = {account}",
    ],
)
def test_whatever_is_damaged_is_made_anew_from_the_mirror(pruned: LinkedPair, damage: str) -> None:
    pair, begin = pruned, begins(pruned)
    before = pair.state()
    pair.money.execute(damage.format(begin=begin, account=pair.account))
    pair.money.execute("DELETE FROM checkpoint WHERE seq > ? AND account_no = ?", (begin, pair.account))  # a start looks at everything
    pair.restart()
    assert pair.row.ledger_fault.startswith(("chain", "checkpoint"))
    pair.greet()
    pair.sync()
    assert pair.state() == before
    assert told(pair, "ledger_healed")
    live(pair, 1)
    whole(pair)


def put_back(pair: LinkedPair, copy: Kept) -> None:
    """The cloud's store from an older copy; what it has receipted is known from the box's word, so only the mirrors lack something."""
    with pair.db.read() as conn:
        heads = conn.execute(select(stream_head)).mappings().all()
    stores.put_back(pair.db, copy)
    with pair.db.write() as conn:
        upsert_all(conn, stream_head, heads)
    pair.ingest = Ingest(pair.db, pair.ingest._signer)


def test_a_cloud_from_a_backup_gets_again_what_is_above_the_opening(pruned: LinkedPair, days: dict[str, Lived]) -> None:
    pair, copy = pruned, days["seven"].store
    live(pair, 1)
    put_back(pair, copy)
    assert pair.balance().seq < pair.state().seq
    whole(pair)


def test_a_cloud_that_lacks_what_was_let_go_is_told_so_clearly(pruned: LinkedPair, days: dict[str, Lived]) -> None:
    pair = pruned
    live(pair, 4)
    look(pair)
    begin = begins(pair)
    put_back(pair, days["four"].store)
    stands = pair.balance().seq
    assert stands + 1 < begin
    waiting = pair.edge.outbox.depth()
    pair.greet()
    (said,) = told(pair, "journal_pruned")
    assert f"account={pair.account} mirror={stands} kept_from={begin} accounts=1" in said
    assert pair.row.ledger_fault == "", "the box did nothing wrong"
    assert pair.edge.outbox.depth() == waiting + 1, "only the event is sent"
    pair.greet()
    assert len(told(pair, "journal_pruned")) == 1, "seldom"
    pair.read(0, register(pair) + 100)
    assert pair.state().balance_nano == pair.row.balance_nano


# ---- kill -9

CHILD = """
import sys
from pathlib import Path
from gridtally_edge.journal.sqlite import open_store
from gridtally_edge.prepay import events as p, pruning
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.turn import Cadence
from support import stores
from support.linked_pair import JOURNAL_KEY, KEYS
from support.payday import DCU, DAY_MS
pruning.LET_GO_AT_ONCE = 1
now_ms = int(sys.argv[2])
db = open_store(Path(sys.argv[1]) / "money.db", MONEY_STORE)
core = PrepayCore(db, Identity(DCU, KEYS, b"k" * 16, JOURNAL_KEY, Cadence(), 4 * DAY_MS))
core.start(now_ms)
while True:
    now_ms += 1_000
    core.handle(p.ClockObserved(p.ClockSource.NTP, now_ms, now_ms), now_ms)
    core.handle(p.Tick(), now_ms)
    print(db.execute("SELECT count(*) FROM journal").fetchone()[0], flush=True)
"""


def test_kill_9_in_the_middle_leaves_a_whole_journal(pair: LinkedPair) -> None:
    before = pair.state()
    image = pair.image("killed")
    path = os.pathsep.join(str(ROOT / part) for part in ("shared", "native", "edge", "cloud", "tests"))
    command = [sys.executable, "-c", CHILD, str(image), str(pair.now_ms + 2 * DAY_MS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as child:
        assert child.stdout is not None
        counts = [int(child.stdout.readline()) for _ in range(9)]
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: child.poll() is not None, 10)
    assert counts[-1] < counts[0]
    pair.roll_back(image)
    assert begins(pair) > 1
    assert pair.row.ledger_fault == ""
    assert pair.state().balance_nano <= before.balance_nano
    assert pair.state().register_wh == before.register_wh
    look(pair, 3)
    live(pair, 1)
    whole(pair)


# ---- whatever happens


def test_any_life_with_a_pruned_journal_is_the_life_with_a_whole_one(tmp_path: Path) -> None:
    """Two boxes, one of which never lets go, live the same random weeks, with power cuts: the same journal, to the byte."""
    rng = random.Random(1)
    plan = [(rng.randrange(1, 9), rng.randrange(0, 900), rng.random()) for _ in range(28)]
    ends = []
    for name, keep_ms in (("pruned", DAY_MS), ("whole", 1000 * DAY_MS)):
        (tmp_path / name).mkdir()
        pair = begun(tmp_path / name)
        pair.keep_journal_ms = keep_ms
        pair.restart()
        for hours, wh, dice in plan:
            pair.wait(hours * HOUR_MS)
            pair.read(0, register(pair) + wh)
            if dice < 0.4:
                pair.greet()
                pair.sync()
            elif dice < 0.5:
                pair.restart()
            elif dice < 0.6:
                pair.money.execute("DELETE FROM charging")  # to be walked anew
        look(pair)
        whole(pair)
        ends.append((pair.state(), begins(pair), walked(pair.money, pair.state())))
        assert (some(pair.money, OpeningRow, "") != []) is (name == "pruned")
        pair.close()
    assert replace(ends[0][0], head=b"") == replace(ends[1][0], head=b""), "but for the numbers of payments"
    assert ends[0][2] == ends[1][2]
    assert ends[0][1] > 1 == ends[1][1]
