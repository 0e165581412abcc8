"""What only PostgreSQL has: the function and view that unpack blocks in SQL, month partitions, keys that begin with `shard`.

* `gridtally_block(bytea)` reads the block format of native/README.md, bit for bit as the codec does, and refuses what it refuses to
  know. `interval_value` is a row an interval, as in `gridtally-mdm sql` on SQLite (store/sql.py).
* `interval_block` is partitioned by the month of its local day. A month is made when its first block comes.
* Citus wants the distribution column in every primary key: tables that SQLite numbers by themselves have (shard, number) here.

Source: mdm.md F.3; architecture.md section 6.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import Connection, text

from gridtally_cloud.store.blocks import value_view
from gridtally_cloud.store.days import EPOCH, date_of
from gridtally_cloud.store.db import in_turn

NUMBERED = {"interval_inbox": "inbox_no", "event": "event_no", "vee_finding": "finding_no", "vee_edit": "edit_no",
            "vee_restated": "restated_no"}  # fmt: skip
"""Hot tables with a number of their own for a key, and its name."""

BLOCK_FUNCTION = """
CREATE OR REPLACE FUNCTION gridtally_block(block bytea) RETURNS TABLE (i integer, value bigint)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    form integer := get_byte(block, 0);
    k integer := form & 31;
    n integer := 0;
    place integer := 1;
    at integer;             -- the next bit
    mask integer := -1;     -- first byte of the mask, if there is one
    least numeric := NULL;  -- once known, where values are told from the least
    total numeric := 0;
    z numeric;
    high numeric;
    ones integer;
BEGIN
    IF k > 30 THEN
        RAISE EXCEPTION 'block format %% is not known', form;
    END IF;
    LOOP
        n := n | ((get_byte(block, place) & 127) << (7 * (place - 1)));
        place := place + 1;
        EXIT WHEN get_byte(block, place - 1) < 128;
        IF place > 3 THEN
            RAISE EXCEPTION 'block length is not valid';
        END IF;
    END LOOP;
    IF form & 128 <> 0 THEN
        mask := place;
        place := place + (n + 7) / 8;
    END IF;
    at := 8 * place;
    i := 0;
    WHILE i < n LOOP
        IF mask >= 0 AND get_bit(block, 8 * mask + i) = 0 THEN
            value := NULL;
            RETURN NEXT;
            i := i + 1;
            CONTINUE;
        END IF;
        ones := 0;
        WHILE get_bit(block, at) = 1 LOOP
            ones := ones + 1;
            at := at + 1;
        END LOOP;
        at := at + 1;
        high := ones;
        IF form & 64 <> 0 THEN
            high := power(2::numeric, ones) - 1;
            FOR bit IN 0 .. ones - 1 LOOP
                IF get_bit(block, at + bit) = 1 THEN
                    high := high + power(2::numeric, bit);
                END IF;
            END LOOP;
            at := at + ones;
        END IF;
        z := high * (1::bigint << k);
        FOR bit IN 0 .. k - 1 LOOP
            IF get_bit(block, at + bit) = 1 THEN
                z := z + (1::bigint << bit);
            END IF;
        END LOOP;
        at := at + k;
        IF form & 32 <> 0 AND least IS NOT NULL THEN
            total := least + z;
        ELSE
            total := total + CASE WHEN mod(z, 2) = 0 THEN div(z, 2) ELSE -div(z, 2) - 1 END;
        END IF;
        total := mod(mod(total, 18446744073709551616) + 27670116110564327424, 18446744073709551616) - 9223372036854775808;
        IF form & 32 <> 0 AND least IS NULL THEN
            least := total;  -- it stands before the first value and is none itself
            CONTINUE;
        END IF;
        value := total;
        RETURN NEXT;
        i := i + 1;
    END LOOP;
END $$
"""

VALUE_VIEW = value_view("CROSS JOIN LATERAL gridtally_block(b.blob) x", "x.i", """
       CASE WHEN length(b.quality) = 0 THEN 0 ELSE get_byte(b.quality, 2 * x.i) + 256 * get_byte(b.quality, 2 * x.i + 1) END""",
                        "CREATE OR REPLACE")  # fmt: skip


def make_sql(conn: Connection) -> None:
    """The function and the view, made anew."""
    conn.exec_driver_sql(BLOCK_FUNCTION)
    conn.exec_driver_sql(VALUE_VIEW)


def widen_keys(conn: Connection) -> None:
    for table, number in NUMBERED.items():
        conn.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}, ADD CONSTRAINT pk_{table} PRIMARY KEY (shard, {number})")


# ---- months ---------------------------------------------------------------------------------------------------

_THERE = text("SELECT to_regclass(:name) IS NOT NULL")


def month_of(day: int) -> tuple[str, int, int]:
    """(partition, its first day, the first day after it) of a local day."""
    first = date_of(day).replace(day=1)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return f"interval_block_{first:%Y_%m}", (first - EPOCH).days, (after - EPOCH).days


def make_month(conn: Connection, day: int) -> None:
    """The partition that takes blocks of this day; nothing on SQLite, or where it is there."""
    if conn.dialect.name != "postgresql":
        return
    name, first, after = month_of(day)
    if conn.execute(_THERE, {"name": name}).scalar_one():
        return
    in_turn(conn, "months")
    conn.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF interval_block FOR VALUES FROM ({first}) TO ({after})")


def make_partitions(conn: Connection) -> None:
    """An `interval_block` in one piece becomes one of months, with all it holds."""
    kind = conn.exec_driver_sql("SELECT relkind FROM pg_class WHERE oid = 'interval_block'::regclass").scalar_one()
    if str(kind) == "p":
        return
    conn.exec_driver_sql("ALTER TABLE interval_block RENAME TO interval_block_whole")
    conn.exec_driver_sql("CREATE TABLE interval_block (LIKE interval_block_whole INCLUDING DEFAULTS) PARTITION BY RANGE (day)")
    conn.exec_driver_sql("ALTER TABLE interval_block_whole DROP CONSTRAINT pk_interval_block")
    key = "ALTER TABLE interval_block ADD CONSTRAINT pk_interval_block PRIMARY KEY (shard, day, channel_no, version)"
    conn.exec_driver_sql(key)
    for day in conn.exec_driver_sql("SELECT DISTINCT day FROM interval_block_whole").scalars().all():
        make_month(conn, day)
    conn.exec_driver_sql("INSERT INTO interval_block SELECT * FROM interval_block_whole")
    conn.exec_driver_sql("DROP TABLE interval_block_whole")


# ---- Citus ----------------------------------------------------------------------------------------------------


@cache
def distribution() -> tuple[str, ...]:
    """The statements that spread the store: hot tables by `shard`, beside each other; what they are joined with, and what hangs
    together with that by a foreign key, is on every node; the rest stays where it is."""
    from gridtally_cloud.store.schema import metadata

    hot = sorted(name for name, table in metadata.tables.items() if "shard" in table.columns)
    first = "interval_block"
    beside = [f"SELECT create_distributed_table('{name}', 'shard', colocate_with => '{first}')" for name in hot if name != first]
    everywhere = {"channel", "store_meta"}
    tied = [(table.name, key.column.table.name) for table in metadata.sorted_tables for key in table.foreign_keys]
    while more := {t for pair in tied if everywhere & set(pair) for t in pair} - everywhere:
        everywhere |= more
    copied = [f"SELECT create_reference_table('{t.name}')" for t in metadata.sorted_tables if t.name in everywhere]
    return ("CREATE EXTENSION IF NOT EXISTS citus", *copied, f"SELECT create_distributed_table('{first}', 'shard')", *beside)


def distribute(conn: Connection) -> list[str]:
    """Spread a prepared store; what is spread already is passed over. The statements that were run."""
    ran = []
    for statement in distribution():
        if " 'shard'" in statement or "reference_table" in statement:
            name = statement.split("'")[1]
            known = "SELECT 1 FROM pg_dist_partition WHERE logicalrelid = CAST(:name AS regclass)"
            if conn.execute(text(known), {"name": name}).first() is not None:
                continue
        conn.exec_driver_sql(statement)
        ran.append(statement)
    return ran


def can_spread(conn: Connection) -> bool:
    return conn.exec_driver_sql("SELECT 1 FROM pg_available_extensions WHERE name = 'citus'").first() is not None
