"""The publisher of the way down: leases, a broker that is away, the times of sending again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.publisher import GROWTH_LIMIT, LEASE_REAL_MS, MINUTE_MS, Publisher, resend_after_ms
from gridtally_cloud.store import outbox
from gridtally_shared.lifecycle import RESEND_AFTER_MS
from support.cloud_store import START_MS, Street, new_street


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


class Line:
    def __init__(self) -> None:
        self.up = True
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes) -> bool:
        if self.up:
            self.sent.append((topic, payload))
        return self.up


def _put(street: Street, ref: str = "1/1/1", channel: str = "instrument", priority: int = 5) -> None:
    with street.db.write() as conn:
        outbox.put(conn, street.dcu, channel, ref, ref.encode(), START_MS, priority)


def test_a_message_goes_to_the_topic_of_its_dcu_and_again_within_the_minute(street: Street) -> None:
    line = Line()
    publisher = Publisher(street.db, "a", line.publish)
    _put(street)
    for at_ms in (START_MS, START_MS + RESEND_AFTER_MS - 1, START_MS + RESEND_AFTER_MS):
        publisher.send_due(at_ms, 1.0)
    assert line.sent == [(f"gt/1/{street.dcu}/down/instrument", b"1/1/1")] * 2


def test_nothing_is_counted_as_sent_while_the_broker_is_away(street: Street) -> None:
    line = Line()
    line.up = False
    publisher = Publisher(street.db, "a", line.publish)
    _put(street)
    assert publisher.send_due(START_MS, 1.0) == 0
    with street.db.read() as conn:
        assert outbox.attempts_of(conn, "instrument", "1/1/1") == 0
    line.up = True
    assert publisher.send_due(START_MS + 1, 1.0) == 1


def test_two_workers_do_not_send_the_same_row_at_once_and_a_dead_ones_lease_ends(street: Street) -> None:
    _put(street)
    with street.db.write() as conn:
        assert len(outbox.claim(conn, "dead worker", START_MS, LEASE_REAL_MS)) == 1
    line = Line()
    publisher = Publisher(street.db, "b", line.publish)
    assert publisher.send_due(START_MS + LEASE_REAL_MS - 1, 1.0) == 0
    assert publisher.send_due(START_MS + LEASE_REAL_MS, 1.0) == 1


def test_a_done_row_is_never_sent_again(street: Street) -> None:
    line = Line()
    publisher = Publisher(street.db, "a", line.publish)
    _put(street)
    publisher.send_due(START_MS, 1.0)
    with street.db.write() as conn:
        outbox.done(conn, "instrument", "1/1/1", START_MS)
        outbox.wake(conn, street.dcu, START_MS + 1)
    assert publisher.send_due(START_MS + 10 * MINUTE_MS, 1.0) == 0


def test_what_went_to_nobody_for_hours_goes_again_soon_once_the_dcu_is_there(street: Street) -> None:
    """The first message behind the outage is lost as well: a payment does not wait a quarter of an hour for the next one."""
    line = Line()
    publisher = Publisher(street.db, "a", line.publish)
    _put(street)
    away_ms = max(START_MS + minutes * MINUTE_MS for minutes in range(180) if publisher.send_due(START_MS + minutes * MINUTE_MS, 1.0))
    for now_ms in (away_ms, away_ms + 5 * MINUTE_MS):  # the hello comes in the moment of a send, or between two
        with street.db.write() as conn:
            outbox.wake(conn, street.dcu, now_ms)
        assert publisher.send_due(now_ms, 1.0) == 1
        assert publisher.send_due(now_ms + 2 * MINUTE_MS, 1.0) == 1


def test_fast_virtual_time_sends_again_at_most_once_a_real_second(street: Street) -> None:
    line = Line()
    publisher = Publisher(street.db, "a", line.publish)
    _put(street)
    publisher.send_due(START_MS, 1000.0)
    assert publisher.send_due(START_MS + 999_999, 1000.0) == 0
    assert publisher.send_due(START_MS + 1_000_000, 1000.0) == 1


@pytest.mark.parametrize(
    ("channel", "priority", "attempts", "expected_ms"),
    [
        ("command", 5, 0, RESEND_AFTER_MS),
        ("command", 10, 3, RESEND_AFTER_MS),
        ("command", 30, 0, RESEND_AFTER_MS),
        ("command", 30, 1, MINUTE_MS),
        ("instrument", 5, 0, RESEND_AFTER_MS),
        ("instrument", 5, 1, 2 * MINUTE_MS),
        ("instrument", 5, 3, 8 * MINUTE_MS),
        ("instrument", 5, 9, 16 * MINUTE_MS),
        ("config", 1, 0, MINUTE_MS),
        ("config", 1, 2, 4 * MINUTE_MS),
        ("config", 1, 99, MINUTE_MS << GROWTH_LIMIT),
    ],
)
def test_the_time_to_the_next_try(channel: str, priority: int, attempts: int, expected_ms: int) -> None:
    assert resend_after_ms(outbox.Due(1, "d", channel, "r", b"", attempts, priority)) == expected_ms
