"""Auto-replenish: one charge a crossing, whatever the mirror, the gateway and the workers do; caps, consent, failure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.notices import told
from gridtally_cloud.prepay.replenish import AttemptState, attempts, crossing, replenish
from gridtally_cloud.prepay.replenish_rules import RuleState, Wish, agree, keep_method, remove_method, rule_of, switch_off
from gridtally_cloud.prepay.tables import payment, replenish_attempt
from gridtally_cloud.prepay.tables import test_gateway_order as bank_order
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from support.payday import DAY_MS, GATEWAY, HOUR_MS, OPENED_WH, Payday

THRESHOLD = nano("100")


class Home:
    """A prepaid home with a rule: 200 at 100 or below, at most 600 a month."""

    def __init__(self, folder: Path, choice: str = "card", cap: str = "600") -> None:
        self.town, self.register = Payday(folder), OPENED_WH
        self.town.read(0, OPENED_WH)
        self.town.pay("150")
        self.town.round()
        self.method = self.store(choice)
        self.agree(cap=cap)

    def store(self, choice: str) -> int:
        with self.town.db.write() as conn:
            stored = GATEWAY.store_method(conn, choice, self.town.now_ms)
            return keep_method(conn, self.town.payments, self.town.account, stored, self.town.now_ms, "asha").method_no

    def agree(self, cap: str = "600", amount: str = "200", consent: bool = True, threshold_nano: int = THRESHOLD) -> None:
        wish = Wish(self.method, threshold_nano, nano(amount), nano(cap), consent)
        with self.town.db.write() as conn:
            agree(conn, self.town.payments, self.town.account, wish, self.town.now_ms, "asha")

    def use(self, wh: int = 12_000) -> None:
        self.town.wait(HOUR_MS)
        self.register += wh
        self.town.read(0, self.register)

    def work(self) -> None:
        replenish(self.town.db, self.town.payments, self.town.now_ms)

    def bank(self) -> None:
        """Everything the gateway has to say, said."""
        with self.town.db.read() as conn:
            hooks = GATEWAY.undelivered(conn)
        for hook in hooks:
            self.town.deliver(hook)

    def settle(self) -> None:
        """Until nothing moves."""
        for _ in range(3):
            self.work()
            self.bank()
            self.town.round()

    @property
    def states(self) -> list[AttemptState]:
        with self.town.db.read() as conn:
            return [a.state for a in reversed(attempts(conn, self.town.account))]

    @property
    def charged(self) -> int:
        with self.town.db.read() as conn:
            return int(conn.execute(select(func.count()).select_from(payment).where(payment.c.order_id.in_(
                [a.order_id for a in attempts(conn, self.town.account, 1000)]))).scalar_one())  # fmt: skip

    @property
    def codes(self) -> list[str]:
        with self.town.db.read() as conn:
            return [n.code for n in told(conn, self.town.account)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.town.close()


@pytest.mark.covers_part("C3-A1.6", "C3-A2.8d")
def test_a_crossing_is_charged_once_and_credited_without_a_hand(home: Home) -> None:
    home.work()
    assert home.states == []
    home.use()
    home.town.carry_up()
    for _ in range(3):
        home.work()
    assert home.states == [AttemptState.ASKED]
    assert home.charged == 0
    home.settle()
    assert (home.states, home.charged) == ([AttemptState.CAPTURED], 1)
    assert home.town.balance().balance_nano > nano("200")
    home.settle()
    assert home.charged == 1
    assert home.codes == ["replenish_done"]
    with home.town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


@pytest.mark.covers_part("C3-A1.6")
def test_the_next_crossing_is_charged_again(home: Home) -> None:
    for _ in range(2):
        while home.town.balance().balance_nano > THRESHOLD:
            home.use()
            home.town.carry_up()
        home.settle()
    assert (home.states, home.charged) == ([AttemptState.CAPTURED] * 2, 2)


@pytest.mark.covers_part("C3-A1.6")
@pytest.mark.parametrize("threshold", ["140", "70"])
def test_a_threshold_that_is_changed_while_the_bank_is_asked_charges_nothing_more(home: Home, threshold: str) -> None:
    """Another threshold has another crossing, an earlier or a later one, of the same low balance."""
    home.use(3_000)
    home.use(5_000)
    home.town.carry_up()
    home.work()
    assert home.states == [AttemptState.ASKED]
    home.agree(threshold_nano=nano(threshold))
    home.use(4_000)
    home.town.carry_up()
    home.work()
    assert home.town.balance().balance_nano <= nano(threshold)
    assert home.states == [AttemptState.ASKED]
    home.settle()
    assert (home.states, home.charged) == ([AttemptState.CAPTURED], 1)


@pytest.mark.covers_part("C3-A1.6")
def test_a_bank_that_never_says_what_became_of_it_holds_up_the_next_low_balance_for_hours_only(home: Home) -> None:
    home.use()
    home.town.carry_up()
    home.work()
    assert home.states == [AttemptState.ASKED]
    home.town.pay("300")
    home.town.round()
    assert home.town.balance().balance_nano > THRESHOLD
    while home.town.balance().balance_nano > THRESHOLD:
        home.use()
        home.town.carry_up()
    home.town.wait(2 * HOUR_MS)
    home.work()
    assert home.states == [AttemptState.ASKED, AttemptState.ASKED]


@pytest.mark.covers("C3-A1.6")
def test_he_pays_by_hand_or_is_charged_once_a_crossing_and_a_failure_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.use()  # 50 or so are left, below the threshold of 100
    home.town.pay("150")  # by hand, before the rule has looked
    home.town.round()
    home.settle()
    assert (home.states, home.town.balance().balance_nano > nano("150")) == ([], True)
    while home.town.balance().balance_nano > THRESHOLD:
        home.use()
        home.town.carry_up()
    for _ in range(3):
        home.settle()
    assert (home.states, home.charged) == ([AttemptState.CAPTURED], 1)  # once for the crossing, however often it is looked at
    home.method = home.store("card-declined")
    home.agree()
    while home.town.balance().balance_nano > THRESHOLD:
        home.use()
        home.town.carry_up()
    home.settle()
    assert (home.states[-1], home.charged) == (AttemptState.FAILED, 1)
    assert "replenish_failed" in home.codes
    home.town.close()


def test_low_again_while_the_mirror_still_shows_the_old_balance(home: Home) -> None:
    home.use()
    home.town.carry_up()
    home.work()
    home.bank()
    home.use(1_000)
    home.town.carry_up()
    home.work()
    assert home.charged == 1
    assert len(home.states) == 1


def test_money_already_on_its_way_is_waited_for(home: Home) -> None:
    home.use()
    home.town.carry_up()
    home.town.pay("150")
    home.work()
    assert home.states == []
    home.settle()
    assert home.states == []


@pytest.mark.covers_part("C3-A1.6")
def test_a_refused_charge_stops_the_rule_and_tells_the_consumer(tmp_path: Path) -> None:
    home = Home(tmp_path, "card-declined")
    home.use()
    home.town.carry_up()
    home.settle()
    with home.town.db.read() as conn:
        rule = rule_of(conn, home.town.account)
        message = told(conn, home.town.account)[0]
    assert rule is not None
    assert (rule.state, rule.reason) == (RuleState.STOPPED, "card_declined")
    assert (message.code, dict(message.params)["why"]) == ("replenish_failed", "card_declined")
    home.settle()
    assert (home.states, home.charged) == ([AttemptState.FAILED], 0)
    home.town.wait(HOUR_MS)
    home.method = home.store("wallet")
    home.agree()
    home.settle()
    assert (home.states, home.charged) == ([AttemptState.CAPTURED], 1)
    home.town.close()


def test_the_cap_of_a_month_holds_until_the_next_one(tmp_path: Path) -> None:
    home = Home(tmp_path, cap="200")
    home.use()
    home.town.carry_up()
    home.settle()
    while home.town.balance().balance_nano > THRESHOLD:
        home.use()
        home.town.carry_up()
    home.settle()
    assert (home.states, home.charged) == ([AttemptState.CAPTURED, AttemptState.CAPPED], 1)
    assert "replenish_capped" in home.codes
    home.town.now_ms += 30 * DAY_MS
    home.settle()
    assert (home.states, home.charged) == ([AttemptState.CAPTURED] * 2, 2)
    home.town.close()


def test_nothing_is_charged_without_consent_and_nothing_after_it_ended(home: Home) -> None:
    with pytest.raises(RefusedCommand, match="no_consent"):
        home.agree(consent=False)
    with pytest.raises(RefusedCommand, match="cap_too_small"):
        home.agree(cap="199")
    with pytest.raises(RefusedCommand, match="payment_too_small"):
        home.agree(amount="99")
    with home.town.db.write() as conn:
        switch_off(conn, home.town.account, home.town.now_ms, "asha")
    home.use()
    home.town.carry_up()
    home.settle()
    assert home.states == []
    with home.town.db.read() as conn:
        actions = [row.action for row in audit_rows(conn, subject=f"account:{home.town.account}")]
    assert {"replenish.agreed", "replenish.off", "method.stored"} <= set(actions)


def test_a_removed_method_is_never_charged(home: Home) -> None:
    home.use()
    home.town.carry_up()
    with home.town.db.write() as conn:
        remove_method(conn, home.town.account, home.method, home.town.now_ms, "asha")
        rule = rule_of(conn, home.town.account)
    assert rule is not None
    assert rule.state is RuleState.STOPPED
    home.settle()
    assert home.states == []
    with pytest.raises(RefusedCommand, match="unknown_method"):
        home.agree()


STEPS: tuple[Callable[[Home], None], ...] = (Home.use, Home.work, Home.bank, lambda h: h.town.carry_up(), lambda h: h.town.carry_down())


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS), min_size=8, max_size=30), st.randoms(use_true_random=False))
def test_in_any_order_a_crossing_gives_one_charge(steps: list[Callable[[Home], None]], random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), cap="100000")
        for step in steps:
            for _ in range(random.randint(1, 2)):
                step(home)
        home.settle()
        with home.town.db.read() as conn:
            made = attempts(conn, home.town.account, 1000)
            orders = conn.execute(select(func.count()).select_from(bank_order)).scalar_one()
            assert prepay.reconcile(conn) == ()
            assert crossing(conn, home.town.account, -(2**60)) is None
        assert len({a.crossing for a in made}) == len(made) == home.charged == orders - 1
        home.town.close()


def pays(home: Home, mode: Mode) -> None:
    with home.town.db.write() as conn:
        conn.execute(update(account).where(account.c.account_no == home.town.account).values(mode=mode.value))


def test_who_pays_by_bill_is_not_charged_until_he_pays_ahead_again(home: Home) -> None:
    """His household paid ahead when the balance fell."""
    home.use()
    home.town.round()
    pays(home, Mode.POSTPAID)
    home.settle()
    assert (home.charged, home.states) == (0, [])
    pays(home, Mode.PREPAID)
    home.settle()
    assert home.charged == 1


def test_a_charge_that_was_wanted_before_he_went_over_to_bills_is_not_asked_for(home: Home) -> None:
    home.use()
    home.town.round()
    with home.town.db.write() as conn:
        seen = crossing(conn, home.town.account, THRESHOLD)
        row = {"account_no": home.town.account, "epoch": 1, "seq": seen.seq if seen else 0, "amount_nano": nano("200"),
               "method_no": home.method, "order_id": "o", "state": "wanted", "at_ms": home.town.now_ms, "state_ms": 1}  # fmt: skip
        conn.execute(insert(replenish_attempt).values(row))
    pays(home, Mode.POSTPAID)
    home.settle()
    assert (home.charged, home.states) == (0, [AttemptState.FAILED])
    pays(home, Mode.PREPAID)
    home.settle()
    assert (home.charged, home.states) == (1, [AttemptState.CAPTURED])
