"""Tables of readings.db. Every table is STRICT; what grows is keyed by meter and time and has no row id.

* `interval`: version 0 is the first value and stays; a different value that comes later is the next version.
* `meter_state`: what the planner must remember over a restart, above all the mark of the load profile.
* `config`: the newest signed configuration, as it came.
* `profile_row`: the stamps of stored daily and billing rows (their values are samples), so that a missing one is seen.
* `pushed`: what came unasked, by its key; a repeat is passed over. `name_plate`: what the meter said it is.
* `meter_change`: additions, removals and replacements of the registry that are journaled already.
"""

from __future__ import annotations

from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.sqlite import Migration, Store

_TABLES = (
    """CREATE TABLE sample (
        meter_no INTEGER NOT NULL, quantity INTEGER NOT NULL, at_ms INTEGER NOT NULL, value INTEGER NOT NULL,
        quality INTEGER NOT NULL, PRIMARY KEY (meter_no, quantity, at_ms)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE interval (
        meter_no INTEGER NOT NULL, quantity INTEGER NOT NULL, start_ms INTEGER NOT NULL, version INTEGER NOT NULL,
        period_s INTEGER NOT NULL, value INTEGER NOT NULL, quality INTEGER NOT NULL, stored_ms INTEGER NOT NULL,
        PRIMARY KEY (meter_no, quantity, start_ms, version)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE event (
        meter_no INTEGER NOT NULL, at_ms INTEGER NOT NULL, code INTEGER NOT NULL, detail TEXT NOT NULL,
        PRIMARY KEY (meter_no, at_ms, code, detail)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE meter_state (
        meter_no INTEGER PRIMARY KEY, serial TEXT NOT NULL, contact_ms INTEGER NOT NULL, answering INTEGER NOT NULL,
        switch INTEGER NOT NULL, clock_offset_ms INTEGER NOT NULL, clock_read_ms INTEGER, mark_ms INTEGER,
        events_ms INTEGER, reported_ms INTEGER NOT NULL, samples INTEGER NOT NULL, intervals INTEGER NOT NULL
    ) STRICT""",
    "CREATE TABLE meter_seen (line TEXT, address TEXT, serial TEXT NOT NULL, PRIMARY KEY (line, address)) STRICT",
    "CREATE TABLE config (current INTEGER PRIMARY KEY, version INTEGER NOT NULL, envelope BLOB NOT NULL) STRICT",
)

_LINES_AND_METERS = (
    "ALTER TABLE meter_state ADD COLUMN clock_set_ms INTEGER",
    "ALTER TABLE meter_state ADD COLUMN sync_failures INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE meter_state ADD COLUMN capture_s INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE profile_row (
        meter_no INTEGER NOT NULL, kind TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (meter_no, kind, at_ms)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE pushed (
        serial TEXT NOT NULL, setup TEXT NOT NULL, clock_ms INTEGER NOT NULL, heard_ms INTEGER NOT NULL,
        PRIMARY KEY (serial, setup, clock_ms)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE name_plate (serial TEXT PRIMARY KEY, body BLOB NOT NULL, read_ms INTEGER NOT NULL) STRICT",
    "CREATE TABLE meter_change (change_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT",
)

READINGS = Store(
    "readings",
    (Migration("001-readings", (*_TABLES, *Outbox.schema)), Migration("002-lines-and-meters", _LINES_AND_METERS)),
)
READINGS_REFERENCE = "gridtally_edge.journal.schema:READINGS"
READINGS_FILE = "readings.db"
