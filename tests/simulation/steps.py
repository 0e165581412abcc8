"""What each kind of step does to a world. `STEPS` is the whole list; plan.py says how often each happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.lifecycle import COMMAND_RULES
from gridtally_shared.money import NANO
from gridtally_shared.schedules.document import Action
from gridtally_shared.signing import KeySigner, open_unverified, sign1
from simulation import fitters, managed, replenishing, visits, wallets
from simulation.cloud import SIGNER
from simulation.link import spoilt
from simulation.meter import SimMeter

if TYPE_CHECKING:
    from simulation.world import World

FORGER = KeySigner.from_seed(b"f" * 32)
HOLD_SETS = ((), ("medical",), ("safety",), ("work",), ("weather",), ("customer",))
BRINGS = (m.InstrumentType.CREDIT, m.InstrumentType.LEASE)
POLICIES: tuple[dict[str, Any], ...] = (
    {"protected_hours": ()}, {"protected_hours": ("18:00-08:00",)}, {"zero_action": "disconnect"}, {"zero_action": "none"},
    {"offline_cut": "never"}, {"offline_cut": "allowed"}, {"low_balance_nano": 30 * NANO}, {"restore_min_nano": 10 * NANO},
)  # fmt: skip


# ---- money ----------------------------------------------------------------------------------------------------


def cash(world: World, place: int, milli: int) -> None:
    world.payments_made += 1
    if world.cloud.pay_cash(_account(world, place), milli * NANO // 1000, f"receipt {world.payments_made}"):
        world.counts.payments += 1
    world.cloud.beat()


def online(world: World, place: int, milli: int, deliveries: int) -> None:
    if world.cloud.pay_online(_account(world, place), milli * NANO // 1000, deliveries):
        world.counts.payments += 1
    world.cloud.beat()


def refund(world: World, place: int, percent: int) -> None:
    """Give back a part of the newest payment of an account."""
    query = "SELECT payment_no, amount_nano FROM payment WHERE account_no = ? ORDER BY payment_no DESC LIMIT 1"
    row = world.cloud.eye.execute(query, (_account(world, place),)).fetchone()
    if row:
        world.cloud.refund(row[0], row[1] * percent // 100)
    world.cloud.beat()


def charged_back(world: World, place: int) -> None:
    """The bank takes back whatever is left of every payment of an account: they were made with somebody else's card."""
    query = """SELECT payment_no, amount_nano - (SELECT coalesce(sum(r.amount_nano), 0) FROM refund r WHERE r.payment_no = p.payment_no)
        FROM payment p WHERE account_no = ? ORDER BY payment_no"""
    for payment_no, left_nano in world.cloud.eye.execute(query, (_account(world, place),)).fetchall():
        if left_nano:
            world.cloud.refund(payment_no, left_nano)
    world.cloud.beat()


def _account(world: World, place: int) -> int:
    return world.plan.homes[place % len(world.plan.homes)].account_no


def _fitted(world: World, place: int) -> SimMeter:
    return world.fitted(_account(world, place))


def code(world: World, place: int, noise: int) -> None:
    """A consumer types the code of a payment that may be on its way, or long applied."""
    found = _some_code(world, place, noise)
    if found and world.edge.alive:
        key, text = found
        world.codes = [text]
        world.edge.feed(p.CodeEntered(Random(noise).randbytes(16), key[0], text))
        world.edge_watch.look(world.edge.db, world.event_no)
        book = world.edge_watch.books.get(key[:2])
        if book and key[2] in book.used:
            world.edge.delivered[key] = world.cloud_watch.issued[key].amount_nano


def typo(world: World, place: int, noise: int) -> None:
    """One digit wrong, or two turned round."""
    found = _some_code(world, place, noise)
    if not found or not world.edge.alive:
        return
    random, digits = Random(noise), [c for c in found[1] if c.isdigit()]
    at = random.randrange(len(digits) - 1)
    if random.random() < 0.5 or digits[at] == digits[at + 1]:
        digits[at] = str((int(digits[at]) + random.randint(1, 9)) % 10)
    else:
        digits[at], digits[at + 1] = digits[at + 1], digits[at]
    world.edge.feed(p.CodeEntered(random.randbytes(16), found[0][0], "".join(digits)))


def _some_code(world: World, place: int, noise: int) -> tuple[tuple[int, int, int], str] | None:
    account_no = _account(world, place)
    issued = sorted(k for k, i in world.cloud_watch.issued.items() if k[0] == account_no and i.type == m.InstrumentType.CREDIT)
    if not issued:
        return None
    key = issued[-1 - noise % min(3, len(issued))]
    made = world.cloud.code_of(key[0], key[2], key[1])
    return (key, made.text) if made else None


def control_order(world: World, place: int) -> None:
    """An instrument that orders and moves no money: it waits for every one before it."""
    world.cloud.test_order(_account(world, place))
    world.cloud.beat()


def debt(world: World, place: int, milli: int, by_time: int) -> None:
    if world.plan.care:
        world.cloud.debt(_account(world, place), milli * NANO // 1000, "time" if by_time else "payment")
        world.cloud.beat()


def correct(world: World, place: int, milli: int) -> None:
    """The desk signs the difference of past charges, either way."""
    world.cloud.correct(_account(world, place), milli * NANO // 1000)
    world.cloud.beat()


def mode(world: World, place: int) -> None:
    """The desk orders the other way of paying."""
    account_no = _account(world, place)
    if world.cloud.convert(account_no):
        world.converted.add(account_no)
    world.cloud.beat()


def limit(world: World, place: int, watts: int) -> None:
    account_no = _account(world, place)
    gseq = world.cloud.limit(account_no, watts)
    if gseq and watts:
        world.limits.setdefault(account_no, []).append(watts)
    elif gseq:
        world.limits_lifted.add((account_no, gseq))
    world.cloud.beat()


def reclose(world: World, place: int) -> None:
    """Somebody at home asks for the supply back after a trip; he does so as often as he likes."""
    account_no = _account(world, place)
    world.asked_back.append((account_no, world.edge.now_ms(), world.event_no))
    world.edge.feed(p.RecloseAsked(account_no))


# ---- network and boxes ----------------------------------------------------------------------------------------


def outage(world: World, length_ms: int) -> None:
    if world.link.up:
        world.link.fall()
        world.cut_off_ms = world.now_ms
        world.edge.disconnected()
        world.edge.vanishes()
        world.after(length_ms, "the uplink is back", lambda: _back(world))


def _back(world: World) -> None:
    if not world.link.up:
        world.link.rise()
        world.cut_off_ms = None
        world.edge.connected()


def crash(world: World, statements: int, down_ms: int) -> None:
    """The mains fail after so many further statements of the store, or in the next half hour at the latest."""
    if world.edge.alive:
        world.edge.fuse.left = statements
        boot = world.edge.boots
        world.after(1_800_000, "the fuse blows", lambda: power_fails(world, down_ms) if world.edge.boots == boot else None)


def power_fails(world: World, down_ms: int) -> None:
    world.note("the box loses its power")
    world.counts.power_cuts += 1
    world.edge.die()
    world.after(0 if world.healed else down_ms, "the box starts", lambda: fitters.started(world))


def snapshot(world: World) -> None:
    """Somebody copies the disk."""
    if world.edge.alive:
        world.images = [*world.images[-7:], world.edge.image()]


def old_disk(world: World, which: int, down_ms: int) -> None:
    """The box comes back with a copy of its disk of earlier."""
    if not world.images or world.healed:
        return
    world.note("the disk is replaced by an older one")
    world.counts.rollbacks += 1
    world.edge.die()
    disk = world.images[which % len(world.images)]
    world.edge.restore(disk)
    world.edge_watch.forget()
    world.words.forget_unheard(world.cloud_watch.mirror, disk.words)
    world.rolled_back = world.edge_watch.may_change = True
    world.rolled_back_ms.append(world.edge.now_ms())
    world.after(down_ms, "the box starts", lambda: fitters.started(world))


def twin(world: World, statements: int) -> None:
    """The same sweep twice on copies of the disk: without a crash, and with the mains failing at a statement and the sweep said
    again after the restart. Both must end alike."""
    if not world.edge.alive or world.edge.config is None:
        return
    reads = world.edge.reads()
    calm = world.edge.retold(p.SweepRead(reads), None)
    crashed = world.edge.retold(p.SweepRead(reads), statements)
    world.twins = [(calm, crashed)]


def cloud_crash(world: World, down_ms: int) -> None:
    world.cloud.alive = False
    world.after(down_ms, "the MDM starts", lambda: _cloud_starts(world))


def _cloud_starts(world: World) -> None:
    if not world.cloud.alive:
        world.cloud.start()
        world.cloud.beat()


def spoilt_link(world: World, permille: int, length_ms: int) -> None:
    world.link.spoilt_permille = permille

    def good_again() -> None:
        world.link.spoilt_permille = 0

    world.after(length_ms, "the link is clean again", good_again)


def lose(world: World, commands: int) -> None:
    """The next commands get lost on their way to the box, whatever chance says."""
    world.link.commands_to_lose += commands


def clock(world: World, jump_ms: int, length_ms: int) -> None:
    """The box's clock jumps, and jumps back after a while."""
    world.edge.shift(jump_ms)

    def mend() -> None:
        world.edge.shift(-world.edge.offset_ms)
        world.say_time()

    world.after(length_ms, "the clock is right again", mend)


def ntp_off(world: World, length_ms: int) -> None:
    world.ntp_ok = False

    def mend() -> None:
        world.ntp_ok = True

    world.after(length_ms, "the time service is back", mend)


# ---- meters ---------------------------------------------------------------------------------------------------


def _for_a_while(name: str, value: Any, usual: Any) -> Callable[[World, int, int], None]:
    def step(world: World, place: int, length_ms: int) -> None:
        meter = _fitted(world, place)
        meter.advance(world.now_ms)
        setattr(meter, name, value)

        def mend() -> None:
            meter.advance(world.now_ms)
            setattr(meter, name, usual)

        world.after(length_ms, f"{name} of meter {meter.meter_no} is {usual} again", mend)

    return step


def slow_line(world: World, place: int, wait_ms: int, length_ms: int) -> None:
    """An order to this meter waits so long for its line at most."""
    _for_a_while("wait_ms", wait_ms, 0)(world, place, length_ms)


def backfeed(world: World, place: int, length_ms: int) -> None:
    world.backfed_since[_fitted(world, place).meter_no] = world.now_ms
    _for_a_while("backfeed_w", 500, 0)(world, place, length_ms)


def by_hand(world: World, place: int, close: int) -> None:
    meter = _fitted(world, place)
    if not close or meter.state is SwitchState.ARMED:
        meter.by_hand(bool(close), world.now_ms)


# ---- people and rules -----------------------------------------------------------------------------------------


def _order(kind: m.CommandType) -> Callable[[World, int], None]:
    def step(world: World, place: int) -> None:
        from simulation.world import Ordered

        meter_no = world.cloud.meter_of(_account(world, place))
        issued = world.cloud.command(meter_no, kind)
        if issued is not None and kind in (m.CommandType.SWITCH_OPEN, m.CommandType.SWITCH_CLOSE):
            ttl_ms = COMMAND_RULES[kind][2]
            close = kind is m.CommandType.SWITCH_CLOSE
            world.issued_commands[issued.cmd_id] = Ordered(meter_no, close, world.now_ms + ttl_ms, "simulation")
        world.cloud.beat()

    return step


def tell(world: World, place: int) -> None:
    text = "The supply is interrupted on Friday from ten to eleven."
    world.cloud.command(world.cloud.meter_of(_account(world, place)), m.CommandType.MESSAGE, text=text)
    world.cloud.beat()


def book(world: World, place: int, minutes: int) -> None:
    """A time frame of two hours on the day after the run; some ask for a time that is taken."""
    start_ms = world.plan.end_ms + 86_400_000 + minutes * 60_000
    world.cloud.book(_account(world, place), start_ms, start_ms + 2 * 3_600_000)
    world.cloud.beat()


def frame(world: World, place: int, in_minutes: int, minutes: int, off: int) -> None:
    """Somebody has his supply on, or off, for a while soon."""
    start_ms = world.now_ms + in_minutes * 60_000
    world.cloud.book(_account(world, place), start_ms, start_ms + minutes * 60_000, Action.OFF if off else Action.SUPPLY)
    world.cloud.beat()


def event(world: World, place: int, further: int, in_minutes: int, minutes: int, milli: int) -> None:
    """A neighbour pays for what is used there for a while soon."""
    host, payer = _account(world, place), _account(world, place + further)
    start_ms = world.now_ms + in_minutes * 60_000
    if host != payer:
        world.cloud.event(host, payer, start_ms, start_ms + minutes * 60_000, milli * NANO // 1000)
        world.cloud.beat()


def unbook(world: World, noise: int) -> None:
    """One of the schedules that may still be there is cancelled; one that runs ends."""
    if number := _some_schedule(world, noise):
        world.cloud.unbook(number)
        world.cloud.beat()


def rebook(world: World, noise: int, minutes: int) -> None:
    if number := _some_schedule(world, noise):
        world.cloud.rebook(number, world.now_ms + minutes * 60_000)
        world.cloud.beat()


def _some_schedule(world: World, noise: int) -> int:
    rows = world.cloud.eye.execute("SELECT schedule_no FROM schedule WHERE state = 'open' ORDER BY schedule_no").fetchall()
    return int(rows[noise % len(rows)][0]) if rows else 0


def hold(world: World, place: int, which: int) -> None:
    world.cloud.set_policy(_account(world, place), holds=HOLD_SETS[which % len(HOLD_SETS)])
    world.cloud.beat()


def policy(world: World, place: int, which: int) -> None:
    """The account's own rules; they say nothing while it follows a document."""
    if world.plan.rules:
        return
    world.cloud.set_policy(_account(world, place), **POLICIES[which % len(POLICIES)])
    world.cloud.beat()


# ---- strangers ------------------------------------------------------------------------------------------------


def forged(world: World, which: int, noise: int) -> None:
    """Money and orders nobody issued: a strange key, another channel's signature, another box, another epoch."""
    config = world.edge.config
    if config is None or not config.accounts:
        return
    random = Random(noise)
    account = random.choice(config.accounts)
    now_ms = world.now_ms
    plain = m.Instrument(1, world.edge.dcu, account.account_no, account.account_epoch, 10_000 + random.randrange(1000),
                         m.InstrumentType.CREDIT, NANO * 500, account.currency, b"forged payment!!", now_ms, bytes(32))  # fmt: skip
    other = m.Instrument(1, "dcu-other", *[getattr(plain, f) for f in list(plain.__slots__)[2:]])
    early, late = (dataclasses.replace(plain, account_epoch=account.account_epoch + by) for by in (-1, 1))
    command = m.Command(1, random.randbytes(16), world.edge.dcu, account.meter_no, m.CommandType.SWITCH_OPEN, 3, 10,
                        1_000_000, now_ms, now_ms, now_ms + 900_000, bytes(16), switch_counter=1_000_000)  # fmt: skip
    made: tuple[tuple[str, bytes], ...] = (
        ("instrument", sign1(FORGER, "instrument", encode(plain))),
        ("instrument", sign1(SIGNER, "command", encode(plain))),
        ("instrument", sign1(SIGNER, "instrument", encode(other))),
        ("command", sign1(FORGER, "command", encode(command))),
        ("command", sign1(SIGNER, "instrument", encode(command))),
        ("config", sign1(FORGER, "config", encode(config))),
        ("welcome", sign1(FORGER, "welcome", encode(m.Welcome(bytes(16), world.edge.dcu, world.edge.identity.boot_id, now_ms)))),
        ("instrument", random.randbytes(random.randint(0, 300))),
        ("instrument", sign1(SIGNER, "instrument", encode(early))),
        ("instrument", sign1(SIGNER, "instrument", encode(late))),
    )  # fmt: skip
    channel, envelope = made[which % len(made)]
    world.link.inject_down(BY_NAME[channel].topic(world.edge.dcu), envelope)


def replayed(world: World, noise: int) -> None:
    """Somebody plays a real message of earlier once more, sometimes a little changed."""
    if world.link.seen_down:
        random = Random(noise)
        topic, payload = random.choice(world.link.seen_down)
        world.link.inject_down(topic, payload if random.random() < 0.7 else spoilt(random, payload))


def garbage_up(world: World, noise: int) -> None:
    random = Random(noise)
    channel = random.choice(("urgent", "live", "hello"))
    world.cloud.arrived(BY_NAME[channel].topic(world.edge.dcu), random.randbytes(random.randint(0, 200)))


# ---- what arrives at the box -------------------------------------------------------------------------------------


def arrives(world: World, topic: str, payload: bytes) -> None:
    """Hand it in, and note what money reached the box: the oracle's truth."""
    alive = world.edge.alive
    world.edge.arrived(topic, payload)
    if alive and topic.endswith("/instrument"):
        genuine(world, payload)


def genuine(world: World, payload: bytes) -> None:
    """An instrument the MDM really issued is now in the box (its transaction ended well)."""
    world.cloud_watch.look(world.cloud.eye, world.cloud.changed)
    for key, issued in world.cloud_watch.issued.items():
        if issued.envelope == payload:
            signed = decode(m.Instrument, open_unverified(payload)[1])
            world.edge.delivered[key] = signed.amount_nano if signed.type in BRINGS else 0


# ---- the end --------------------------------------------------------------------------------------------------


def heal(world: World) -> None:
    """Nothing goes wrong any more: from here on everything must find together."""
    world.healed = True
    world.link.heal()
    world.link.most_ms = 2_000
    world.ntp_ok = True
    world.edge.shift(-world.edge.offset_ms)
    world.bank.line = replenishing.NOW
    for meter in world.meters.values():
        meter.advance(world.now_ms)
        meter.reachable, meter.stuck, meter.welded, meter.bypassed, meter.backfeed_w = True, False, False, False, 0
        meter.wait_ms = 0
    _cloud_starts(world)
    for account_no in tuple(world.papers):
        fitters.enter(world, account_no)
    if world.edge.alive:
        world.edge.fuse.left = None
    _back(world)
    fitters.started(world)
    world.say_time()
    world.edge.connected()
    visits.leave_all(world)
    world.cloud.beat()


STEPS: dict[str, Callable[..., None]] = {
    "cash": cash,
    "online": online,
    "refund": refund,
    "charged_back": charged_back,
    "outage": outage,
    "crash": crash,
    "snapshot": snapshot,
    "old_disk": old_disk,
    "twin": twin,
    "code": code,
    "typo": typo,
    "control": control_order,
    "debt": debt,
    "limit": limit,
    "mode": mode,
    "cloud_crash": cloud_crash,
    "silence": _for_a_while("reachable", False, True),
    "stuck": _for_a_while("stuck", True, False),
    "welded": _for_a_while("welded", True, False),
    "slow_line": slow_line,
    "bypass": _for_a_while("bypassed", True, False),
    "backfeed": backfeed,
    "by_hand": by_hand,
    "new_meter": fitters.new_meter,
    "new_box": fitters.new_box,
    "manage": managed.manage,
    "give_back": managed.give_back,
    "order_open": _order(m.CommandType.SWITCH_OPEN),
    "order_close": _order(m.CommandType.SWITCH_CLOSE),
    "lose": lose,
    "look": _order(m.CommandType.READ_SWITCH),
    "tell": tell,
    "visit": visits.visit,
    "order_hold": visits.order_hold,
    "book": book,
    "frame": frame,
    "event": event,
    "unbook": unbook,
    "rebook": rebook,
    "hold": hold,
    "reclose": reclose,
    "policy": policy,
    "clock": clock,
    "ntp_off": ntp_off,
    "forged": forged,
    "replayed": replayed,
    "garbage_up": garbage_up,
    "spoilt_link": spoilt_link,
    "correct": correct,
    "card": replenishing.card,
    "card_off": replenishing.off,
    "bank_line": replenishing.line,
    "wallet_cash": wallets.cash,
    "wallet_back": wallets.back,
    "wallet_join": wallets.join,
    "wallet_refund": wallets.refund,
}
