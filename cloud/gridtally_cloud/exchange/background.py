"""Files in and out beside the worker's messages, in threads of their own so that a large file holds up nothing."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from gridtally_cloud.background import Background
from gridtally_cloud.exchange import deliveries, schedules
from gridtally_cloud.exchange.tables import missing_day
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import Clock

if TYPE_CHECKING:
    from gridtally_cloud.config import ExchangeConfig


class TakingIn:
    """The watched folder. The readers are loaded at the first turn."""

    def __init__(self, db: Database, config: ExchangeConfig, zone: str) -> None:
        self._db, self._config, self._zone = db, config, zone
        self._background = Background("files in", self._turn)

    def start_turn(self, now_ms: int) -> None:
        self._background.start(now_ms)

    def _turn(self, now_ms: int) -> None:
        from gridtally_cloud.exchange.folder_in import Watched, turn

        turn(self._db, Watched(Path(self._config.in_dir), self._config.still_s, self._zone), now_ms, time.time())


class SendingOut:
    """Scheduled files out, and what goes to recipients."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._background = Background("files out", self._send)

    def start_if_due(self, now_ms: int) -> None:
        with self._db.read() as conn:
            if not schedules.due(conn, now_ms) and not deliveries.anything_due(conn, now_ms):
                return
        self._background.start(now_ms)

    def _send(self, _now_ms: int) -> None:
        from gridtally_cloud.exchange.delivering import deliver_due
        from gridtally_cloud.exchange.sending import LEASE_MS, send_due

        lease_ms = int(LEASE_MS * max(1.0, self._clock.factor()))
        send_due(self._db, f"{socket.gethostname()}:{os.getpid()}", self._clock.now_ms, lease_ms)
        deliver_due(self._db, self._clock.now_ms())


class LateDays:
    """Days that lacked when their run passed them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def start_if_any(self, now_ms: int) -> None:
        with self._db.read() as conn:
            if conn.execute(select(missing_day.c.day).where(missing_day.c.sent_ms.is_(None)).limit(1)).first() is None:
                return
        from gridtally_cloud.exchange.making_good import make_good

        make_good(self._db, now_ms)
