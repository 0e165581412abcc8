"""People who work at a supply, and orders that stand: what keeps a switch off or on, whatever becomes of the box that was told.

* Somebody comes, sets a safety or work hold at the box (some switch off as well), and lifts it when he is done. He begins only when the box
  has said that the hold stands; a box that is dead he asks again later.
* The desk orders holds and protections, and lifts them.
* `Words` is the truth: every word on a hold in the order in which the box took it. What a disk or a box took with it before the MDM had it
  is nobody's to know, and is forgotten here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cbor2

from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import decode
from gridtally_shared.instruments.details import HoldOrder, ProtectOrder
from gridtally_shared.signing import open_unverified
from simulation import watch
from simulation.plan import MINUTE_MS

if TYPE_CHECKING:
    from simulation.world import World

NAME, SALT = "A. Fitter", b"s" * 16
PROOF = proof_of("271828", SALT)
KNOWN = packed(Person(NAME, SALT, verifier_of(PROOF)))
ON_SITE = frozenset({"safety", "work"})
REASONS = ("work", "safety")
ORDERED = ("customer", "vacant", "regulator", "medical", "dispute")
"""A step names them by their place."""
KEEPS_OFF = frozenset({"customer", "vacant"})
HELD = frozenset({"set", "opening", "not_opened"})
DONE = frozenset({"lifted", "closing", "not_closed", "not_held"})
AGAIN_MS = 20 * MINUTE_MS
BY, REASON, ORDER = 4, 5, 7
"""Keys of what an entry says of a hold."""
BEHIND_ALL = 1 << 40


# ---- the truth ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Word:
    """A reason holds from here on, or no longer. `seq`: behind which entry of the journal it was said. `settled`: not at an old disk, whose
    entries will go behind those the MDM has. `away`: the MDM has it, the disk that was put in has not, and no link came since. `entry`: how
    the box tells it where the MDM runs the home; its place is behind all the journal holds."""

    key: watch.Account
    seq: int
    reason: str
    on: bool
    settled: bool = True
    entry: bytes = b""
    away: bool = field(default=False, compare=False)


@dataclass(slots=True)
class Words:
    said: list[Word] = field(default_factory=list)
    heard: set[bytes] = field(default_factory=set)
    recorded: set[tuple[int, str]] = field(default_factory=set)
    count: int = 0

    def say(self, word: Word) -> None:
        if word not in self.said:  # a journal that is read again says it again
            self.said.append(word)

    def last(self, account_no: int, here: bool = False) -> dict[str, bool]:
        """The newest word on each reason. `here`: of those a box can know."""
        mine = sorted((w for w in self.said if w.key[0] == account_no and not (here and w.away)), key=lambda w: (w.key[1], w.seq))
        return {w.reason: w.on for w in mine}

    def forget_unheard(self, mirror: dict[watch.Account, watch.Mirrored], disk: Sequence[Word] = ()) -> None:
        """Only what the MDM has, or the disk that was put in, is known to a box from here on."""
        heard = [w for w in self.said if self._is_heard(w, mirror)]
        self.said = [*(replace(w, away=w not in disk) for w in heard), *(replace(w, away=False) for w in disk if w not in heard)]

    def _is_heard(self, word: Word, mirror: dict[watch.Account, watch.Mirrored]) -> bool:
        if word.entry:
            return word.entry in self.heard
        return word.settled and word.key in mirror and mirror[word.key].seq >= word.seq

    def linked(self) -> None:
        """What the MDM has comes now, and a close waits for it."""
        for word in self.said:
            word.away = False

    def settle(self, key: watch.Account, seq: int) -> None:
        """The journal is healed: what was said meanwhile stands behind all it holds now."""
        meanwhile = [w for w in self.said if not w.settled and w.key == key]
        self.said = [*(w for w in self.said if w not in meanwhile), *(replace(w, seq=seq, settled=True) for w in meanwhile)]

    def copy(self) -> list[Word]:
        return [replace(w) for w in self.said]


def healed(world: World) -> None:
    """Journals that are what the MDM has, and more, since the last look."""
    for account in world.edge.config.accounts if world.edge.config else ():
        key = (account.account_no, account.account_epoch)
        waits = any(not w.settled and w.key == key for w in world.words.said)
        if waits and key in world.edge_watch.cached and world.is_healed(account):
            world.words.settle(key, world.edge_watch.books[key].seq)


def taken(world: World) -> None:
    """What the box, or the MDM where it runs a home, took of the desk's orders since the last look, and what boxes told the MDM."""
    told(world)
    recorded(world)
    for key, line in (*world.edge_watch.fresh, *world.from_cloud.fresh):
        issued = world.cloud_watch.issued.get((*key, line.gseq)) if line.gseq else None
        if issued is None or issued.type not in (m.InstrumentType.HOLD, m.InstrumentType.PROTECT) or line.detail.get(1):
            continue
        made = decode(m.Instrument, open_unverified(issued.envelope)[1])
        order = decode(HoldOrder if issued.type == m.InstrumentType.HOLD else ProtectOrder, made.detail)
        world.words.say(Word(key, line.seq, order.reason, order.on))


def recorded(world: World) -> None:
    """What the record of a home that the MDM runs holds, or held: of these the last word is not known here."""
    query = "SELECT account_no, holds FROM account JOIN account_swap USING (account_no) WHERE kind = 'cloud' AND holds <> ''"
    for account_no, holds in world.cloud.eye.execute(query) if world.plan.managed else ():
        world.words.recorded |= {(account_no, reason) for reason in holds.split(",")}


def told(world: World) -> None:
    """What boxes told the MDM of homes that it runs. A hold that was set before such a home went to it is said once more by the box."""
    query = "SELECT entry_id, account_no, detail FROM site_entry JOIN account USING (meter_no) WHERE kind = ? ORDER BY place"
    for entry_id, account_no, body in world.cloud.eye.execute(query, (watch.CONTROL,)) if world.plan.managed else ():
        said, fresh = cbor2.loads(body), bytes(entry_id) not in world.words.heard
        world.words.heard.add(bytes(entry_id))
        world.cloud.config_due |= fresh
        if fresh and not said.get(BY) and said.get(ORDER):
            _say_at_meter(world, account_no, said[REASON], True, bytes(entry_id))


def configured(world: World, before: m.DcuConfig | None, config: m.DcuConfig) -> None:
    """A configuration brought a hold that only a person on site lifts."""
    had = {a.account_no: frozenset(a.holds) for a in before.accounts} if before is not None else {}
    for account in config.accounts:
        for reason in ON_SITE & frozenset(account.holds) - had.get(account.account_no, frozenset()):
            _say(world, account.account_no, reason, True)


def holds_of(world: World, account: m.AccountConfig, here: bool = False) -> frozenset[str]:
    """What really holds: the configuration, but for what was lifted on site, and every word since. `here`: what a box can know."""
    last = world.words.last(account.account_no, here)
    lifted = {reason for reason, on in last.items() if not on and reason in ON_SITE}
    return frozenset(account.holds) - lifted | {reason for reason, on in last.items() if on}


def at_meter(world: World, meter_no: int) -> frozenset[str]:
    """What the box itself takes for holding a meter whose home it does not run."""
    query = "SELECT reason FROM meter_hold WHERE meter_no = ? AND value <> 0"
    return frozenset(reason for (reason,) in world.edge.db.execute(query, (meter_no,)))


def _say(world: World, account_no: int, reason: str, on: bool) -> None:
    here = world.edge.config.accounts if world.edge.config is not None else ()
    if all(account.account_no != account_no for account in here):
        query = "SELECT entry_id FROM meter_hold WHERE meter_no = ? AND reason = ?"
        found = world.edge.db.execute(query, (world.cloud.meter_of(account_no), reason)).fetchone()
        _say_at_meter(world, account_no, reason, on, bytes(found[0]) if found else b"?")
        return
    world.edge_watch.look(world.edge.db, world.event_no)
    key = max((k for k in world.edge_watch.books if k[0] == account_no), default=(account_no, 1))
    book = world.edge_watch.books.get(key)
    world.words.say(Word(key, book.seq if book else 0, reason, on, not world.rolled_back))


def _say_at_meter(world: World, account_no: int, reason: str, on: bool, entry: bytes) -> None:
    epoch = max((epoch for number, epoch in world.from_cloud.epochs if number == account_no), default=1)
    world.words.count += 1
    world.words.say(Word((account_no, epoch), BEHIND_ALL + world.words.count, reason, on, entry=entry))


# ---- steps ----------------------------------------------------------------------------------------------------


def visit(world: World, place: int, which: int, length_ms: int, off: int, on: int) -> None:
    """Somebody comes to work there; he comes again where the box is dead."""
    account_no, reason = world.plan.homes[place % len(world.plan.homes)].account_no, REASONS[which]
    if world.healed or world.words.last(account_no).get(reason):
        return
    answer = _ask(world, account_no, SiteOrder(NAME, PROOF, reason, on=True, open=bool(off)))
    if answer in HELD:
        _say(world, account_no, reason, True)
        world.after(length_ms, "the work is done", lambda: leave(world, account_no, reason, bool(on)))


def leave(world: World, account_no: int, reason: str, close: bool) -> None:
    if not world.words.last(account_no).get(reason):
        return
    if _ask(world, account_no, SiteOrder(NAME, PROOF, reason, close=close)) in DONE:
        _say(world, account_no, reason, False)
    elif not world.healed:
        world.after(AGAIN_MS, "the box is asked again", lambda: leave(world, account_no, reason, close))


def leave_all(world: World) -> None:
    """The end: nobody works anywhere any more."""
    for account_no in world.homes:
        for reason in sorted(ON_SITE):
            leave(world, account_no, reason, close=False)


def _ask(world: World, account_no: int, order: SiteOrder) -> str:
    """At the terminal of the box, where he is named first; '' where nothing answers."""
    if not world.edge.alive:
        return ""
    world.edge.feed(p.PersonNamed(world.random.randbytes(16), KNOWN))
    world.edge.said = ""
    world.edge.feed(p.HoldAsked(world.random.randbytes(16), account_no, packed(order)))
    world.note(f"the box says {world.edge.said or 'nothing'}")
    return world.edge.said


def order_hold(world: World, place: int, which: int, on: int) -> None:
    """The desk orders a hold or a protection, or lifts one."""
    account_no, reason = world.plan.homes[place % len(world.plan.homes)].account_no, ORDERED[which % len(ORDERED)]
    detail = HoldOrder(reason, bool(on)) if reason in KEEPS_OFF else ProtectOrder(reason, bool(on))
    world.cloud.control(account_no, detail)
    world.cloud.config_due |= world.plan.managed
    world.cloud.beat()
