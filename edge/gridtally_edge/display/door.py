"""Who is at the door: account number and PIN, for the page and the local topic alike.

* One scrypt at a time: a small box, and no race around the count of wrong tries.
* An answer takes the same time whether or not there is such an account, and says the same.
* Wrong tries count for the account and for where they come from, over both doors together (guesses.py).

Source: safety.md 20.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

from gridtally_edge.display.account import AccountView, find_account, view_account
from gridtally_edge.display.guesses import Guesses
from gridtally_edge.journal.days import Household, recent_days
from gridtally_edge.journal.schema import READINGS, READINGS_FILE
from gridtally_edge.journal.sqlite import open_reader
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.told import household_of
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ConfigError
from gridtally_shared.pins import hash_pin, pin_matches
from gridtally_shared.records import dataclass
from gridtally_shared.usage_days import DayTotal

LONGEST_ACCOUNT = 18
NOBODY = hash_pin("0", bytes(16))

log = logging.getLogger("gridtally.display")


@dataclass(frozen=True, slots=True)
class Visit:
    """`account` is who came in; None with `wait_ms` where one has to wait first, and 0 for a wrong number or PIN."""

    account: AccountConfig | None
    wait_ms: int = 0


class Door:
    def __init__(self, money_db: Path) -> None:
        self._money_db, self._guesses, self._lock = money_db, Guesses(), threading.Lock()

    def reader(self) -> sqlite3.Connection:
        """Raises ConfigError or sqlite3.Error where the store is away."""
        return open_reader(self._money_db, MONEY_STORE)

    def view(self, db: sqlite3.Connection, account_no: int, now_ms: int) -> AccountView | None:
        """The account's view with what recent days used, as far as readings.db is here. Raises as `reader`."""
        view = view_account(db, account_no, now_ms)
        household = household_of(db, view.config) if view is not None else None
        if view is None or household is None:
            return view
        return replace(view, days=self._days(household, now_ms))

    def _days(self, household: Household, now_ms: int) -> tuple[DayTotal, ...]:
        path = self._money_db.parent / READINGS_FILE
        if not path.exists():
            return ()
        readings = open_reader(path, READINGS)
        try:
            return recent_days(readings, household, now_ms)
        finally:
            readings.close()

    def enter(self, account: str, pin: str, comes_from: str) -> Visit:
        keys = (f"account {account[:LONGEST_ACCOUNT]}", f"from {comes_from}")
        now_ms = time.monotonic_ns() // 1_000_000
        with self._lock:
            wait_ms = self._guesses.wait_ms(keys, now_ms)
            if wait_ms:
                return Visit(None, wait_ms)
            found = self._checked(account, pin)
            if found is None:
                self._guesses.failed(keys, now_ms)
            else:
                self._guesses.succeeded(keys)
        return Visit(found)

    def still(self, account: AccountConfig) -> bool:
        """Whether who came in may stay: the account is still here and its PIN is the same. Raises as `reader`."""
        db = self.reader()
        try:
            found = find_account(db, account.account_no)
        finally:
            db.close()
        return found is not None and found.pin_hash == account.pin_hash

    def _checked(self, account: str, pin: str) -> AccountConfig | None:
        try:
            db = self.reader()
            try:
                number = account.isascii() and account.isdigit() and len(account) <= LONGEST_ACCOUNT
                found = find_account(db, int(account)) if number else None
            finally:
                db.close()
        except (ConfigError, sqlite3.Error) as error:
            log.warning("the accounts can not be read: %s", error)
            return None
        matches = pin_matches(pin, found.pin_hash if found and found.pin_hash else NOBODY)
        return found if matches and found is not None and found.pin_hash else None
