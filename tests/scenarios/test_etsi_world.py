"""Seed 004 (ETSI TR 102 691) with real processes, a real broker and serial lines, in fast virtual time.

The world is shared (conftest.py); the tests here only read, and pay once.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import select

from demo import street as acacia
from gridtally_cloud.provisioning.tables import inventory
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import dcu
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, Readings
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import NANO, display, nano
from gridtally_shared.quantities import ENERGY_IMPORT
from support.visitor import Visitor
from support.waiting import wait_until
from support.world import Home, World

pytestmark = pytest.mark.slow
QUARTER_MS = 900_000
TURN = "SELECT at_ms FROM sample WHERE meter_no = {} AND quantity = 1 ORDER BY at_ms"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture(scope="module")
def token(world: World) -> str:
    with world.db.write() as conn:
        return create_token(conn, "recipient", SCOPES, SystemClock().now_ms(), "test")


@pytest.fixture(scope="module")
def home(world: World) -> Home:
    """The one whose consumer has a login and a display PIN: the first of the street."""
    return world.homes[0]


@pytest.fixture
def display_page(world: World, home: Home) -> Visitor:
    """The display device in the home, which talks to the concentrator directly."""
    visitor = Visitor(world.deployment.display_url)
    wait_until(lambda: bool(world.edge("money.db", f"SELECT 1 FROM account WHERE account_no = {home.account_no}")), 60,
               "the account with its PIN on the box")  # fmt: skip
    wait_until(lambda: world.balance_nano(home) is not None, 60, "the account's first journal in the mirror")
    status, _ = visitor.post("open", {"account": str(home.account_no), "pin": world.deployment.pin}, form="")
    assert status == 200
    return visitor


# ---- 4.2, 5.2.3, 5.2.4, 5.2.5: as it stands -------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.4-install-5", "ETSI-5.2.5-pre")
def test_the_installation_is_complete_and_its_prepay_meters_known(world: World, home: Home, token: str) -> None:
    """Pre: a new concentrator asked with its install secret, meters were bound. Post: it is active; a prepay meter is configured
    as such on both sides, and the entities are known."""
    with world.db.read() as conn:
        box = conn.execute(select(inventory.c.state).where(inventory.c.serial == acacia.DCU_SERIAL)).scalar_one()
        state = conn.execute(select(dcu.c.state).where(dcu.c.dcu == acacia.DCU)).scalar_one()
    assert (box, state) == ("active", "active")  # install-5
    cloud = Visitor(world.deployment.mdm_url)
    account = cloud.api(f"api/v1/accounts/{home.account_no}", token)
    assert (account["mode"], account["meter_serial"]) == ("prepaid", home.serial)
    assert account["customer"]
    held = f"SELECT account_no FROM account WHERE account_no = {home.account_no}"
    world.until(lambda: world.edge("money.db", held), 20, "the gateway keeps the account")
    cloud.sign_in(acacia.CONSUMER_LOGIN, world.deployment.password)
    assert home.serial in cloud.get(f"account/{home.account_no}/profile")[1]


@pytest.mark.covers("ETSI-NR6b", "ETSI-5.2.3-trig")
@pytest.mark.covers_part("ETSI-4.2a")
def test_data_come_by_the_gateway_on_schedule_and_on_request_and_control_goes_back_by_it(world: World, home: Home, token: str) -> None:
    """Pre: meters of two protocols behind one gateway. Post: the MDM has a value of each turn without asking, one more because it
    asked, and everything went through the gateway."""
    cloud = Visitor(world.deployment.mdm_url)
    plain = world.homes[-1]
    from_ms = world.now_ms()

    def stamps(at: Home) -> set[int]:
        span = f"from={utc_text(from_ms)}&limit=1000"
        rows = cloud.api(f"api/v1/meters/{at.meter_no}/readings?{span}", token)["items"]
        return {ms(r["at"]) for r in rows if r["quantity"] == ENERGY_IMPORT.name}

    world.until(lambda: all(len(stamps(at)) >= 3 for at in (home, plain)), 60, "three scheduled values of each protocol")
    for at in (home, plain):
        turns = sorted(at_ms // QUARTER_MS for at_ms in stamps(at))
        assert turns == list(range(turns[0], turns[0] + len(turns)))  # NR6b, schedule point: every quarter of an hour, unasked
        held = {at_ms // 1000 for (at_ms,) in world.edge("readings.db", TURN.format(at.meter_no))}
        assert {at_ms // 1000 for at_ms in stamps(at)} <= held  # each came by the gateway
        answer = world.ended(world.order(at, CommandType.READ_INSTANT))  # request made
        assert answer.state is CommandState.DONE
        values = decode(Readings, answer.result).values
        assert {v.meter_no for v in values} == {at.meter_no}
        assert any(v.quantity == ENERGY_IMPORT.code and v.value > 0 for v in values)
        executed = world.edge("money.db", f"SELECT state FROM command WHERE cmd_id = x'{answer.cmd_id.hex()}'")
        assert executed == [(int(CommandState.DONE),)]  # control came back the same way


@pytest.mark.covers("ETSI-5.2.11-alt3")
@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("events?from=yesterday", 400, "bad-time"),
        ("events?limit=none", 400, "bad-limit"),
        ("meters/999/events", 404, "not-found"),
    ],
)
def test_an_invalid_request_for_the_log_gets_a_notice_with_type_and_stamp(
    world: World, token: str, path: str, status: int, kind: str
) -> None:
    request = Request(f"{world.deployment.mdm_url}api/v1/{path}", headers={"Authorization": f"Bearer {token}"})
    before_ms = SystemClock().now_ms()
    with pytest.raises(HTTPError) as caught:
        urlopen(request, timeout=20)
    with caught.value as answer:
        body: dict[str, Any] = json.loads(answer.read())
        stamp_ms = int(parsedate_to_datetime(answer.headers["Date"]).timestamp() * 1000)
    assert (answer.code, body["status"], body["type"].rsplit("/", 1)[1]) == (status, status, kind)
    assert body["detail"]
    assert before_ms - 1000 <= stamp_ms <= SystemClock().now_ms()


# ---- NR25: objects speak with each other ----------------------------------------------------------------------


@pytest.mark.covers("ETSI-NR25")
def test_the_display_speaks_with_the_concentrator_while_the_wide_area_is_away(world: World, home: Home, display_page: Visitor) -> None:
    """Pre: no uplink. Post: the display in the home has shown values read from the meter since then, to the nano of the edge's books,
    while the MDM stands still."""

    def shown() -> str:
        text = display_page.get("")[1]
        found = re.search(r'<p class="amount">([^<]+)</p>', text)
        assert found, text[:300]
        return found[1]

    with world.offline():
        first, mirrored = shown(), world.balance_nano(home)
        balance_nano = world.edge_balance_nano(home)
        world.until(lambda: balance_nano - world.edge_balance_nano(home) > NANO // 5, 60, "energy is charged at the edge")
        world.slow()
        try:
            assert shown() != first
            assert shown().replace("\xa0", " ") == display(world.edge_balance_nano(home), "INR").replace("\xa0", " ")
            assert world.balance_nano(home) == mirrored  # nothing of this came from the MDM
        finally:
            world.go_on()


@pytest.mark.covers("ETSI-5.2.5-basic-7+8a")
def test_the_consumer_acts_and_adds_credit(world: World, home: Home) -> None:
    """Pre: the consumer has read the balance. Post: his recharge is on the meter's account; both ends agree."""
    phone = Visitor(world.deployment.mdm_url)
    phone.sign_in(acacia.CONSUMER_LOGIN, world.deployment.password)
    place = f"account/{home.account_no}/"
    assert "₹" in phone.get(place)[1]
    seen = world.edge("money.db", f"SELECT max(gseq) FROM instrument WHERE account_no = {home.account_no}")[0][0]
    status, _ = phone.post(f"{place}recharge", {"choice": "other", "amount": "123.00"})  # step 7: acts
    assert status == 200
    status, receipt = phone.post(phone.at, {"choice": "card"})  # step 8a: adds credit, at the gateway
    assert (status, "Your payment has arrived" in receipt) == (200, True)
    query = f"SELECT amount_nano, state FROM instrument WHERE account_no = {home.account_no} AND gseq > {seen}"
    world.until(lambda: world.edge("money.db", query) == [(nano("123"), "applied")], 30, "the credit is on the meter's account")
    world.until(lambda: world.mismatches() == [], 30, "both ends agree")
