"""Which DCUs exist, and what their births and wills say about them."""

from __future__ import annotations

from sqlalchemy import Connection, and_, func, select, update

from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import config_version, dcu
from gridtally_shared.contract.messages import Hello
from gridtally_shared.errors import ContractError


def require_known(conn: Connection, name: str) -> None:
    """Raises ContractError for a DCU this MDM does not know or has retired."""
    state = conn.execute(select(dcu.c.state).where(dcu.c.dcu == name)).scalar_one_or_none()
    if state is None:
        raise ContractError(f"there is no DCU {name!r} in this MDM: enrol it first")
    if state == "retired":
        raise ContractError(f"DCU {name!r} is retired")


def heard(conn: Connection, name: str, now_ms: int) -> None:
    """Something arrived from the DCU."""
    conn.execute(update(dcu).where(dcu.c.dcu == name).values(last_contact_ms=now_ms, online=True))


def hello(conn: Connection, message: Hello, now_ms: int) -> None:
    """Note a birth; everything that waits for this DCU goes out now."""
    values = {"online": True, "boot_id": message.boot_id, "agent_version": message.agent_version,
              "clock_state": message.clock_state, "config_held": message.config_version, "last_hello_ms": now_ms,
              "last_contact_ms": now_ms}  # fmt: skip
    conn.execute(update(dcu).where(dcu.c.dcu == message.dcu).values(**values))
    conn.execute(update(dcu).where(dcu.c.dcu == message.dcu, dcu.c.state != "active").values(state="active"))
    c = config_version.c
    held = and_(c.dcu == message.dcu, c.version == message.config_version, c.held_at_ms.is_(None))
    conn.execute(update(config_version).where(held).values(held_at_ms=now_ms))
    outbox.configs_done(conn, message.dcu, message.config_version + 1, now_ms)
    outbox.wake(conn, message.dcu, now_ms)


def gone(conn: Connection, name: str, boot_id: bytes, now_ms: int) -> None:
    """The will of the boot that said hello last; an older boot's will changes nothing."""
    conn.execute(update(dcu).where(dcu.c.dcu == name, dcu.c.boot_id == boot_id).values(online=False))


def newest_config(conn: Connection, name: str) -> int:
    """Newest configuration version of a DCU, 0 when there is none."""
    c = config_version.c
    return int(conn.execute(select(func.coalesce(func.max(c.version), 0)).where(c.dcu == name)).scalar_one())
