"""Messages to the consumer: stored for the page, written to the journal, announced to further carriers.

LOW is told once per low spell: when the balance reaches the threshold, and again only after it has been above it. It
is the notice the cut tests ask for; where there is no threshold it is told at zero. ZERO is told at each crossing of zero,
whether or not a cut follows and whether or not the uplink is there (seed 002, information exchanged, step 7).
"""

from __future__ import annotations

import json

from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.estimate import time_left_ms
from gridtally_edge.prepay.events import Announce, ShowOnMeter
from gridtally_edge.prepay.rows import MessageRow, save
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import MessageEvidence, MessageParam, detail

SHOW_EVERY_MS = MS_PER_HOUR


def tell(turn: Turn, account: AccountConfig, code: str, **params: int) -> None:
    """Tell a consumer: money parameters in nano, times and spans in ms, as decimal text."""
    pairs = tuple((name, str(value)) for name, value in sorted(params.items()))
    evidence = MessageEvidence(code, tuple(MessageParam(*p) for p in pairs))
    turn.book(account).add(Kind.NOTICE, turn.stamp(), meter_no=account.meter_no, detail=detail(evidence))
    save(turn.db, MessageRow(None, account.account_no, account.meter_no, turn.now_ms, code, json.dumps(dict(pairs))))
    turn.effects.append(Announce(account.account_no, account.meter_no, code, pairs))


def watch_balance(turn: Turn, account: AccountConfig) -> None:
    """Notice the crossings of the threshold and of zero."""
    book = turn.book(account)
    balance_nano = book.state.balance_nano
    if balance_nano > max(0, account.low_balance_nano):
        book.row.notice_ms = None
    elif book.row.notice_ms is None and _is_known(book):
        book.row.notice_ms = turn.now_ms
        _warn(turn, account, balance_nano)
    if balance_nano > 0:
        book.row.exhausted_since_ms = None
    elif book.row.exhausted_since_ms is None:
        book.row.exhausted_since_ms = turn.now_ms
        if _is_known(book):
            tell(turn, account, "ZERO", b=balance_nano)


def show_on_meter(turn: Turn, account: AccountConfig, at_once: bool = False) -> None:
    """The balance goes to the meter's own display after each credit and at least hourly while it is read."""
    book = turn.book(account)
    if at_once or turn.now_ms - book.row.shown_ms >= SHOW_EVERY_MS:
        book.row.shown_ms = turn.now_ms
        turn.effects.append(ShowOnMeter(account.meter_no, book.state.balance_nano, turn.now_ms))


def used_lately(turn: Turn, book: Book) -> tuple[int, int]:
    """Wh and ms of the charged movement over about the last day."""
    query = """SELECT register_wh, at_ms FROM journal WHERE account_no = ? AND epoch = ? AND register_wh IS NOT NULL
        AND at_ms <= ? ORDER BY seq DESC LIMIT 1"""
    key = (book.row.account_no, book.row.epoch)
    found = turn.db.execute(query, (*key, book.state.register_at_ms - MS_PER_DAY)).fetchone()
    opening = "SELECT register_wh, at_ms FROM journal WHERE account_no = ? AND epoch = ? AND register_wh IS NOT NULL ORDER BY seq"
    since = found or turn.db.execute(opening + " LIMIT 1", key).fetchone()
    if since is None or book.state.register_wh is None:
        return 0, 0
    return book.state.register_wh - since[0], book.state.register_at_ms - since[1]


def _is_known(book: Book) -> bool:
    """Before the first credit or charge there is nothing to warn about."""
    return book.state.used.prefix > 0 or book.state.used.bitmap > 0 or book.state.charged_wh > 0


def _warn(turn: Turn, account: AccountConfig, balance_nano: int) -> None:
    tariffs = turn.plan.tariffs.get(account.tariff_id)
    used_wh, over_ms = used_lately(turn, turn.book(account))
    left_ms = time_left_ms(balance_nano, tariffs.at(turn.now_ms), used_wh, over_ms) if tariffs else None
    if left_ms is None:
        tell(turn, account, "LOW_BARE", b=balance_nano)
    else:
        tell(turn, account, "LOW", b=balance_nano, t=left_ms)
    turn.report(account.meter_no, "low_balance", f"account={account.account_no} balance_nano={balance_nano}")
