"""The independent oracle (safety.md 18): its own arithmetic, slow and obvious, and its own judgement of every cut and close.

It knows what the product can not: true time, true consumption, what was paid and what really reached the concentrator. It
shares no code with tariff, ledger or engine; of the product it reads raw rows and the signed configuration's values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gridtally_edge.prepay.events import RunSwitch
from gridtally_shared.contract.messages import AccountConfig
from simulation import watch
from simulation.edge import CLOCK_OFF_MS
from simulation.meter import SimMeter
from simulation.plan import CARE_EMERGENCY, LEAN_W
from simulation.tariffs import Plain, Tariff
from simulation.visits import holds_of

if TYPE_CHECKING:
    from simulation.world import Ordered, World

HOUR_MS = 3_600_000
ASKED_EVENTS = 60
UNTRUSTED = 2
"""Who asks for the supply back is at home: for about as long as his order takes."""
KEEPS_ON = frozenset({"regulator", "disaster", "weather", "medical", "priority", "dispute", "conversion", "schedule"})
KEEPS_OFF = frozenset({"safety", "work", "tamper", "vacant", "customer", "regulator"})
CROSS_REASONS = frozenset({"safety", "work"})
CHARGES = (watch.ENERGY_KIND, watch.FIXED_KIND, watch.CORRECTION)
ENERGY_LINE, DAY_LINE = 0, 3
SUPPLY, OFF = 1, 2
SCHEDULE_SLACK_MS = 30 * 60_000
OPENING = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """An order that reached a contactor. `wrong` says why it should not have, empty where it was right; it was judged when it left
    the box, for an order on its way is called back by nobody."""

    at_ms: int
    meter_no: int
    close: bool
    origin: str
    wrong: tuple[str, ...]
    by_money: bool = False


@dataclass(slots=True)
class ByHand:
    """What an account's charges add up to, worked out line by line of the entries' details. Each change of price and each
    correction may round its tax by itself."""

    begun: list[watch.Line]
    lines: int = 0
    energy: Fraction = Fraction(0)
    fixed: Fraction = Fraction(0)
    tax: Fraction = Fraction(0)
    moved_wh: int = 0
    runs: int = 2
    last_ms: int = 0
    price: Plain | None = None
    guessing: bool = False
    many_prices: bool = False

    def add(self, tariff: Tariff, line: watch.Line) -> Iterator[str]:
        self.lines += 1
        if line.kind == watch.OPEN:
            self.last_ms = line.at_ms
        record = line.detail if line.kind in CHARGES and isinstance(line.detail, dict) and not line.gseq else {}
        self.guessing = bool(record.get(6)) if line.kind == watch.ENERGY_KIND else self.guessing
        self.runs += line.kind == watch.MODE_KIND or (line.kind == watch.CORRECTION and not line.gseq)
        for part in record.get(2, []):
            yield from self._part(tariff, line, record, part)
        if line.kind == watch.ENERGY_KIND and not record.get(6):
            self.last_ms = line.at_ms

    def _part(self, tariff: Tariff, line: watch.Line, record: dict[int, Any], part: dict[int, Any]) -> Iterator[str]:
        quantity, rate, form = part.get(2, 0), part.get(3, 0), part.get(4, 0)
        if form not in (ENERGY_LINE, DAY_LINE):
            return
        price = tariff.price_of(rate, form == DAY_LINE)
        if price is None:
            if quantity and rate:
                yield f"{rate} is a price of no version"
            return
        cost = (price.per_day if form == DAY_LINE else Fraction(rate)) * quantity
        self.tax += price.tax * cost
        if form == DAY_LINE:
            self.fixed += cost
            return
        self.energy, self.moved_wh = self.energy + cost, self.moved_wh + quantity
        self.many_prices |= self.price is not None and self.price is not price
        self.runs += self.price is not price
        self.price = price
        if line.kind == watch.ENERGY_KIND and not record.get(6) and not tariff.in_force(price, self.last_ms, line.at_ms):
            yield f"a price from {price.from_ms} charged for {self.last_ms}..{line.at_ms}"


@dataclass
class Oracle:
    world: World
    judged: list[Judged] = field(default_factory=list)
    fresh: list[Judged] = field(default_factory=list)
    _sums: dict[watch.Account, ByHand] = field(default_factory=dict)

    # ---- money ------------------------------------------------------------------------------------------------

    def faults_of_money(self, key: watch.Account, book: watch.Book) -> Iterator[tuple[str, str]]:
        """Every charge of a journal again, from its registers and days."""
        sums = self._sums.get(key)
        if sums is None or sums.lines > book.seq or sums.begun is not book.lines:
            sums = self._sums[key] = ByHand(book.lines)
        tariff = self.world.tariffs[self.world.home_of(key[0]).tariff_id]
        for line in book.lines[sums.lines :]:
            yield from (("I25", f"account {key[0]} entry {line.seq}: {fault}") for fault in sums.add(tariff, line))
        where, energy_nano = f"account {key[0]}/{key[1]}", book.pool(watch.ENERGY) - book.corrected_nano
        if energy_nano != sums.energy or book.pool(watch.FIXED) != sums.fixed:
            yield "I9", f"{where}: charged {energy_nano} + {book.pool(watch.FIXED)}, by hand {sums.energy} + {sums.fixed}"
        if sums.moved_wh != book.charged_wh:
            yield "I9", f"{where}: {sums.moved_wh} Wh are priced, the register moved {book.charged_wh}"
        if abs(book.pool(watch.TAX) - sums.tax) >= sums.runs:
            yield "I12", f"{where}: tax {book.pool(watch.TAX)}, by hand {float(sums.tax):.3f}"
        if not sums.guessing and not sums.many_prices and not tariff.slabs and sums.price is not None:
            whole = sums.price.per_wh * book.charged_wh
            if whole != energy_nano:
                yield "I10", f"{where}: in parts {energy_nano}, at once {whole}"
        one_stretch = key[1] == 1 and not book.changes
        if one_stretch and not sums.guessing and tariff.slabs and tariff.slab_cost(book.charged_wh) != energy_nano:
            yield "I11", f"{where}: in parts {energy_nano}, by slabs at once {tariff.slab_cost(book.charged_wh)}"

    def most_left_nano(self, account: AccountConfig) -> Fraction:
        """The most this consumer can have left: all credit that reached the box, less what the true register cost."""
        key = (account.account_no, account.account_epoch)
        book = self.world.edge_watch.books.get(key)
        if book is None or book.opened_wh is None:
            return Fraction(0)
        credit = sum(a for (n, e, _), a in self.world.edge.delivered.items() if (n, e) == key and a > 0)
        given_back = sum(a for line in book.lines if line.kind == watch.REFUND for p, a in line.postings if p == watch.RECEIVED)
        given_back += sum(a for line in book.lines if line.kind == watch.RETURN_KIND for p, a in line.postings if p == watch.TRANSFER)
        owed = -sum(min(0, book.pool(p)) for p in watch.OWED)
        charged = sum(book.pool(p) for p in watch.CHARGED) + book.collected_nano
        brought = sum(i.amount_nano for (n, e, g), i in self.world.cloud_watch.issued.items()
                      if (n, e) == key and g in book.used and i.type == OPENING)  # fmt: skip
        brought += book.corrected_debt_nano
        return credit + brought + book.events_nano - book.handed_over_nano - given_back + owed - charged - self._beyond_nano(account, book)

    def _beyond_nano(self, account: AccountConfig, book: watch.Book) -> Fraction:
        """The least that was used beyond the register up to which is charged."""
        least = min(v.per_wh * (1 + v.tax) for v in self.world.tariffs[account.tariff_id].versions)
        return least * max(0, self.world.beyond_wh(account.account_no, book))

    def _in_doubt_nano(self, account: AccountConfig, book: watch.Book) -> Fraction:
        """What a box whose clock is off, or was when it last read well, can not charge: a register that moved in no time, or that was read
        before it was last good. What is paid by its ledger is paid."""
        edge = self.world.edge
        held = self.world.edge_watch.cached[account.account_no, account.account_epoch].held
        found = edge.db.execute("SELECT register_ms FROM switch WHERE meter_no = ?", (account.meter_no,)).fetchone()
        good_ms = found[0] if found is not None else 0
        was_off = abs(edge.offset_ms) > CLOCK_OFF_MS or good_ms < edge.right_since_ms
        waits = (held == "jumped" and was_off) or good_ms > edge.now_ms()
        return self._beyond_nano(account, book) if waits else Fraction(0)

    # ---- switches ---------------------------------------------------------------------------------------------

    def judge(self, meter: SimMeter, close: bool, order: RunSwitch) -> Callable[[], None]:
        """Judge an order that leaves the box; what comes back is called when it reaches the contactor, before that moves."""
        origin, cmd_id = self._whose(order)
        wrong = tuple(self._why_wrong(meter, order.meter_no, close, origin, cmd_id))
        by_money = origin == "local" or cmd_id in self.world.from_cloud.signed

        def reached() -> None:
            self.judged.append(Judged(self.world.now_ms, meter.meter_no, close, origin, wrong, by_money))
            self.fresh.append(self.judged[-1])

        return reached

    def cut_by_money(self, meter_no: int) -> bool:
        """Whether the last order that reached this contactor was a cut for want of money, of its box or of the MDM, and the desk ordered
        none since."""
        last = next((j for j in reversed(self.judged) if j.meter_no == meter_no), None)
        if last is None or last.close or not last.by_money:
            return False
        orders = self.world.issued_commands.values()
        return not any(o.meter_no == meter_no and not o.close and o.expires_ms > last.at_ms for o in orders)

    def tripped(self, meter_no: int) -> bool:
        """Whether the last order that reached this contactor was its box's, above a limit."""
        last = next((j for j in reversed(self.judged) if j.meter_no == meter_no), None)
        return last is not None and not last.close and last.origin == "limit"

    def _whose(self, order: RunSwitch) -> tuple[str, bytes]:
        row = self.world.edge.db.execute("SELECT origin, cmd_id FROM action WHERE action_id = ?", (order.action_id,)).fetchone()
        return (row[0], row[1]) if row else ("nobody", b"")

    def _why_wrong(self, meter: SimMeter, asked_no: int, close: bool, origin: str, cmd_id: bytes) -> Iterator[str]:
        account = self.world.account_of(asked_no)
        if origin not in ("local", "command", "limit", "schedule", "back_off", "site"):
            yield "no stored order stands behind it"
        if meter.serial != self.world.bound_serial(asked_no):
            yield f"it is meter {meter.serial}"
        if cmd_id in self.world.from_cloud.signed:
            yield from self.world.from_cloud.reached(cmd_id, close, meter)
            return
        if account is None and origin == "site":
            yield from self._asked_at_meter(close, asked_no)
            return
        if account is None:
            ordered = self.world.issued_commands.get(cmd_id) or self._again(cmd_id)
            yield from self.world.from_cloud.by_desk(close, asked_no, ordered.cause if ordered else "")
            return
        if origin == "command":
            yield from self._ordered(close, cmd_id, account)
        elif origin == "limit":
            yield from self._limited(meter, close, account)
        elif origin == "site":
            yield from self._asked_there(close, account)
        elif origin in ("schedule", "back_off"):
            yield from self._timed(close, account)
        elif close:
            yield from self._closed(meter, account)
        else:
            yield from self._cut(account)

    def _ordered(self, close: bool, cmd_id: bytes, account: AccountConfig) -> Iterator[str]:
        issued = self.world.issued_commands.get(cmd_id) or self._again(cmd_id)
        if issued is None:
            yield "nobody issued this command"
            return
        if issued.close != close or issued.meter_no != account.meter_no:
            yield "the command said something else"
        if not close and self.world.now_ms > issued.expires_ms + 60_000:
            yield "the command had expired"
        yield from self._held_off(close, account)
        holds = holds_of(self.world, account)
        if not close and holds & KEEPS_ON and issued.cause not in CROSS_REASONS:
            yield f"protected by {sorted(holds & KEEPS_ON)}"

    def _asked_there(self, close: bool, account: AccountConfig) -> Iterator[str]:
        """Somebody at the box asked for it; nothing else may hold the supply."""
        yield from self._held_off(close, account, but=CROSS_REASONS)

    def _asked_at_meter(self, close: bool, meter_no: int) -> Iterator[str]:
        """The same where the MDM runs the home: the box knows what else holds it by the configuration."""
        config = self.world.edge.config
        told = {h.reason for m in (config.meters if config else ()) if m.meter_no == meter_no for h in m.held if h.on}
        run = next((r for r in self.world.from_cloud.accounts.values() if r.meter_no == meter_no), None)
        if close and run is not None and run.holds & told & KEEPS_OFF - CROSS_REASONS:
            yield f"held off by {sorted(run.holds & KEEPS_OFF)}"

    def _held_off(self, close: bool, account: AccountConfig, but: frozenset[str] = frozenset()) -> Iterator[str]:
        """A box with an old disk and no link since can not know what the MDM has."""
        known = holds_of(self.world, account) & holds_of(self.world, account, here=True)
        if close and known & KEEPS_OFF - but:
            yield f"held off by {sorted(known & KEEPS_OFF)}"

    def _again(self, cmd_id: bytes) -> Ordered | None:
        """The order of the desk that the MDM sent again under another command, since a newer counter had come first."""
        query = "SELECT first.cmd_id FROM command again JOIN command first ON first.order_id = again.order_id WHERE again.cmd_id = ?"
        known = (self.world.issued_commands.get(bytes(found)) for (found,) in self.world.cloud.eye.execute(query, (cmd_id,)))
        return next((order for order in known if order is not None), None)

    def _limited(self, meter: SimMeter, close: bool, account: AccountConfig) -> Iterator[str]:
        """A trip above an ordered limit, and the close after it."""
        yield from self._held_off(close, account)
        holds = holds_of(self.world, account)
        if not close and holds & KEEPS_ON:
            yield f"protected by {sorted(holds & KEEPS_ON)}"
        limits = [*self.world.limits.get(account.account_no, ()), *([LEAN_W] if self.world.plan.rules == "lean" else ())]
        if not close and not any(watts < max(meter.hourly_w) for watts in limits):
            yield "the load never was above a limit"

    def _timed(self, close: bool, account: AccountConfig) -> Iterator[str]:
        """On or off in a time that somebody booked, and back behind it; of a change the box may not have heard."""
        yield from self._held_off(close, account)
        holds = holds_of(self.world, account)
        if not close and holds & KEEPS_ON:
            yield f"protected by {sorted(holds & KEEPS_ON)}"
        if not close and is_protected(account.protected_hours, account.zone, self.world.now_ms):
            yield f"protected hours {account.protected_hours}"
        slack_ms = SCHEDULE_SLACK_MS + abs(self.world.edge.offset_ms)
        query = "SELECT start_ms, end_ms, action, running FROM schedule WHERE account_no = ?"
        known = self.world.edge.db.execute(query, (account.account_no,)).fetchall()
        booked = [*self.world.cloud.booked(account.account_no), *(row[:3] for row in known)]
        begun = [(start_ms, end_ms, action) for start_ms, end_ms, action in booked if start_ms - slack_ms <= self.world.now_ms]
        within = {action for _, end_ms, action in begun if self.world.now_ms <= end_ms + slack_ms}
        within |= {action for *_, action, running in known if running and self._has_no_end(account)}
        behind = {action for _, _, action in begun}
        if not (within & {SUPPLY if close else OFF} or behind & {OFF if close else SUPPLY}):
            yield "nobody booked this time"

    def _in_a_frame(self, account: AccountConfig) -> bool:
        """Whether the box knows of a time, that is now by the true clock, in which the supply stays on."""
        off_ms = SCHEDULE_SLACK_MS + abs(self.world.edge.offset_ms)
        return any(
            meter_no == account.meter_no and action == SUPPLY and start_ms + off_ms < self.world.now_ms < end_ms - off_ms
            for meter_no, start_ms, end_ms, _, action, _ in self.world.edge_watch.schedules
        )

    def _has_no_end(self, account: AccountConfig) -> bool:
        """While the box does not believe its clock, or its disk is an old one, what runs goes on: no schedule ends by a wrong clock."""
        query = "SELECT standing FROM account WHERE account_no = ? AND epoch = ?"
        row = self.world.edge.db.execute(query, (account.account_no, account.account_epoch)).fetchone()
        regions = json.loads(row[0]).get("regions", {}) if row and row[0] else {}
        return self.world.rolled_back or regions.get("clock") == UNTRUSTED

    def _closed(self, meter: SimMeter, account: AccountConfig) -> Iterator[str]:
        yield from self._held_off(True, account)
        holds = holds_of(self.world, account)
        asked = any(number == account.account_no and self.world.event_no - step < ASKED_EVENTS for number, _, step in self.world.asked_back)
        if account.arm_only and not meter.arms and not asked:
            yield "the consumer must be present"
        book = self.world.edge_watch.books[account.account_no, account.account_epoch]
        lent = CARE_EMERGENCY + min(0, book.pool(watch.EMERGENCY)) if self.world.plan.care else 0
        most = self.most_left_nano(account) + self._in_doubt_nano(account, book) + self.world.in_doubt_nano(account) + lent
        entitled = most >= account.restore_min_nano
        if not (book.mode or entitled or account.zero_action != "disconnect" or holds & KEEPS_ON):
            yield "nothing was paid and nothing protects"
        if meter.backfeed_w > 10 and self.world.now_ms - self.world.backfed_since.get(meter.meter_no, 0) > 2 * HOUR_MS:
            yield "the load side was live"

    def _cut(self, account: AccountConfig) -> Iterator[str]:
        world, now_ms = self.world, self.world.now_ms
        if self.world.edge_watch.books[account.account_no, account.account_epoch].mode:
            yield "it is billed, and has no balance"
        left = self.most_left_nano(account)
        if left > 2:
            yield f"{float(left):.0f} nano were left"
        if account.zero_action != "disconnect":
            yield f"the policy says {account.zero_action}"
        if holds_of(self.world, account) & KEEPS_ON:
            yield f"protected by {sorted(holds_of(self.world, account) & KEEPS_ON)}"
        if self._in_a_frame(account):
            yield "it is within a time that was booked"
        if is_protected(account.protected_hours, account.zone, now_ms):
            yield f"protected hours {account.protected_hours}"
        config = world.edge.config
        lease_ms = max(config.cut_lease_until_ms, world.edge.heard_ms + config.cut_lease_until_ms - config.issued_at_ms) if config else 0
        if now_ms > lease_ms + HOUR_MS:
            yield "the right to cut had ended"
        if config and world.edge.named_version > config.version:
            yield f"configuration {config.version} is older than the MDM's {world.edge.named_version}"
        if world.rolled_back and not world.is_healed(account):
            yield "the disk was an old one"
        yield from self._unwarned(account)
        if world.offline_for_ms() > 60_000 and account.offline_cut == "never":
            yield "the uplink was away"
        if any(a > 0 and (n, e) == (account.account_no, account.account_epoch) and g not in self._used(account)
               for (n, e, g), a in world.edge.delivered.items()):  # fmt: skip
            yield "a payment lay in the box"

    def _unwarned(self, account: AccountConfig) -> Iterator[str]:
        """What the household was told counts, by its box or by the MDM, whatever became of the entry: those of an old disk go aside."""
        if not self.world.from_cloud.was_warned(account.account_no):
            yield "nobody was warned"

    def _used(self, account: AccountConfig) -> dict[int, int]:
        return self.world.edge_watch.books[account.account_no, account.account_epoch].used


def is_protected(spans: tuple[str, ...], zone: str, at_ms: int) -> bool:
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    for span in spans:
        begin, end = ((int(t[:2]) * 60 + int(t[3:5])) for t in span.split("-"))
        if begin <= minute < end if begin < end else (minute >= begin or minute < end):
            return True
    return False
