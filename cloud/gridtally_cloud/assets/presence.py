"""Which DCUs exist, and what their births and wills say about them."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select, update

from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import config_version, dcu
from gridtally_shared.contract.messages import Hello
from gridtally_shared.errors import ContractError

_THIS, _v = dcu.c.dcu == bindparam("name"), config_version.c
_STATE, _BOOT = select(dcu.c.state).where(_THIS).with_for_update(key_share=True), select(dcu.c.boot_id).where(_THIS)
_HEARD, _ACTIVE = update(dcu).where(_THIS), update(dcu).where(_THIS, dcu.c.state != "active")
_GONE = update(dcu).where(_THIS, dcu.c.boot_id == bindparam("boot"))
_HELD = update(config_version).where(_v.dcu == bindparam("name"), _v.version == bindparam("held"), _v.held_at_ms.is_(None))
_NEWEST = select(func.coalesce(func.max(_v.version), 0)).where(_v.dcu == bindparam("name"))


def require_known(conn: Connection, name: str) -> None:
    """Raises ContractError for a DCU this MDM does not know or has retired. What comes from one DCU is taken in by one worker at a
    time: its row is held for this transaction."""
    state = conn.execute(_STATE, {"name": name}).scalar_one_or_none()
    if state is None:
        raise ContractError(f"there is no DCU {name!r} in this MDM: enrol it first")
    if state == "retired":
        raise ContractError(f"DCU {name!r} is retired")


def heard(conn: Connection, name: str, now_ms: int) -> None:
    """Something arrived from the DCU."""
    conn.execute(_HEARD, {"name": name, "last_contact_ms": now_ms, "online": True})


def boot_of(conn: Connection, name: str) -> bytes:
    """The start whose hello came last, empty for a DCU never heard."""
    return bytes(conn.execute(_BOOT, {"name": name}).scalar_one_or_none() or b"")


def hello(conn: Connection, message: Hello, now_ms: int) -> None:
    """Note a birth; everything that waits for this DCU goes out now."""
    values = {"online": True, "boot_id": message.boot_id, "agent_version": message.agent_version,
              "clock_state": message.clock_state, "config_held": message.config_version, "last_hello_ms": now_ms,
              "last_contact_ms": now_ms}  # fmt: skip
    conn.execute(_HEARD, {"name": message.dcu, **values})
    conn.execute(_ACTIVE, {"name": message.dcu, "state": "active"})
    conn.execute(_HELD, {"name": message.dcu, "held": message.config_version, "held_at_ms": now_ms})
    outbox.configs_done(conn, message.dcu, message.config_version + 1, now_ms)
    newest = newest_config(conn, message.dcu)
    if message.config_version < newest:  # it may have held it before: an old disk has the meters, holds and prices of then
        outbox.resend_unended(conn, message.dcu, "config", [str(newest)], now_ms)
    outbox.wake(conn, message.dcu, now_ms)


def gone(conn: Connection, name: str, boot_id: bytes, now_ms: int) -> None:
    """The will of the boot that said hello last; an older boot's will changes nothing."""
    conn.execute(_GONE, {"name": name, "boot": boot_id, "online": False})


def newest_config(conn: Connection, name: str) -> int:
    """Newest configuration version of a DCU, 0 when there is none."""
    return int(conn.execute(_NEWEST, {"name": name}).scalar_one())
