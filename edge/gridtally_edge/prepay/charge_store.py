"""What prices the accounts here, in money.db: pinned tariff versions, and each account's running charge.

* A version is pinned when it first comes: its document never changes here, and it stays after the cloud stops sending it, because an
  open cycle may still need it. One that comes late begins when it comes: prices never change for what is charged (I25).
* One that does not fit those held is refused and not pinned (tariff/taking.py); the first ones of a tariff may begin in the past.
* The running charge is stored in the transaction of the journal entry it led to. The journal has all it takes to make it anew.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any, ClassVar

from gridtally_edge.prepay.book import bodies_from
from gridtally_edge.prepay.opening import checkpoint_at, vouched
from gridtally_edge.prepay.recovery_rows import OpeningRow
from gridtally_edge.prepay.rows import Row, one, save, some
from gridtally_shared.contract.messages import AccountConfig, DcuConfig, TariffDocument
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.ledger.entries import entry_from, hash_of
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.rerating import Walk, rerated
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.running import Running, Terms, TermVersion, begun, under
from gridtally_shared.tariff.running_text import running_from, running_text
from gridtally_shared.tariff.taking import Refusal, out_of_order, too_soon, unreadable
from gridtally_shared.tariff.terms import Plan

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE tariff (
        tariff_id TEXT NOT NULL, version INTEGER NOT NULL, from_ms INTEGER NOT NULL, document TEXT NOT NULL,
        PRIMARY KEY (tariff_id, version)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE charging (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, running TEXT NOT NULL, PRIMARY KEY (account_no, epoch)
    ) STRICT, WITHOUT ROWID""",
)


@dataclass(slots=True)
class TariffRow(Row):
    TABLE: ClassVar[str] = "tariff"
    KEY: ClassVar[tuple[str, ...]] = ("tariff_id", "version")

    tariff_id: str
    version: int
    from_ms: int
    document: str


@dataclass(slots=True)
class ChargingRow(Row):
    TABLE: ClassVar[str] = "charging"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch")

    account_no: int
    epoch: int
    running: str


@dataclass(frozen=True, slots=True)
class Priced:
    """What prices an account now."""

    plan: Plan
    terms: Terms


Pinned = dict[str, tuple[TariffDocument, ...]]


def pinned(db: sqlite3.Connection, config: DcuConfig) -> Pinned:
    """The versions of each tariff: those pinned; of a tariff none of whose are, those of the configuration."""
    kept = _kept(db, "")
    known = {d.tariff_id for d in kept}
    found = (*kept, *(d for d in config.tariffs if d.tariff_id not in known))
    names = {d.tariff_id for d in found}
    return {name: tuple(sorted((d for d in found if d.tariff_id == name), key=lambda d: (d.from_ms, d.version))) for name in names}


def pin(db: sqlite3.Connection, before: DcuConfig, config: DcuConfig, now_ms: int, believed: bool) -> tuple[Refusal, ...]:
    """Keep the versions of a new configuration; those that were refused. `believed`: our clock may decide that a version comes late."""
    held = pinned(db, before)
    for documents in held.values():
        for document in documents:
            _keep(db, document)
    refused = (_take(db, held, d, config.tariffs, now_ms if believed else 0) for d in sorted(config.tariffs, key=lambda d: d.version))
    return tuple(refusal for refusal in refused if refusal is not None)


def _take(
    db: sqlite3.Connection, held: Pinned, document: TariffDocument, sent: tuple[TariffDocument, ...], now_ms: int
) -> Refusal | None:
    """Pin one more version; why it was refused. What begins before `now_ms` begins then."""
    known = held.get(document.tariff_id, ())
    kept = _kept(db, "WHERE tariff_id = ? ORDER BY from_ms", document.tariff_id)
    if any(d.version == document.version for d in kept):
        return None
    refusal = refusal_of(known, kept, document, sent)
    if refusal is None:
        _keep(db, replace(document, from_ms=now_ms) if known and document.from_ms < now_ms else document)
    return refusal


def refusal_of(
    known: tuple[TariffDocument, ...], kept: tuple[TariffDocument, ...], document: TariffDocument, sent: tuple[TariffDocument, ...]
) -> Refusal | None:
    """Why a version is refused. `known` were here before this configuration, `kept` are pinned now, `sent` came together: they have
    the starts they were made with."""
    told = tuple(d for d in sent if d.tariff_id == document.tariff_id and d.version < document.version)
    return out_of_order(told, document) or (too_soon(known, document) if known else None) or unreadable(kept, document)


def _kept(db: sqlite3.Connection, clause: str, *values: str) -> tuple[TariffDocument, ...]:
    return tuple(TariffDocument(r.tariff_id, r.version, r.from_ms, r.document) for r in some(db, TariffRow, clause, *values))


def _keep(db: sqlite3.Connection, document: TariffDocument) -> None:
    save(db, TariffRow(document.tariff_id, document.version, document.from_ms, document.document))


def readable(documents: tuple[TariffDocument, ...], zone: str) -> tuple[TariffDocument, ...]:
    """The versions that make a plan: a newest one that is not understood is left out, the last good one goes on."""
    for count in range(len(documents), 0, -1):
        try:
            pinned_plan(documents[:count], zone)
        except ConfigError:
            continue
        return documents[:count]
    return ()


def priced(account: AccountConfig, documents: tuple[TariffDocument, ...]) -> Priced | None:
    """What prices an account; None where no version of its tariff is understood."""
    versions = readable(documents, account.zone)
    if not versions:
        return None
    marks = tuple(TermVersion(d.version, d.from_ms) for d in versions)
    terms = Terms(account.tariff_id, account.zone, marks, account.contract_w, tuple(sorted(account.flags)))
    return Priced(pinned_plan(versions, account.zone), terms)


def stored_running(db: sqlite3.Connection, account_no: int, epoch: int) -> Running | None:
    row = one(db, ChargingRow, account_no, epoch)
    return _read(row.running.partition(" ")[2]) if row else None


def store_running(db: sqlite3.Connection, state: LedgerState, running: Running) -> None:
    """`state`: what the journal says when this is what it led to."""
    text = running_text(running)
    save(db, ChargingRow(state.account_no, state.epoch, f"{_mark(state)} {text}"))
    if len(_recent) >= RECENT:
        _recent.clear()
    _recent[text] = running


RECENT = 1024
_recent: dict[str, Running] = {}
"""What the newest texts say, so that a sweep need not read again what the one before wrote."""


def _read(text: str) -> Running:
    return _recent.get(text) or running_from(text)


def _mark(state: LedgerState) -> str:
    return f"{state.register_wh}/{state.charged_day}/{state.mode}"


def running_of(db: sqlite3.Connection, price: Priced, state: LedgerState, now_ms: int) -> tuple[Running, bool]:
    """The account's running charge under its terms of now, and whether those are new; one that begins where its journal stands,
    or now, if it has none. A journal that is not the one it was stored with (healed, another meter) is walked again."""
    found = _fitting(db, state)
    if found is None:
        return begun(price.plan, price.terms, state.register_at_ms or now_ms, (state.charged_day or 0) + 1), True
    if found.terms == price.terms:
        return found, False
    return under(terms_plan(db, found.terms, price), found, price.terms), True


def _fitting(db: sqlite3.Connection, state: LedgerState) -> Running | None:
    row = one(db, ChargingRow, state.account_no, state.epoch)
    if row is None and state.seq == 0:
        return None
    mark, _, text = row.running.partition(" ") if row else ("", "", "")
    return _read(text) if mark == _mark(state) else walked(db, state)


def walked(db: sqlite3.Connection, state: LedgerState) -> Running | None:
    """The running charge as the journal itself tells it; None where nothing was charged by terms yet, and where the checkpoint it begins
    with is damaged: a start found that too, and the mirror heals it."""
    try:
        walk = _opening(db, state)
    except ContractError:
        return None
    bodies = bodies_from(db, state.account_no, state.epoch, walk.state.seq + 1, state.seq)
    path = (walk.state, walk.running, walk.plan, hash_of(b"".join(map(hash_of, bodies))))
    before = _walks.get((state.account_no, state.epoch))
    if before is not None and before.path == path and all(_plan(db, terms) is plan for terms, plan in before.plans):
        return before.running
    plans: list[tuple[Terms, Plan | None]] = []

    def plan_of(terms: Terms) -> Plan | None:
        plans.append((terms, _plan(db, terms)))
        return plans[-1][1]

    running = rerated(walk, map(entry_from, bodies), plan_of).running
    if len(_walks) >= RECENT:
        _walks.clear()
    _walks[state.account_no, state.epoch] = _Walked(path, tuple(plans), running)
    return running


@dataclass(frozen=True, slots=True)
class _Walked:
    """A walk that was made: from where, through which entries, by which plans, and where it led."""

    path: tuple[Any, ...]
    plans: tuple[tuple[Terms, Plan | None], ...]
    running: Running | None


_walks: dict[tuple[int, int], _Walked] = {}
"""The newest walk of each account: after a heal nothing is stored before the next charge, and every tick asks."""


def _opening(db: sqlite3.Connection, state: LedgerState) -> Walk:
    """Where the journal begins: at its first entry, or at the checkpoint below which it was let go."""
    opening = one(db, OpeningRow, state.account_no, state.epoch)
    if opening is None:
        return Walk(LedgerState(state.account_no, state.epoch))
    found = checkpoint_at(db, opening)
    running = running_from(found.running) if found.running else None
    return Walk(vouched(found, None), running, _plan(db, running.terms) if running else None)


def running_told(db: sqlite3.Connection, state: LedgerState) -> str | None:
    """The running charge as text, for a checkpoint: '' where none runs; None where it would have to be walked."""
    if state.opened_wh is None or state.mode != AccountMode.PREPAID:
        return ""
    row = one(db, ChargingRow, state.account_no, state.epoch)
    mark, _, text = row.running.partition(" ") if row else ("", "", "")
    return text if mark == _mark(state) else None


def terms_plan(db: sqlite3.Connection, terms: Terms, price: Priced) -> Plan:
    """The plan of an account's terms so far."""
    return price.plan if terms.goes_on(price.terms) else _plan(db, terms) or price.plan


def _plan(db: sqlite3.Connection, terms: Terms) -> Plan | None:
    begins = {v.version: v.from_ms for v in terms.versions}
    rows = some(db, TariffRow, "WHERE tariff_id = ? ORDER BY from_ms", terms.tariff_id)
    found = tuple(TariffDocument(r.tariff_id, r.version, begins[r.version], r.document) for r in rows if r.version in begins)
    return pinned_plan(found, terms.zone) if len(found) == len(begins) else None
