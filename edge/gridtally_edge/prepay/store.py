"""money.db: accounts, journal, instruments, commands, switch actions and their own outbox, in one file.

* One writer, the core thread; WAL and synchronous FULL (journal/sqlite.py). One event is one transaction.
* The binding of meter, account and serial lives here too, with the accepted configuration, not in the registry file.
* The tables `account` and `switch` are caches and last-known states; the `journal` is the truth.
"""

from __future__ import annotations

from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.sqlite import Migration, Store

_TABLES: tuple[str, ...] = (
    """CREATE TABLE config (
        only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL, body BLOB NOT NULL, accepted_ms INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE account (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL, balance_nano INTEGER NOT NULL,
        seq INTEGER NOT NULL, as_of_ms INTEGER NOT NULL, held TEXT NOT NULL, held_wh INTEGER, ledger_fault TEXT NOT NULL,
        notice_ms INTEGER, exhausted_since_ms INTEGER, shown_ms INTEGER NOT NULL, last_decision TEXT NOT NULL,
        PRIMARY KEY (account_no, epoch)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE journal (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL,
        at_ms INTEGER NOT NULL, register_wh INTEGER, body BLOB NOT NULL, PRIMARY KEY (account_no, epoch, seq)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE instrument (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, gseq INTEGER NOT NULL, body BLOB NOT NULL, state TEXT NOT NULL,
        reason TEXT NOT NULL, amount_nano INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (account_no, epoch, gseq)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE switch (
        meter_no INTEGER PRIMARY KEY, counter INTEGER NOT NULL, state INTEGER NOT NULL, state_ms INTEGER NOT NULL,
        serial TEXT NOT NULL, serial_ms INTEGER NOT NULL, register_ms INTEGER NOT NULL, power_w INTEGER, ordered INTEGER,
        off_reason TEXT NOT NULL, off_since_ms INTEGER NOT NULL, open_wh INTEGER, use_reported INTEGER NOT NULL,
        resyncs INTEGER NOT NULL, retries INTEGER NOT NULL, stuck_until_ms INTEGER NOT NULL, closed_by_order_ms INTEGER,
        register_modulus_wh INTEGER
    ) STRICT""",
    """CREATE TABLE action (
        action_id BLOB PRIMARY KEY, meter_no INTEGER NOT NULL, account_no INTEGER NOT NULL, epoch INTEGER NOT NULL,
        cmd_id BLOB NOT NULL, counter INTEGER NOT NULL, close INTEGER NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL,
        created_ms INTEGER NOT NULL, unresolved_ms INTEGER NOT NULL, finished_ms INTEGER NOT NULL, result TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX action_open ON action (meter_no) WHERE state <> 'finished'",
    "CREATE INDEX action_made ON action (created_ms)",
    "CREATE INDEX action_number ON action (meter_no, counter)",
    """CREATE TABLE command (
        cmd_id BLOB PRIMARY KEY, body BLOB NOT NULL, meter_no INTEGER NOT NULL, type INTEGER NOT NULL, state INTEGER NOT NULL,
        reason TEXT NOT NULL, result BLOB NOT NULL, at_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, due_ms INTEGER,
        tries INTEGER NOT NULL, reserved INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX command_open ON command (state) WHERE state < 20",
    """CREATE TABLE command_counter (
        key_id BLOB PRIMARY KEY, highest INTEGER NOT NULL, bitmap TEXT NOT NULL, highest_critical INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE message (
        message_no INTEGER PRIMARY KEY, account_no INTEGER NOT NULL, meter_no INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        code TEXT NOT NULL, params TEXT NOT NULL, text TEXT NOT NULL, until_ms INTEGER NOT NULL, cmd_id BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX message_account ON message (account_no, at_ms)",
    "CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)

MONEY_STORE = Store("money", (Migration("m001_money", (*Outbox.schema, *_TABLES)),))
"""Create or update with `journal.sqlite.migrate(path, MONEY_STORE)`; reference `gridtally_edge.prepay.store:MONEY_STORE`."""
