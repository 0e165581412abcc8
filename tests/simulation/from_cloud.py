"""The homes that the MDM runs, seen from outside: their journals, and a judgement of every order by their rules (safety.md 17).

* The journals are raw rows of the MDM's store, folded as those of a box are (watch.py); every check of a journal asks both.
* An order by the rules is judged when it is signed, by the same truth as one of a box: was there money, a warning, a protection, a
  reading, a way to the meter. It is called wrongful when it reaches a contactor, by what was wrong then, and by what is wrong now.
* Nothing of the engine, the ledger or the tariffs is used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gridtally_edge.drivers.model import SwitchState
from simulation import visits, watch
from simulation.meter import SimMeter
from simulation.oracle import DAY_LINE, KEEPS_OFF, KEEPS_ON, is_protected
from simulation.plan import CARE_EMERGENCY

if TYPE_CHECKING:
    from simulation.world import World

OPEN_TYPE, CLOSE_TYPE = 1, 2
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
CUT_LIFE_MS = 10 * MINUTE_MS
AWAY_MS = 2 * MINUTE_MS
RESTORED_MS = 40 * MINUTE_MS
ENERGY_IMPORT = 1
MONEY_TYPES = frozenset({1, 4, 5})
OPENING = 3
WARNINGS = frozenset({"LOW", "LOW_BARE", "ZERO"})


@dataclass(frozen=True, slots=True)
class Run:
    """An account the MDM runs, as its own rows say. `holds`: with what was ordered, and done on site."""

    account_no: int
    epoch: int
    meter_no: int
    serial: str
    tariff_id: str
    zone: str
    zero_action: str
    protected_hours: tuple[str, ...]
    holds: frozenset[str]
    restore_min_nano: int
    arm_only: bool
    held: str

    @property
    def key(self) -> watch.Account:
        return (self.account_no, self.epoch)


@dataclass(frozen=True, slots=True)
class Signed:
    """An order by the rules. `wrong`: why it should not have been signed."""

    account_no: int
    meter_no: int
    close: bool
    issued_ms: int
    expires_ms: int
    wrong: tuple[str, ...]


@dataclass
class FromCloud:
    """`accounts`: those it runs now, by number. `epochs`: every epoch it ran. `restore_due`: since when who paid waits for supply."""

    world: World
    journals: watch.EdgeWatch = field(default_factory=watch.EdgeWatch)
    accounts: dict[int, Run] = field(default_factory=dict)
    epochs: set[watch.Account] = field(default_factory=set)
    signed: dict[bytes, Signed] = field(default_factory=dict)
    restore_due: dict[int, int] = field(default_factory=dict)
    _seen: int = -1
    _row: int = 0

    @property
    def books(self) -> dict[watch.Account, watch.Book]:
        return self.journals.books

    @property
    def fresh(self) -> list[tuple[watch.Account, watch.Line]]:
        return self.journals.fresh

    @property
    def faults(self) -> list[tuple[str, str]]:
        return self.journals.faults

    def soon(self) -> None:
        """At the end: what came last is decided on, too."""
        if self.accounts:
            self.world.cloud.beat()

    def look(self) -> bool:
        """Read what changed; whether anything did."""
        if not self.world.plan.managed or self.world.cloud.changed == self._seen:
            return False
        self._seen = self.world.cloud.changed
        self.epochs |= {run.key for run in self._running()}
        for key in sorted(self.epochs):
            self._read(key)
        visits.taken(self.world)  # a protection that was lifted in the same turn holds no longer
        self.accounts = {run.account_no: run for run in self._running()}
        self._orders()
        return True

    def _running(self) -> Iterator[Run]:
        query = """SELECT a.account_no, a.account_epoch, a.meter_no, m.serial, a.tariff_id, a.zone, a.zero_action, a.protected_hours,
            a.holds, a.restore_min_nano, a.arm_only, coalesce((SELECT held FROM managed_supply s WHERE s.account_no = a.account_no
            AND s.epoch = a.account_epoch), '') FROM account a JOIN account_swap USING (account_no) JOIN meter m ON m.meter_no = a.meter_no
            WHERE kind = 'cloud' ORDER BY a.account_no"""
        for row in self.world.cloud.eye.execute(query):
            spans, holds = (tuple(x for x in text.split(",") if x) for text in row[7:9])
            last = self.world.words.last(row[0])
            said, lifted = {r for r, on in last.items() if on}, {r for r, on in last.items() if not on and r in visits.ON_SITE}
            yield Run(*row[:7], spans, frozenset(holds) - lifted | said, row[9], bool(row[10]), row[11])

    def _read(self, key: watch.Account) -> None:
        book = self.books.setdefault(key, watch.Book())
        query = "SELECT seq, body FROM journal_entry WHERE account_no = ? AND epoch = ? AND seq > ? AND verified ORDER BY seq"
        for seq, body in self.world.cloud.eye.execute(query, (*key, book.seq)):
            self.journals._fold(key, book, seq, bytes(body), self.world.event_no)

    # ---- orders -----------------------------------------------------------------------------------------------

    def _orders(self) -> None:
        query = """SELECT rowid, cmd_id, meter_no, type, issued_at_ms, expires_ms FROM command WHERE cause = 'prepay' AND rowid > ?
            AND type IN (?, ?) ORDER BY rowid"""
        found = self.world.cloud.eye.execute(query, (self._row, OPEN_TYPE, CLOSE_TYPE))
        for row, cmd_id, meter_no, kind, issued_ms, expires_ms in found:
            self._row = row
            run = next((r for r in self.accounts.values() if r.meter_no == meter_no), None)
            close = kind == CLOSE_TYPE
            wrong = tuple(self._why_wrong(run, close)) if run else ("the MDM does not run it",)
            self.signed[bytes(cmd_id)] = Signed(run.account_no if run else 0, meter_no, close, issued_ms, expires_ms, wrong)
            self.world.note(f"the MDM orders {'close' if close else 'cut'} of meter {meter_no} {'; '.join(wrong)}")

    def _why_wrong(self, run: Run, close: bool) -> Iterator[str]:
        if run.key not in self.books:
            yield "it has no journal"
            return
        yield from self._closes(run) if close else self._cuts(run)

    def _cuts(self, run: Run) -> Iterator[str]:
        world, now_ms = self.world, self.world.now_ms
        left = self.most_left_nano(run)
        if left > 2:
            yield f"{float(left):.0f} nano were left"
        if run.zero_action != "disconnect":
            yield f"the policy says {run.zero_action}"
        if run.holds & KEEPS_ON:
            yield f"protected by {sorted(run.holds & KEEPS_ON)}"
        if is_protected(run.protected_hours, run.zone, now_ms):
            yield f"protected hours {run.protected_hours}"
        if world.offline_for_ms() > AWAY_MS:
            yield "the box was away"
        if not self.was_warned(run.account_no):
            yield "nobody was warned"
        if run.held:
            yield f"its register is held: {run.held}"
        newest_ms, told = self._newest(run.meter_no)
        if now_ms - newest_ms > 2 * world.plan.interval_ms + abs(world.edge.offset_ms):
            yield f"the newest reading is {(now_ms - newest_ms) // 1000} s old"
        if not told:
            yield "the meter does not answer"

    def _closes(self, run: Run) -> Iterator[str]:
        if run.holds & KEEPS_OFF:
            yield f"held off by {sorted(run.holds & KEEPS_OFF)}"
        book = self.books[run.key]
        in_doubt = int(max(v.per_day * (1 + v.tax) for v in self.world.tariffs[run.tariff_id].versions)) * 4
        lent = CARE_EMERGENCY + min(0, book.pool(watch.EMERGENCY)) if self.world.plan.care else 0
        entitled = self.most_left_nano(run, through_readings=True) + in_doubt + lent >= run.restore_min_nano
        tripped = self.world.oracle.tripped(self.world.meter_of(run.meter_no).meter_no)  # no limit is kept here: such a home is closed
        if not (entitled or tripped or run.zero_action != "disconnect" or run.holds & KEEPS_ON):
            yield "nothing was paid and nothing protects"

    def was_warned(self, account_no: int) -> bool:
        """Whether anybody, the box or the MDM, told this household that its credit ends."""
        told = (x.detail for key, book in self.books.items() if key[0] == account_no for x in book.lines if x.kind == watch.NOTICE)
        by_box = {code for _, number, code in self.world.edge.announced if number == account_no}
        return bool(WARNINGS & (by_box | {detail.get(0) for detail in told if isinstance(detail, dict)}))

    def _newest(self, meter_no: int) -> tuple[int, bool]:
        """When the register was read last, and whether the meter is said to answer."""
        eye = self.world.cloud.eye
        newest = eye.execute("SELECT max(at_ms) FROM reading WHERE meter_no = ? AND quantity = ?", (meter_no, ENERGY_IMPORT)).fetchone()
        told = eye.execute("SELECT answering FROM meter_status WHERE meter_no = ?", (meter_no,)).fetchone()
        return newest[0] or 0, bool(told and told[0])

    def most_left_nano(self, run: Run, through_readings: bool = False) -> float:
        """The most this consumer can have left: all that was paid, also what is not issued yet, less what the true register cost; or, with
        `through_readings`, the register that was read."""
        book, world = self.books[run.key], self.world
        if book.opened_wh is None:
            return 0
        issued = [(g, i) for (n, e, g), i in world.cloud_watch.issued.items() if (n, e) == run.key]
        credit = sum(i.amount_nano for _, i in issued if i.type in MONEY_TYPES)
        brought = sum(i.amount_nano for g, i in issued if i.type == OPENING and g in book.used)
        given_back = sum(a for x in book.lines if x.kind == watch.REFUND for p, a in x.postings if p == watch.RECEIVED)
        owed = -sum(min(0, book.pool(p)) for p in watch.OWED)
        charged = sum(book.pool(p) for p in watch.CHARGED) + book.collected_nano
        least = min(v.per_wh * (1 + v.tax) for v in world.tariffs[run.tariff_id].versions)
        beyond = 0 if through_readings else least * max(0, world.beyond_wh(run.account_no, book))
        waiting = world.cloud_watch.waiting.get(run.account_no, 0)
        return credit + waiting + brought + book.corrected_debt_nano - given_back + owed - charged - beyond

    def reached(self, cmd_id: bytes, close: bool, meter: SimMeter) -> Iterator[str]:
        """What is wrong with an order by the rules that leaves for a contactor now."""
        order, now_ms = self.signed[cmd_id], self.world.now_ms
        yield from order.wrong
        if order.close != close or self.world.meter_of(order.meter_no) is not meter:
            yield "the order said something else"
        if close:
            return
        if now_ms > order.expires_ms + MINUTE_MS:
            yield "the order had expired"
        run = self.accounts.get(order.account_no)
        if run is None and now_ms > order.issued_ms + CUT_LIFE_MS + MINUTE_MS:
            yield "its box runs it"
        if run is not None and is_protected(run.protected_hours, run.zone, now_ms):
            yield f"protected hours {run.protected_hours}"

    def by_desk(self, close: bool, meter_no: int, cause: str) -> Iterator[str]:
        """What is wrong with an order of the desk that leaves for the meter of a home the MDM runs."""
        run = next((r for r in self.accounts.values() if r.meter_no == meter_no), None)
        if run is None:
            return
        if close and run.holds & KEEPS_OFF:
            yield f"held off by {sorted(run.holds & KEEPS_OFF)}"
        if not close and run.holds & KEEPS_ON:
            yield f"protected by {sorted(run.holds & KEEPS_ON)}"

    # ---- supply -----------------------------------------------------------------------------------------------

    def waits(self) -> Iterator[str]:
        """Who was switched off for want of money and has paid has his supply within the bound, once the way to it is free."""
        for account_no in [*self.restore_due]:
            if account_no not in self.accounts:
                del self.restore_due[account_no]
        for run in self.accounts.values():
            if not self._should_be_on(run):
                self.restore_due.pop(run.account_no, None)
                continue
            since_ms = self.restore_due.setdefault(run.account_no, self.world.now_ms)
            if self.world.now_ms - since_ms > RESTORED_MS:
                yield f"meter {run.meter_no}: still off {(self.world.now_ms - since_ms) // 1000} s after there was money again"

    def _should_be_on(self, run: Run) -> bool:
        world, book, meter = self.world, self.books.get(run.key), self.world.meter_of(run.meter_no)
        if book is None or meter.state is not SwitchState.OPEN or not meter.has_switch or meter.touched:
            return False
        there = world.link.up and world.edge.alive and world.cloud.alive and not world.edge.offset_ms and not world.rolled_back
        right = meter.answers and meter.serial == run.serial == world.bound_serial(run.meter_no)
        works = not (meter.stuck or meter.backfeed_w or meter.welded or meter.bypassed or meter.wait_ms)
        free = not run.holds and not run.arm_only
        paid = book.pool(watch.PAID) >= max(1, run.restore_min_nano)
        return there and right and works and free and paid and world.oracle.cut_by_money(meter.meter_no)

    # ---- from epoch to epoch ----------------------------------------------------------------------------------

    def handed_over(self) -> Iterator[str]:
        """Every epoch begins with what the mirror of the one before holds: the money to the nano, the register, and the day."""
        for account_no in self.world.homes:
            yield from self._chain(account_no)

    def _chain(self, account_no: int) -> Iterator[str]:
        eye = self.world.cloud.eye
        query = "SELECT DISTINCT epoch FROM journal_entry WHERE account_no = ? AND verified ORDER BY epoch"
        epochs = [epoch for (epoch,) in eye.execute(query, (account_no,))]
        books = {epoch: self._mirror(account_no, epoch) for epoch in epochs}
        for epoch in epochs:
            before, after = books.get(epoch - 1), books[epoch]
            if epoch > 1:
                yield from self._opening(account_no, epoch, before or watch.Book(), after)
            if before is not None and before.register_wh is not None and after.opened_wh is not None:
                yield from self._goes_on(account_no, epoch, before, after)
        yield from self._days(account_no, books)

    def _mirror(self, account_no: int, epoch: int) -> watch.Book:
        """The verified journal of an epoch in the MDM's books."""
        eyes, book = watch.EdgeWatch(), watch.Book()
        query = "SELECT seq, body FROM journal_entry WHERE account_no = ? AND epoch = ? AND verified ORDER BY seq"
        for seq, body in self.world.cloud.eye.execute(query, (account_no, epoch)):
            eyes._fold((account_no, epoch), book, seq, bytes(body), 0)
        return book

    def _opening(self, account_no: int, epoch: int, before: watch.Book, after: watch.Book) -> Iterator[str]:
        issued = self.world.cloud_watch.issued
        references = {x.gseq for x in after.lines if x.cause == _epoch_reference(epoch)}
        brought = [i.amount_nano for (n, e, g), i in issued.items() if (n, e) == (account_no, epoch) and g in references]
        unused = sum(i.amount_nano for (n, e, g), i in issued.items()
                     if (n, e) == (account_no, epoch - 1) and g not in before.used and i.type in MONEY_TYPES | {2, OPENING})  # fmt: skip
        held = before.pool(watch.PAID) + before.pool(watch.EMERGENCY) + unused
        unheard = not brought and all(g in after.used for n, e, g in issued if (n, e) == (account_no, epoch))
        if (brought or unheard) and (sum(brought) != held or len(brought) > 1):
            yield f"account {account_no}/{epoch} begins with {brought}, epoch {epoch - 1} held {held}"

    def _goes_on(self, account_no: int, epoch: int, before: watch.Book, after: watch.Book) -> Iterator[str]:
        first = next(x for x in after.lines if x.kind == watch.OPEN)
        same_meter = len(self.world.behind[account_no]) == 1 and not self.world.home_of(account_no).modulus_wh
        if same_meter and first.after_wh != before.register_wh:
            yield f"account {account_no}/{epoch} begins at {first.after_wh} Wh, epoch {epoch - 1} was charged up to {before.register_wh}"

    def _days(self, account_no: int, books: dict[int, watch.Book]) -> Iterator[str]:
        """Over all epochs no day is charged twice, and none is left out that began while it was paid ahead."""
        charged = sum(_days_in(x) for book in books.values() for x in book.lines if x.kind in (watch.FIXED_KIND, watch.ENERGY_KIND))
        began = self._midnights(account_no, self.world.plan.start_ms)
        if charged > began:
            yield f"account {account_no}: {charged} days are charged, {began} began"
        opened = [x for book in books.values() for x in book.lines if x.kind == watch.OPEN]
        billed = any(x.kind == watch.MODE_KIND for book in books.values() for x in book.lines)
        priced = all(v.per_day for v in self.world.tariffs[self.world.home_of(account_no).tariff_id].versions)
        ahead = not billed and self.world.cloud.mode_of(account_no) == "prepaid"
        if not (opened and priced and ahead) or books[max(books)].opened_wh is None:
            return
        due = self._midnights(account_no, opened[0].at_ms, self.world.now_ms - HOUR_MS)
        if charged < due:
            yield f"account {account_no}: {charged} days are charged, {due} began since it was opened"

    def _midnights(self, account_no: int, from_ms: int, to_ms: int = 0) -> int:
        zone = ZoneInfo(self.world.home_of(account_no).zone)
        first, last = (datetime.fromtimestamp(ms / 1000, zone).date() for ms in (from_ms, to_ms or self.world.now_ms))
        return (last - first).days


def _epoch_reference(epoch: int) -> bytes:
    return sha256(f"epoch|{epoch}".encode()).digest()[:16]


def _days_in(line: watch.Line) -> int:
    """How many days an entry charges; one that names what another charged already has nothing to pay."""
    parts = line.detail.get(2, []) if isinstance(line.detail, dict) else []
    return sum(part.get(2, 0) for part in parts if part.get(4) == DAY_LINE and part.get(1))
