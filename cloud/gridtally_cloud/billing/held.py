"""What a bill reads of intervals, each span once: its check, its days, its data quality and its charges look at the same ones.

It lives as long as one transaction, in which nothing of it changes.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from gridtally_cloud.store.intervals import IntervalSeries, read_intervals
from gridtally_cloud.store.tables import channel
from gridtally_shared.quantities import Quantity

_CHANNEL = (select(channel.c.channel_no)
            .where(channel.c.usage_point_no == bindparam("point"), channel.c.quantity == bindparam("quantity"))
            .order_by(channel.c.period_s, channel.c.channel_no).limit(1))  # fmt: skip


class Held:
    """Intervals as they stand in a transaction: with estimates, and with what persons set."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self._channels: dict[tuple[int, int], int | None] = {}
        self._series: dict[tuple[int, int, int], IntervalSeries] = {}

    def channel(self, usage_point_no: int, quantity: Quantity) -> int | None:
        """The finest channel of a quantity; None where nothing was measured yet."""
        key = (usage_point_no, quantity.code)
        if key not in self._channels:
            self._channels[key] = channel_of(self.conn, usage_point_no, quantity)
        return self._channels[key]

    def series(self, channel_no: int, from_ms: int, to_ms: int) -> IntervalSeries:
        key = (channel_no, from_ms, to_ms)
        if key not in self._series:
            self._series[key] = read_intervals(self.conn, channel_no, from_ms, to_ms)
        return self._series[key]


def channel_of(conn: Connection, usage_point_no: int, quantity: Quantity) -> int | None:
    return conn.execute(_CHANNEL, {"point": usage_point_no, "quantity": quantity.code}).scalar_one_or_none()
