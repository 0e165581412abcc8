"""Instruments of every type: order, once, refused whole; the same ledger whatever the carriers do to them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.effects import EFFECTS
from gridtally_edge.prepay.rows import InstrumentRow, OrderRow, some
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, InstrumentType
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.forms import FORMS
from gridtally_shared.instruments.keypad_code import CodeContext, CodeType, amount_value, code_text
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import InstrumentEvidence, evidence_of
from gridtally_shared.meter_settings import ResetKind
from gridtally_shared.money import nano
from support.prepay_bench import DAY_MS, START_MS, Bench, tariff

T = InstrumentType
KEY = bytes(range(32))
NEW_KEY = bytes(range(32, 64))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, 1, {"keypad_key": KEY})


def send(bench: Bench, kind: T, amount: str = "0", gseq: int | None = None, detail: Any = None, **changes: Any) -> None:
    bench.credit(1, amount, gseq, type=kind, detail=encode(detail) if detail else b"", **changes)


def pools(bench: Bench) -> dict[str, int]:
    state, problem = bench.replayed()
    assert problem is None
    return {Pool(k).name: v for k, v in state.pools.items() if v}


def refusals(bench: Bench) -> list[str]:
    found = (evidence_of(e) for e in bench.entries() if e.kind == Kind.CONTROL)
    return [e.refused for e in found if isinstance(e, InstrumentEvidence) and e.refused]


def held(bench: Bench) -> set[str]:
    return {row.name for row in some(bench.db, OrderRow, "WHERE value <> 0")}


def states(bench: Bench) -> dict[int, str]:
    return {row.gseq: row.state for row in some(bench.db, InstrumentRow, "ORDER BY gseq")}


def test_every_type_has_a_form_and_every_form_an_effect() -> None:
    assert set(FORMS) == set(T)
    assert set(EFFECTS) == set(T)


def test_kwh_and_hours_are_money_at_the_price_of_their_sale(bench: Bench) -> None:
    send(bench, T.CREDIT_KWH, "42", detail=d.EnergySold(5_250, nano("8")))
    send(bench, T.CREDIT_TIME, "12", detail=d.TimeSold(24, nano("0.5")))
    assert pools(bench) == {"RECEIVED": -nano("54"), "PAID": nano("54")}


def test_a_debt_a_lease_its_return_and_a_clearing_are_transfers(bench: Bench) -> None:
    send(bench, T.CREDIT, "30")
    send(bench, T.DEBT, "-20", detail=d.DebtTaken("time"))
    send(bench, T.DEBT, "-5", detail=d.DebtTaken("payment"))
    send(bench, T.LEASE, "12", detail=d.LeaseGrant(1, 1))
    assert (pools(bench)["DEBT_TIME"], pools(bench)["DEBT_PAYMENT"], bench.balance()) == (-nano("20"), -nano("5"), nano("42"))
    send(bench, T.LEASE_RETURN)
    send(bench, T.CREDIT_CLEAR)
    assert pools(bench) == {"RECEIVED": -nano("30"), "DEBT_TIME": -nano("20"), "DEBT_PAYMENT": -nano("5"), "TRANSFER": nano("55")}


def test_control_waits_for_every_number_below_and_credit_does_not(bench: Bench) -> None:
    send(bench, T.HOLD, gseq=3, detail=d.HoldOrder("customer"))
    send(bench, T.CREDIT, "4", gseq=4)
    assert (states(bench), held(bench)) == ({3: "parked", 4: "applied"}, set())
    send(bench, T.CREDIT, "1", gseq=1)
    assert held(bench) == set()
    send(bench, T.CREDIT, "2", gseq=2)
    assert (held(bench), bench.balance()) == ({"hold:customer"}, nano("7"))


def test_a_clearing_leaves_what_was_paid_after_it(bench: Bench) -> None:
    send(bench, T.CREDIT, "10", gseq=3)
    send(bench, T.CREDIT_CLEAR, gseq=2)
    send(bench, T.CREDIT, "7", gseq=1)
    assert bench.balance() == nano("10")


def test_a_protection_ends_at_its_time_by_a_trusted_clock_only(bench: Bench) -> None:
    until_ms = START_MS + DAY_MS
    send(bench, T.PROTECT, detail=d.ProtectOrder("medical", True, until_ms))
    account = bench.core._plan.accounts[101]
    assert "medical" in account.holds
    bench.restart()
    bench.wait(2 * DAY_MS)
    assert "medical" in bench.core._plan.accounts[101].holds, "a clock nobody vouches for ends nothing"
    bench.trust()
    bench.wait(60_000)
    assert "medical" not in bench.core._plan.accounts[101].holds


def test_orders_survive_a_configuration_and_a_restart_and_are_lifted_by_their_own_kind(bench: Bench) -> None:
    send(bench, T.HOLD, detail=d.HoldOrder("customer"))
    bench.configure()
    bench.restart()
    bench.wait(60_000)
    assert bench.core._plan.accounts[101].holds == ("customer",)
    send(bench, T.HOLD, detail=d.HoldOrder("customer", False))
    assert bench.core._plan.accounts[101].holds == ()


def test_limit_mode_and_unbalance_are_orders_others_act_on(bench: Bench) -> None:
    send(bench, T.LIMIT_SET, detail=d.LimitOrder(3_000, START_MS + DAY_MS))
    send(bench, T.MODE_SET, detail=d.ModeOrder(1))
    send(bench, T.UNBALANCE_SET, detail=d.UnbalanceOrder(10_000))
    found = {row.name: (row.value, row.until_ms) for row in some(bench.db, OrderRow, "WHERE name NOT LIKE 'ask%'")}
    assert found == {"limit_w": (3_000, START_MS + DAY_MS), "mode": (1, 0), "unbalance_ma": (10_000, 0)}


def test_a_loaded_tariff_is_pinned_over_a_restart(bench: Bench) -> None:
    dear = tariff(START_MS + DAY_MS, 2, energy_per_kwh="16.00")
    send(bench, T.TARIFF_LOAD, detail=d.TariffLoad("home", 2, dear.from_ms, dear.document))
    bench.restart()
    assert [v.version for v in bench.core._plan.tariffs["home"]] == [1, 2]


def test_a_protection_by_code_holds_at_once_and_after_a_restart(bench: Bench) -> None:
    value = d.REASONS.index("medical") | 1 << 5
    text = code_text(KEY, CodeContext("dcu-1", 101, 1, "INR"), 1, CodeType.PROTECT, value)
    assert keypad(bench, text, 1) == "accepted"
    assert bench.core._plan.accounts[101].holds == ("medical",)
    bench.restart()
    assert bench.core._plan.accounts[101].holds == ("medical",)


def resets(bench: Bench) -> list[p.RunTask]:
    found = [e for e in bench.effects if isinstance(e, p.RunTask)]
    bench.effects.clear()
    return found


def test_a_tamper_clear_is_tried_until_the_meter_has_done_it(bench: Bench) -> None:
    send(bench, T.TAMPER_CLEAR)
    (first,) = resets(bench)
    assert (first.type, first.reset, first.again) == (CommandType.RESET, int(ResetKind.TAMPER), False)
    bench.tell(p.ReadFinished(first.cmd_id, False, bench.now_ms, reason="no_answer"))
    bench.restart()
    bench.wait(600_000)
    (second,) = resets(bench)
    assert (second.cmd_id, second.again) == (first.cmd_id, True)
    bench.tell(p.ReadFinished(second.cmd_id, True, bench.now_ms))
    bench.wait(DAY_MS)
    assert resets(bench) == []


def keypad(bench: Bench, text: str, entry: int) -> str:
    answers = bench.tell(p.CodeEntered(entry.to_bytes(16, "big"), 101, text))
    return next(a.result for a in answers if isinstance(a, p.CodeAnswered))


def code(amount: int, gseq: int, key: bytes = KEY) -> str:
    value = amount_value(amount, "INR")
    assert value is not None
    return code_text(key, CodeContext("dcu-1", 101, 1, "INR"), gseq, CodeType.CREDIT, value)


def test_a_new_keypad_key_takes_the_old_one_out_of_use(bench: Bench) -> None:
    send(bench, T.KEY_ROTATE, detail=d.KeyChange(2, NEW_KEY))
    assert keypad(bench, code(nano("5"), 2), 1) == "old"
    bench.restart()
    assert keypad(bench, code(nano("5"), 2, NEW_KEY), 2) == "accepted"
    bench.configure(keypad_key=NEW_KEY)
    assert keypad(bench, code(nano("5"), 3), 3) == "old"


REFUSED = [
    ("an unknown type", {"type": 99}, "unknown type"),
    ("a credit of nothing", {"amount_nano": 0}, "amount"),
    ("a detail where none belongs", {"detail": b"\xa0"}, "detail"),
    ("kWh that cost another amount", {"type": T.CREDIT_KWH, "detail": encode(d.EnergySold(1_000, nano("8")))}, "detail"),
    ("a detail that is noise", {"type": T.CREDIT_KWH, "detail": b"\xff"}, "detail"),
    ("more than an account may hold", {"amount_nano": 2**63 - 1}, "overflow"),
    ("a safety hold lifted from afar", {"type": T.HOLD, "amount_nano": 0, "detail": encode(d.HoldOrder("safety", False))}, "detail"),
    ("a reason nobody knows", {"type": T.HOLD, "amount_nano": 0, "detail": encode(d.HoldOrder("mood"))}, "detail"),
]


@pytest.mark.parametrize(("changes", "reason"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_does_not_fit_is_refused_whole_journalled_and_holds_nothing_up(bench: Bench, changes: dict, reason: str) -> None:
    bench.credit(1, "5", 1, **changes)
    assert (bench.balance(), refusals(bench), states(bench)) == (0, [reason], {1: "refused"})
    assert f"reason={reason}" in next(e.detail for e in bench.events() if e.code == 1012)
    send(bench, T.HOLD, gseq=2, detail=d.HoldOrder("customer"))
    assert held(bench) == {"hold:customer"}


# ---- the same ledger whatever carriers do -------------------------------------------------------------------

MADE: tuple[tuple[T, int, Any], ...] = (
    (T.CREDIT, 1, None), (T.REFUND, -1, None), (T.CREDIT_KWH, 1, d.EnergySold), (T.HOLD, 0, d.HoldOrder("customer")),
    (T.HOLD, 0, d.HoldOrder("customer", False)), (T.LEASE, 1, d.LeaseGrant(1, 0)), (T.LEASE_RETURN, 0, None),
    (T.LIMIT_SET, 0, d.LimitOrder(2_000)), (T.LIMIT_SET, 0, d.LimitOrder(0)), (T.DEBT, -1, d.DebtTaken("time")),
    (T.TEST, 0, None), (T.CREDIT, 1, None), (T.CREDIT, 1, None),
)  # fmt: skip
ISSUED = st.lists(st.tuples(st.sampled_from(MADE), st.integers(1, 9_000)), min_size=2, max_size=12)


def envelopes(bench: Bench, issued: list[tuple[tuple[T, int, Any], int]]) -> list[tuple[bytes, str]]:
    """Each instrument signed, and as a code where there is one."""
    made = []
    for gseq, ((kind, sign, form), coins) in enumerate(issued, 1):
        amount = sign * coins * 10**7
        detail = form(coins, 10**10) if form is d.EnergySold else form
        values = {"type": kind, "amount_nano": amount, "detail": encode(detail) if detail else b""}
        made.append((bench.instrument(1, "0", gseq, **values), code(amount, gseq) if kind is T.CREDIT else ""))
    return made


def outcome(bench: Bench) -> tuple[Any, ...]:
    state, problem = bench.replayed()
    assert problem is None
    rows = sorted((r.name, r.value) for r in some(bench.db, OrderRow, ""))
    return {k: v for k, v in state.pools.items() if v}, state.used, rows, states(bench)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ISSUED, st.randoms(use_true_random=False))
def test_any_order_any_repetition_any_carrier_gives_the_same_ledger(issued: list, random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("plain", "wild")]
        for path in paths:
            path.mkdir()
        plain, wild = (Bench(path, 1, {"keypad_key": KEY}) for path in paths)
        made = envelopes(plain, issued)
        for bench in (plain, wild):
            bench.db.execute("PRAGMA synchronous = OFF")
        for signed, _ in made:
            plain.tell(p.InstrumentArrived(signed))
        road = [c for c in made for _ in range(random.randint(0, 3))]  # lost, or repeated
        random.shuffle(road)
        for number, (signed, text) in enumerate([*road, *made[::-1]]):
            if text and random.random() < 0.5:
                assert keypad(wild, text, number + 1) in ("accepted", "used")
            else:
                wild.tell(p.InstrumentArrived(signed))
            if random.random() < 0.05:
                wild.restart()
                wild.db.execute("PRAGMA synchronous = OFF")
                wild.trust()
        for signed, _ in made:
            wild.tell(p.InstrumentArrived(signed))
        assert outcome(wild) == outcome(plain)
        assert not [e for e in wild.events() if e.code == 1062]
        plain.db.close()
        wild.db.close()
