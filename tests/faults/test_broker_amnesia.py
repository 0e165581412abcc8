"""A broker that forgets everything, again and again: nothing relies on it remembering.

Both kinds of broker keep their sessions in memory here, so a SIGKILL makes them forget who was subscribed and what was under way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from demo import facts
from demo.deployment import BROKER, MDM
from demo.processes import answers
from gridtally_cloud.ingest import poison
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.model import InstrumentState
from gridtally_cloud.store.report import interval_counts
from gridtally_shared.money import nano
from gridtally_shared.quantities import INTERVAL_IMPORT
from support.brokers import KINDS
from support.world import Home, World, running_world

QUARTER_MS = 900_000
DEATHS = 3
PAID = "100"

pytestmark = [pytest.mark.broker, pytest.mark.slow]
_pause = threading.Event()


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with running_world(request.param, dlms=2, modbus=1, factor=600.0) as made:
        yield made


def forget_everything(world: World) -> None:
    world.kill(BROKER)
    world.revive(BROKER)
    world.until(lambda: answers(world.deployment.broker_port), 20, "the broker is back, with an empty mind")


def instrument_state(world: World, home: Home) -> InstrumentState:
    """Of the newest payment."""
    with world.db.read() as conn:
        newest = prepay.payments(conn, home.account_no, 1)[0].instrument
    assert newest is not None
    return newest.state


def is_greeted(world: World) -> bool:
    """The agent has a session in which the cloud has answered."""
    state = facts.status(world.deployment.status_file).get("uplink", {}).get("state")
    return bool(state == "open")


def test_a_credit_that_only_the_broker_had_arrives_all_the_same(world: World) -> None:
    """The cloud has handed the credit over and the box was away; then the broker forgets it."""
    home = world.homes[0]
    world.until(lambda: (world.balance_nano(home) or 0) > 0, 60, "the opening credit is there")
    before_nano = world.edge_balance_nano(home)
    with world.offline():
        world.pay(home, PAID)
        world.until(lambda: instrument_state(world, home) is InstrumentState.SENT, 30, "the broker has taken the credit")
        forget_everything(world)
    world.until(lambda: world.edge_balance_nano(home) > before_nano + nano(PAID) // 2, 60, "the credit is at the box")
    world.until(lambda: instrument_state(world, home) is InstrumentState.APPLIED, 60, "and the cloud knows")


def test_readings_that_only_the_broker_had_are_sent_again_however_often_it_dies(world: World) -> None:
    """First the broker has readings that nobody was there to fetch; then it dies while people pay."""
    rich = world.homes[1]
    world.until(lambda: is_greeted(world), 60, "the agent is connected")
    world.kill(MDM)
    world.pass_hours(0.75)
    forget_everything(world)
    world.revive(MDM)
    for death in range(DEATHS):
        world.pay(rich, PAID)
        _pause.wait(0.3 * death)
        forget_everything(world)
    check_nothing_is_lost(world)
    with world.db.read() as conn:
        states = [p.instrument.state for p in prepay.payments(conn, rich.account_no, 20) if p.instrument]
    assert states == [InstrumentState.APPLIED] * (DEATHS + 1)


def check_nothing_is_lost(world: World) -> None:
    """Every interval up to now is in the cloud once, and the books agree."""
    world.pass_hours(0.5)
    world.stand_still(90)
    start_ms, end_ms = world.deployment.start_ms + 2 * QUARTER_MS, world.now_ms() // QUARTER_MS * QUARTER_MS - QUARTER_MS
    with world.db.read() as conn:
        counts = interval_counts(conn, start_ms, end_ms, INTERVAL_IMPORT.code)
        assert poison.waiting(conn) == ()
    assert [(c.missing, c.duplicates, c.conflicts) for c in counts] == [(0, 0, 0)] * 3
    assert sum(c.stored for c in counts) == 3 * (end_ms - start_ms) // QUARTER_MS
    assert world.mismatches() == []
