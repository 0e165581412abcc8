"""Who was told of new prices, where they are in force, and who has viewed the message: three facts, and the list of who is missing.

* The concentrator tells each fact by itself: the message with the entry of the journal it stands in, in force with an event, the
  consumer's words to the message (read, saved, deleted) with events. A word said on the portal counts as well.
* A concentrator that refuses a version tells the type of the error and the time; its meters are on the list with that.
* On the list are the open accounts of the tariff that were opened before the version begins.

Source: ETSI 5.2.12 steps 5 and 6, alternatives 2 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, and_, func, select

from gridtally_cloud.customers.price_tables import notice_word, price_notice, price_refused
from gridtally_cloud.customers.tables import account, tariff_version
from gridtally_cloud.store.db import insert_new, upsert
from gridtally_cloud.store.tables import meter
from gridtally_shared.contract.messages import Event
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.events import BY_NAME
from gridtally_shared.ledger.entries import LedgerEntry
from gridtally_shared.ledger.evidence import MessageEvidence, evidence_of
from gridtally_shared.messages.order import FILED
from gridtally_shared.records import dataclass

NEW_PRICES = "TARIFF"
WORDS = ("read", *FILED)
DISPLAY, PORTAL = "display", "portal"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is known of one account and one version; None is not known. `fault`: why its concentrator refused it."""

    account_no: int
    meter_no: int
    meter_serial: str
    dcu: str
    told_ms: int | None
    in_force_ms: int | None
    viewed_ms: int | None
    place: str
    fault: str

    @property
    def is_missing(self) -> bool:
        return self.in_force_ms is None or self.viewed_ms is None


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """A version of a tariff, and of how many accounts each fact is known."""

    tariff_id: str
    version: int
    from_ms: int
    made_ms: int
    accounts: int
    told: int
    in_force: int
    viewed: int
    refused: int


# ---- what comes up --------------------------------------------------------------------------------------------


def take_notice(conn: Connection, entry: LedgerEntry) -> None:
    """A message in the mirrored journal: was it one of new prices?"""
    try:
        evidence = evidence_of(entry)
    except ContractError:
        return
    if isinstance(evidence, MessageEvidence) and evidence.code == NEW_PRICES:
        named = {p.name: p.value for p in evidence.params}
        if "tariff" in named and named.get("version", "").isdigit():
            row = {"account_no": entry.account_no, "tariff_id": named["tariff"], "version": int(named["version"]),
                   "ref": f"{entry.epoch}/{entry.seq}", "told_ms": entry.at_ms}  # fmt: skip
            upsert(conn, price_notice, row)


def take_event(conn: Connection, dcu: str, event: Event) -> None:
    """An event of a concentrator that says something of prices or of a message. One that can not be read is an event and no more."""
    take = TAKERS.get(event.code)
    said = dict(part.split("=", 1) for part in event.detail.split() if "=" in part)
    if take is not None:
        take(conn, dcu, event, said)


def _refused(conn: Connection, dcu: str, event: Event, said: Mapping[str, str]) -> None:
    if said.get("version", "").isdigit() and {"tariff", "error"} <= said.keys():
        row = {"dcu": dcu, "tariff_id": said["tariff"], "version": int(said["version"]), "at_ms": event.at_ms, "fault": said["error"],
               "detail": event.detail}  # fmt: skip
        insert_new(conn, price_refused, [row])


def _in_force(conn: Connection, dcu: str, event: Event, said: Mapping[str, str]) -> None:
    if said.get("version", "").isdigit() and "tariff" in said and _is_of(conn, event, said):
        key = {"account_no": int(said["account"]), "tariff_id": said["tariff"], "version": int(said["version"])}
        upsert(conn, price_notice, key | {"in_force_ms": event.at_ms})


def _word(conn: Connection, dcu: str, event: Event, said: Mapping[str, str]) -> None:
    if said.get("state") in WORDS and "entry" in said and _is_of(conn, event, said):
        say(conn, int(said["account"]), said["entry"], said["state"], event.at_ms, DISPLAY)


def _is_of(conn: Connection, event: Event, said: Mapping[str, str]) -> bool:
    """Whether the account is the one behind the meter of the event, which its concentrator serves."""
    number = said.get("account", "")
    mine = select(account.c.account_no).where(account.c.account_no == int(number or 0), account.c.meter_no == event.meter_no)
    return number.isdigit() and conn.execute(mine).first() is not None


TAKERS = {BY_NAME["tariff_refused"].code: _refused, BY_NAME["tariff_in_force"].code: _in_force, BY_NAME["message_state"].code: _word}


# ---- words of the consumer ------------------------------------------------------------------------------------


def say(conn: Connection, account_no: int, ref: str, word: str, at_ms: int, place: str) -> bool:
    """A word to a message; False where it was said before. Who keeps or deletes a message has viewed it."""
    row = {"account_no": account_no, "ref": ref, "word": word, "at_ms": at_ms, "place": place}
    return insert_new(conn, notice_word, [row]) > 0


def words_of(conn: Connection, account_no: int, refs: Iterable[str]) -> dict[str, str]:
    """What was done with each message, as far as anything was: 'deleted' above 'saved' above 'read'."""
    w = notice_word.c
    rows = conn.execute(select(w.ref, w.word).where(w.account_no == account_no, w.ref.in_(list(refs))))
    return dict(sorted(((r.ref, r.word) for r in rows), key=lambda pair: WORDS.index(pair[1])))


# ---- who is missing -------------------------------------------------------------------------------------------


def versions(conn: Connection) -> tuple[PriceVersion, ...]:
    """Every version but the first of each tariff, the newest first."""
    v = tariff_version.c
    rows = conn.execute(select(v.tariff_id, v.version, v.from_ms, v.created_ms).where(v.version > 1).order_by(v.created_ms.desc()))
    return tuple(_counted(conn, r.tariff_id, r.version, r.from_ms, r.created_ms) for r in rows.all())


def _counted(conn: Connection, tariff_id: str, version: int, from_ms: int, made_ms: int) -> PriceVersion:
    found = confirmations(conn, tariff_id, version)
    return PriceVersion(
        tariff_id, version, from_ms, made_ms, len(found), sum(c.told_ms is not None for c in found),
        sum(c.in_force_ms is not None for c in found), sum(c.viewed_ms is not None for c in found), sum(bool(c.fault) for c in found),
    )  # fmt: skip


def confirmations(conn: Connection, tariff_id: str, version: int) -> tuple[Confirmation, ...]:
    """Every account of the list, by number. Raises RefusedCommand (unknown_version)."""
    v, a, p, w, r = tariff_version.c, account.c, price_notice.c, notice_word.c, price_refused.c
    begins = conn.execute(select(v.from_ms).where(v.tariff_id == tariff_id, v.version == version)).scalar_one_or_none()
    if begins is None:
        raise RefusedCommand("unknown_version", f"tariff {tariff_id!r} has no version {version}")
    first = select(w.account_no, w.ref, func.min(w.at_ms).label("at_ms"), func.min(w.place).label("place")).group_by(w.account_no, w.ref)
    viewed = first.subquery()
    seen = viewed.c
    mine = and_(p.account_no == a.account_no, p.tariff_id == tariff_id, p.version == version)
    refusal = and_(r.dcu == meter.c.dcu, r.tariff_id == tariff_id, r.version == version)
    joined = (
        account.join(meter, meter.c.meter_no == a.meter_no).outerjoin(price_notice, mine).outerjoin(price_refused, refusal)
        .outerjoin(viewed, and_(seen.account_no == a.account_no, seen.ref == p.ref))
    )  # fmt: skip
    query = (
        select(a.account_no, a.meter_no, meter.c.serial, meter.c.dcu, p.told_ms, p.in_force_ms, seen.at_ms, seen.place, r.fault)
        .select_from(joined).where(a.tariff_id == tariff_id, a.closed_ms.is_(None), a.opened_ms < begins).order_by(a.account_no)
    )  # fmt: skip
    return tuple(
        Confirmation(x.account_no, x.meter_no, x.serial, x.dcu or "", x.told_ms, x.in_force_ms, x.at_ms, x.place or "", x.fault or "")
        for x in conn.execute(query)
    )  # fmt: skip
