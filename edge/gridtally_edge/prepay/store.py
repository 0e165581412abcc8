"""money.db: accounts, journal, instruments, commands, switch actions and their own outbox, in one file.

* One writer, the core thread; WAL and synchronous FULL (journal/sqlite.py). One event is one transaction.
* The binding of meter, account and serial lives here too, with the accepted configuration, not in the registry file.
* The tables `account` and `switch` are caches and last-known states; the `journal` is the truth.
"""

from __future__ import annotations

from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.sqlite import Migration, Store
from gridtally_edge.prepay.charge_store import SCHEMA as CHARGING
from gridtally_edge.prepay.documents import SCHEMA as DOCUMENTS
from gridtally_edge.prepay.forecast_rows import FORECAST
from gridtally_edge.prepay.limiter_rows import SCHEMA as LIMITER
from gridtally_edge.prepay.recovery_rows import PRUNING
from gridtally_edge.prepay.recovery_rows import SCHEMA as RECOVERY
from gridtally_edge.prepay.site_rows import METER_HOLDS
from gridtally_edge.prepay.site_rows import SCHEMA as SITE
from gridtally_edge.prepay.token_rows import SCHEMA as TOKENS

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

_KEYPAD: tuple[str, ...] = (
    "ALTER TABLE instrument ADD COLUMN carrier TEXT NOT NULL DEFAULT 'mqtt'",
    """CREATE TABLE keypad (
        account_no INTEGER PRIMARY KEY, wrong INTEGER NOT NULL, left_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
        boot_id BLOB NOT NULL, key BLOB NOT NULL, retired BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE code_entry (
        entry_id BLOB PRIMARY KEY, account_no INTEGER NOT NULL, result TEXT NOT NULL, gseq INTEGER NOT NULL,
        amount_nano INTEGER NOT NULL, balance_nano INTEGER NOT NULL, until_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
)
_ORDERS: tuple[str, ...] = (
    """CREATE TABLE account_order (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, until_ms INTEGER NOT NULL,
        gseq INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (account_no, epoch, name)
    ) STRICT, WITHOUT ROWID""",
)

_COMMAND_TIMES = ("ALTER TABLE command ADD COLUMN not_before_ms INTEGER NOT NULL DEFAULT 0",)

_STANDING = (
    "ALTER TABLE account ADD COLUMN standing TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE account DROP COLUMN notice_ms",
    "ALTER TABLE account DROP COLUMN exhausted_since_ms",
)

_SCHEDULES = (
    """CREATE TABLE schedule (
        cmd_id BLOB PRIMARY KEY, schedule_no INTEGER NOT NULL, meter_no INTEGER NOT NULL, account_no INTEGER NOT NULL,
        epoch INTEGER NOT NULL, programme TEXT NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, stage TEXT NOT NULL,
        running INTEGER NOT NULL, runs INTEGER NOT NULL, window_ms INTEGER NOT NULL, before TEXT NOT NULL, reopen_ms INTEGER,
        early INTEGER NOT NULL, held TEXT NOT NULL, action INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX schedule_open ON schedule (meter_no) WHERE stage <> 'over'",
)

_MESSAGE_STATES = (
    "ALTER TABLE message ADD COLUMN state TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE message ADD COLUMN state_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE message ADD COLUMN asks INTEGER NOT NULL DEFAULT 0",
)

_MESSAGES_FILED = (
    "ALTER TABLE message ADD COLUMN entry TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE message ADD COLUMN filed TEXT NOT NULL DEFAULT ''",
)

_LEASES: tuple[str, ...] = (
    """CREATE TABLE lease (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, asked INTEGER NOT NULL, granted INTEGER NOT NULL,
        chunk_nano INTEGER NOT NULL, PRIMARY KEY (account_no, epoch)
    ) STRICT, WITHOUT ROWID""",
)

_SWITCH_FAULTS = (
    "ALTER TABLE switch ADD COLUMN arms INTEGER",
    "ALTER TABLE switch ADD COLUMN fault TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE switch ADD COLUMN load_side_mv INTEGER",
)

MONEY_STORE = Store(
    "money",
    (
        Migration("m001_money", (*Outbox.schema, *_TABLES)),
        Migration("m002_command_times", _COMMAND_TIMES),
        Migration("m003_keypad", _KEYPAD),
        Migration("m004_orders", _ORDERS),
        Migration("m004_standing", _STANDING),
        Migration("m004_charging", CHARGING),
        Migration("m005_recovery", RECOVERY),
        Migration("m006_forecast", FORECAST),
        Migration("m007_leases", _LEASES),
        Migration("m010_schedules", _SCHEDULES),
        Migration("m012_documents", DOCUMENTS),
        Migration("m011_tokens", TOKENS),
        Migration("m011_limiter", LIMITER),
        Migration("m011_switch_faults", _SWITCH_FAULTS),
        Migration("m013_message_states", _MESSAGE_STATES),
        Migration("m014_site", SITE),
        Migration("m015_pruning", PRUNING),
        Migration("m016_messages_filed", _MESSAGES_FILED),
        Migration("m017_meter_holds", METER_HOLDS),
    ),
)
"""Create or update with `journal.sqlite.migrate(path, MONEY_STORE)`; reference `gridtally_edge.prepay.store:MONEY_STORE`."""
