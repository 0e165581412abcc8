"""One seeded fault for every invariant of the table: what the product must never do, done to a quiet world on purpose.

A saboteur is asked after every event and strikes once, when the world is ripe. The proof is that its invariant is found
broken (test_invariants.py): a check that can not fail is no check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cbor2
from sqlalchemy import text

from gridtally_cloud.customers.model import Policy
from gridtally_edge.prepay.events import RunSwitch, ShowOnMeter
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, InstrumentType
from gridtally_shared.money import NANO
from gridtally_shared.prepay.ordered import PREPAY, PrepayOrder
from simulation import tariffs, watch
from simulation.meter import SimPort
from simulation.money_plans import NO_MONEY, Money
from simulation.plan import EPOCH_MS, HOUR_MS, MINUTE_MS, Plan, Step, plan_of

if TYPE_CHECKING:
    from simulation.world import World

Act = Callable[["World"], bool]
"""Strikes if the world is ripe; whether it struck."""


@dataclass
class Saboteur:
    """Strikes once, at the first event from `from_ms` on at which `act` can."""

    act: Act
    from_ms: int = 2 * HOUR_MS
    struck: bool = False

    def __call__(self, world: World) -> None:
        if not self.struck and world.now_ms - world.plan.start_ms >= self.from_ms and world.edge.alive:
            self.struck = self.act(world)


def quiet_plan(credit_milli: int = 400_000, protected: tuple[str, ...] = (), versions: int = 1, slabs: bool = False) -> Plan:
    """A day of two homes in which nothing goes wrong: some credit at the start, more after ten hours."""
    plan = plan_of(11, days=1, homes=2)
    policy = Policy(2 * NANO, "disconnect", "allowed", 0, protected, (), 1, False, 0)
    homes = tuple(replace(h, policy=policy, zone="Asia/Kolkata", has_switch=True, modulus_wh=None, start_wh=5_000,
                          hourly_w=(1_000,) * 24) for h in plan.homes)  # fmt: skip
    steps = [Step(EPOCH_MS + 10 * MINUTE_MS, "cash", (n, credit_milli)) for n in range(2)]
    steps += [Step(EPOCH_MS + 10 * HOUR_MS, "cash", (n, 400_000)) for n in range(2)]
    return replace(plan, homes=homes, steps=tuple(steps), tariffs=tariffs.simple(versions, EPOCH_MS, slabs), network=(0, 0, 0, 300),
                   cut_share_permille=1000, interval_ms=HOUR_MS, money=NO_MONEY)  # fmt: skip


def held_plan() -> Plan:
    """The same, and the desk holds a supply after three hours."""
    plan = quiet_plan()
    return replace(plan, steps=(*plan.steps, Step(EPOCH_MS + 3 * HOUR_MS, "order_hold", (0, 0, 1))))


def managed_plan(credit_milli: int = 400_000) -> Plan:
    """The same; the MDM runs the first home from the thirtieth minute on."""
    plan = quiet_plan(credit_milli)
    steps = tuple(sorted((*plan.steps, Step(EPOCH_MS + 30 * MINUTE_MS, "manage", (0,))), key=lambda s: s.at_ms))
    return replace(plan, managed=True, steps=steps)


def visited_plan() -> Plan:
    """The same; after three hours somebody sets to work there, for an hour."""
    plan = managed_plan()
    steps = (*plan.steps, Step(EPOCH_MS + 3 * HOUR_MS, "visit", (0, 0, 60 * MINUTE_MS, 0, 0)))
    return replace(plan, steps=tuple(sorted(steps, key=lambda s: s.at_ms)))


# ---- hands on the stores ------------------------------------------------------------------------------------------


def _book(world: World) -> tuple[watch.Account, watch.Book] | None:
    key = next(iter(world.edge_watch.books), None)
    return (key, world.edge_watch.books[key]) if key and world.edge_watch.books[key].seq > 3 else None


def _write(**fields: Any) -> Act:
    """An entry written behind the ledger's back; chained unless `fields` say otherwise."""

    def act(world: World) -> bool:
        found = _book(world)
        if found is None:
            return False
        (account_no, epoch), book = found
        names = {name: n for n, name in enumerate(watch.KEYS)}
        plain = {"account": account_no, "epoch": epoch, "seq": book.seq + 1, "previous": book.head, "kind": watch.CORRECTION,
                 "at_ms": world.edge.now_ms()}  # fmt: skip
        made = {k: (v(book) if callable(v) else v) for k, v in {**plain, **fields}.items()}
        body = cbor2.dumps({names[k]: v for k, v in made.items()})
        row = (account_no, epoch, made["seq"], made["kind"], made["at_ms"], made.get("after_wh"), body)
        world.edge.db.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        world.edge.db.execute("UPDATE account SET as_of_ms = as_of_ms + 1")
        return True

    return act


def _pairs(*pairs: tuple[int, Any]) -> list[dict[int, Any]]:
    return [{0: pool, 1: amount} for pool, amount in pairs]


def _edge_sql(sql: str) -> Act:
    def act(world: World) -> bool:
        return _book(world) is not None and world.edge.db.execute(sql).rowcount > 0

    return act


def _held_again(world: World) -> bool:
    """As if nobody had told the MDM of the lift."""
    return world.edge.db.execute("UPDATE meter_hold SET value = 1, heard = 0, entry_id = x'00' WHERE value = 0").rowcount > 0


def _cloud_sql(sql: str) -> Act:
    def act(world: World) -> bool:
        with world.cloud.db.write() as conn:
            done = conn.execute(text(sql)).rowcount > 0
        world.cloud.changed += 1
        return done

    return act


def _charge(wh: int, rate_milli: int, *, amount: int | None = None, tax: int | None = None) -> Act:
    """A charge whose line says one thing (quantity, price in milli a kWh) and whose postings may say another."""

    def act(world: World) -> bool:
        found = _book(world)
        if found is None or found[1].register_wh is None:
            return False
        book, rate = found[1], rate_milli * 1_000
        energy = wh * rate if amount is None else amount
        duty = energy // 20 if tax is None else tax
        detail = cbor2.dumps({0: 1, 1: 2, 2: [{0: "energy", 1: energy, 2: wh, 3: rate}]})
        return _write(kind=watch.ENERGY_KIND, before_wh=book.register_wh, after_wh=book.register_wh + wh, detail=detail,
                      postings=_pairs((1, -energy - duty), (3, energy), (5, duty)), tariff_version=1)(world)  # fmt: skip

    return act


# ---- hands on the network and the contactors ---------------------------------------------------------------------


def _swallow_instruments(world: World) -> bool:
    """Instruments never arrive, also when all is healed."""
    deliver = world.link.to_edge
    world.link.to_edge = lambda topic, payload: None if topic.endswith("/instrument") else deliver(topic, payload)
    return True


def _swallow_closes(world: World) -> bool:
    """Orders to close are lost on their way to the line, and nobody hears of it."""
    from simulation.edge import CARRY

    carry = CARRY[RunSwitch]
    world.carries[RunSwitch] = lambda edge, order: None if order.close else carry(edge, order)
    return True


def _open_by_itself(stored: bool) -> Act:
    def act(world: World) -> bool:
        meter = world.meters[1]
        order = RunSwitch(b"sabotage" * 2, 1, meter.serial, False, world.edge.now_ms() + HOUR_MS)
        if stored:
            row = (order.action_id, 1, 101, 1, b"", 99, 0, "local", "finished", world.edge.now_ms(), 0, 0, "done")
            world.edge.db.execute("""INSERT INTO action (action_id, meter_no, account_no, epoch, cmd_id, counter, "close", origin,
                state, created_ms, unresolved_ms, finished_ms, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""", row)  # fmt: skip
        port = SimPort(meter, world.edge.now_ms, lambda: world.now_ms, lambda x, close: world.judge(x, close, order))
        for _ in port.open_switch():
            pass
        return True

    return act


def _two_recloses(world: World) -> bool:
    """A trip above a limit is followed by a close, and half an hour later by another one."""
    found = _book(world)
    if found is None:
        return False
    done = {0: True, 1: "done", 7: "limit"}
    made = [_write(kind=watch.SWITCH, meter_no=1, detail=cbor2.dumps(done))(world)]
    world.edge_watch.look(world.edge.db, world.event_no)
    return all([*made, _write(kind=watch.SWITCH, meter_no=1, detail=cbor2.dumps(done))(world)])


def _dark_for_ever(world: World) -> bool:
    """Orders to close the first home are lost on their way to the line, and nobody hears of it."""
    from simulation.edge import CARRY

    carry = CARRY[RunSwitch]
    world.carries[RunSwitch] = lambda edge, order: None if order.close and order.meter_no == 1 else carry(edge, order)
    return True


def _unfounded_cut(world: World) -> bool:
    """The MDM signs a cut of a home that it runs and that has credit."""
    run = world.from_cloud.accounts.get(101)
    if run is None or (101, run.epoch) not in world.from_cloud.books:
        return False
    order = CommandType.SWITCH_OPEN
    done = world.cloud.command(1, order, cause=PREPAY, detail=encode(PrepayOrder(0)), expires_ms=world.now_ms + 10 * MINUTE_MS)
    world.cloud.beat()
    return done is not None


def _more_behind(world: World) -> bool:
    """The mirror of an epoch that is over holds more than the next one began with."""
    if (101, 2) not in world.from_cloud.epochs:
        return False
    fields = {0: 101, 1: 1, 2: 999, 3: bytes(32), 4: watch.CORRECTION, 5: world.now_ms, 6: _pairs((6, -5), (1, 5))}
    return _cloud_sql(f"""INSERT INTO journal_entry (shard, account_no, epoch, seq, kind, at_ms, paid_nano, gseq, body, verified, dcu,
        received_ms) VALUES (0, 101, 1, 999, {watch.CORRECTION}, 0, 5, 0, X'{cbor2.dumps(fields).hex()}', 1, 'dcu-sim', 0)""")(world)


def _other_epoch(world: World) -> bool:
    """An epoch that is over goes on in the books."""
    found = _book(world)
    if found is None or world.edge.config is None:
        return False
    accounts = tuple(replace(a, account_epoch=a.account_epoch + 1) for a in world.edge.config.accounts)
    world.edge.config = replace(world.edge.config, accounts=accounts)
    return _write(kind=watch.NOTICE)(world)


def _two_orders(world: World) -> bool:
    for n in (1, 2):
        row = (bytes([n]) * 16, 1, 101, 1, b"", 90 + n, 0, "local", "intent", world.edge.now_ms(), 0, 0, "")
        world.edge.db.execute("""INSERT INTO action (action_id, meter_no, account_no, epoch, cmd_id, counter, "close", origin,
            state, created_ms, unresolved_ms, finished_ms, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""", row)  # fmt: skip
    return True


def _show_more(world: World) -> bool:
    found = _book(world)
    if found is None:
        return False
    world.edge._show(ShowOnMeter(1, found[1].balance + 1, world.edge.now_ms()))
    return True


def _early_order(world: World) -> bool:
    """The order is posted although the instrument before it never came."""
    issued = {k: i for k, i in world.cloud_watch.issued.items() if i.type == InstrumentType.TEST}
    if not issued:
        world.cloud.test_order(101)
        return False
    (_, _, gseq), book = next(iter(issued)), world.edge_watch.books[101, 1]
    book.used.pop(1, None)
    return _write(kind=19, gseq=gseq)(world) if gseq not in book.used else False


def _torn_write(world: World) -> bool:
    world.twins = [((101, 1, 5), (101, 1, 4))]
    return True


def _careless_parser(world: World) -> bool:
    """A parser that does not look at the check digits."""
    issued = [k for k in world.cloud_watch.issued if k[0] == 101]
    made = world.cloud.code_of(101, issued[0][2], 1) if issued else None
    if made is None:
        return False
    world.read_code, world.codes = int, [made.text]
    return True


def _double_booking(world: World) -> bool:
    """The box takes a schedule in where one is already."""
    held = world.edge.db.execute("SELECT count(*) FROM schedule").fetchone()[0]
    if not held:
        world.cloud.book(101, world.now_ms + 3 * HOUR_MS, world.now_ms + 4 * HOUR_MS)
        world.cloud.beat()
        return False
    names = [row[1] for row in world.edge.db.execute("PRAGMA table_info(schedule)")]
    others = ", ".join("randomblob(16)" if n == "cmd_id" else n for n in names)
    world.edge.db.execute(f"INSERT INTO schedule SELECT {others} FROM schedule LIMIT 1")
    world.edge.db.execute("UPDATE account SET as_of_ms = as_of_ms + 1")
    return True


def _dear_event(world: World) -> bool:
    """Who asked for an event gets a nano less back than it left."""
    return _with_event(world, "settled") and _cloud_sql(
        "UPDATE schedule_posting SET amount_nano = amount_nano + CASE WHEN amount_nano < 0 THEN 1 ELSE -1 END WHERE kind = 'return'"
    )(world)


def _forgotten_event(world: World) -> bool:
    """The box loses what it knows of an event that runs: nobody will say what it came to."""
    running = world.edge.db.execute("SELECT count(*) FROM schedule WHERE stage = 'running'").fetchone()[0]
    return _with_event(world, "open") and bool(running) and _edge_sql("UPDATE schedule SET stage = 'over'")(world)


def _family() -> Plan:
    return replace(quiet_plan(20_000), money=Money((0, 1)))


def _cards() -> Plan:
    plan = quiet_plan(20_000)
    return replace(plan, money=Money(cards=(0, 1)), steps=plan.steps[:2])


def _unheard(world: World) -> bool:
    """Somebody wants no more charges, and the MDM does not hear of it."""
    world.consents[101].append((world.now_ms, None, 0))
    return True


def _nobody_looks(world: World) -> bool:
    """No low balance is seen."""
    with world.cloud.db.write() as conn:
        conn.exec_driver_sql("CREATE TRIGGER blind BEFORE INSERT ON replenish_attempt BEGIN SELECT RAISE(IGNORE); END")
    return True


def _with_event(world: World, state: str) -> bool:
    """Whether there is an event in this state; books one where there is none."""
    found = world.cloud.eye.execute("SELECT state FROM schedule").fetchone()
    if found is None:
        world.cloud.event(101, 102, world.now_ms + HOUR_MS, world.now_ms + 3 * HOUR_MS, 100 * NANO)
        world.cloud.beat()
    return found == (state,)


# ---- the list -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sabotage:
    """`plan` is the world in which it happens."""

    invariant: str
    what: str
    act: Act
    plan: Callable[[], Plan] = quiet_plan


BAD_CUT = {0: "cut", 1: [{0: "clock", 1: False, 2: "untrusted"}]}
SABOTAGES: tuple[Sabotage, ...] = (
    Sabotage("I1", "an issued instrument is deleted in the MDM", _cloud_sql("DELETE FROM instrument WHERE gseq = 1")),
    Sabotage("I1", "a wallet forgets what it lent", _cloud_sql("DELETE FROM wallet_entry WHERE kind = 'lease'"), _family),
    Sabotage("I1", "a wallet loses a nano", _cloud_sql("UPDATE wallet_entry SET amount_nano = amount_nano - 1 WHERE entry_no = 1"),
             _family),
    Sabotage("I1", "a card is charged after its consent", _unheard, _cards),
    Sabotage("I1", "a charge is forgotten while the bank is asked",
             _cloud_sql("UPDATE replenish_attempt SET seq = 0, state = 'failed' WHERE state = 'asked'"), _cards),
    Sabotage("I2", "an instrument is posted a second time", _write(kind=watch.CREDIT, gseq=1, postings=_pairs((2, -5), (1, 5)))),
    Sabotage("I3", "instruments never arrive", _swallow_instruments),
    Sabotage("I4", "an order overtakes a payment", _early_order),
    Sabotage("I5", "an entry makes money", _write(postings=_pairs((1, 7)))),
    Sabotage("I6", "the cached balance is one nano off", _edge_sql("UPDATE account SET balance_nano = balance_nano + 1")),
    Sabotage("I7", "an entry does not name the one before it", _write(previous=b"\x01" * 32)),
    Sabotage("I8", "an event has its receipt, and is not there",
             _edge_sql("INSERT INTO outbox_entry VALUES (zeroblob(16), 1, 1, 3, x'a3000101010201', 9000000000000)")),
    Sabotage("I8", "the mirror holds what nobody wrote", _cloud_sql("UPDATE account_mirror SET seq = seq + 50")),
    Sabotage("I9", "energy is charged that the register did not move", _write(kind=watch.ENERGY_KIND, before_wh=1, after_wh=9)),
    Sabotage("I9", "an amount that is not quantity x price", _charge(100, 8_000, amount=801_000_000)),
    Sabotage("I10", "a part of a movement is charged a nano more", _charge(100, 8_000, amount=800_000_001)),
    Sabotage("I11", "a slab is skipped", _charge(100, 7_950), lambda: quiet_plan(slabs=True)),
    Sabotage("I12", "too much tax", _charge(100, 8_000, tax=40_000_009)),
    Sabotage("I13", "a float reaches a posting", _write(postings=[{0: 1, 1: -0.5}, {0: 3, 1: 0.5}])),
    Sabotage("I14", "an entry in an epoch that is over", _other_epoch),
    Sabotage("I15", "an instrument that nobody issued", _write(kind=watch.CREDIT, gseq=77, postings=_pairs((2, -5), (1, 5)))),
    Sabotage("I16", "a cut in protected hours", _open_by_itself(True), lambda: quiet_plan(protected=("00:00-24:00",))),
    Sabotage("I17", "a cut with a failed test and without the others", _write(kind=watch.DECISION, detail=cbor2.dumps(BAD_CUT))),
    Sabotage("I18", "the contactor opens and no order is stored", _open_by_itself(False)),
    Sabotage("I18", "the box forgets a hold", _edge_sql("DELETE FROM account_order WHERE name LIKE 'hold:%'"), held_plan),
    Sabotage("I18", "the MDM cuts a home that has credit", _unfounded_cut, managed_plan),
    Sabotage("I18", "the box forgets that a hold was lifted where the MDM runs the home", _held_again, visited_plan),
    Sabotage("I19", "a second close by itself", _two_recloses),
    Sabotage("I20", "two orders for one switch at once", _two_orders),
    Sabotage("I21", "a crash loses a posting", _torn_write),
    Sabotage("I22", "more is collected than is owed", _write(kind=watch.DEBT_KIND, postings=_pairs((1, -5), (10, 5)))),
    Sabotage("I23", "emergency credit that nobody granted", _write(kind=14, postings=_pairs((9, -5), (1, 5)))),
    Sabotage("I24", "orders to close are lost", _swallow_closes, lambda: quiet_plan(20_000)),
    Sabotage("I24", "a wallet lends nothing", _cloud_sql(f"UPDATE shared_wallet SET credit_nano = {-NANO * 1_000_000}"), _family),
    Sabotage("I24", "no low balance is seen", _nobody_looks, _cards),
    Sabotage("I24", "orders to close a home that the MDM runs are lost", _dark_for_ever, lambda: managed_plan(20_000)),
    Sabotage("I25", "a price whose time has not come", _charge(100, 6_350), lambda: quiet_plan(versions=2)),
    Sabotage("I26", "a conversion leaves money behind", _write(kind=watch.MODE_KIND, mode=1, postings=_pairs((1, -5), (6, 5)))),
    Sabotage("I26", "an epoch begins with less than the one before it held", _more_behind, managed_plan),
    Sabotage("I27", "two schedules at the same time", _double_booking),
    Sabotage("I27", "an event costs a nano more than it used", _dear_event),
    Sabotage("I27", "an event never ends", _forgotten_event),
    Sabotage("I28", "check digits are not looked at", _careless_parser),
    Sabotage("I29", "the meter's face says one nano too much", _show_more),
)
