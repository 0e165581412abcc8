"""Safety and work holds: only a named person on site lifts them, and the journal says who."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_edge.core_events import GiveAnswer
from gridtally_edge.counter import Ask, Counter
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.site import Person, SiteOrder, SiteResult, packed, proof_of, verifier_of
from gridtally_edge.site_cli import SAID, hold, limit, people
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, DcuConfig, InstrumentType, MeterConfig
from gridtally_shared.events import BY_CODE
from gridtally_shared.instruments.details import HoldOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, SwitchEvidence, evidence_of
from gridtally_shared.lifecycle import CommandState, Reason
from support.little_street import DCU, LittleStreet, little_street
from support.prepay_bench import DAY_MS, Bench, account_of, tariff

NAME, SALT = "R. Kumar 4711", b"s" * 16
PROOF = proof_of("314159", SALT)
ids = itertools.count(1)


def tell(bench: Bench, order: SiteOrder, account_no: int = 101) -> tuple[str, str]:
    effects = bench.tell(p.HoldAsked(next(ids).to_bytes(16, "big"), account_no, packed(order)))
    (answer,) = (e for e in effects if isinstance(e, p.SiteAnswered))
    return answer.result, answer.text


def lift(bench: Bench, close: bool = False, reason: str = "safety", **changes: object) -> tuple[str, str]:
    return tell(bench, replace(SiteOrder(NAME, PROOF, reason, close=close), **changes))


def name_person(bench: Bench) -> None:
    bench.tell(p.PersonNamed(b"p" * 16, packed(Person(NAME, SALT, verifier_of(PROOF)))))


def switched_off_for_safety(folder: Path, reason: str = "safety") -> Bench:
    """Paid, on, then opened by a command; then held."""
    bench = Bench(folder)
    name_person(bench)
    bench.credit(1, "100")
    bench.send(bench.command(CommandType.SWITCH_OPEN, cause=reason, switch_counter=1))
    bench.finish()
    bench.configure(holds=(reason,))
    bench.effects.clear()
    return bench


def holds(bench: Bench) -> tuple[str, ...]:
    return bench.core._plan.accounts[101].holds


def by_hand(bench: Bench) -> list[tuple[str, str, str]]:
    found = (evidence_of(e) for e in bench.entries() if e.kind == Kind.CONTROL)
    return [(e.seen, e.by, e.reason) for e in found if isinstance(e, InstrumentEvidence) and e.by]


@pytest.mark.parametrize("reason", ["safety", "work"])
def test_no_payment_time_command_instrument_or_configuration_lifts_it(tmp_path: Path, reason: str) -> None:
    bench = switched_off_for_safety(tmp_path, reason)
    bench.credit(1, "500")
    bench.credit(1, "0", type=InstrumentType.HOLD, detail=encode(HoldOrder(reason, False)))
    bench.wait(3 * DAY_MS)
    bench.trust()
    bench.read_all(1_000_000)
    bench.send(bench.command(CommandType.SWITCH_CLOSE, switch_counter=9))
    bench.configure(holds=())
    bench.restart()
    bench.configure(holds=())
    bench.wait(DAY_MS)
    assert holds(bench) == (reason,)
    assert not bench.orders()
    assert (bench.receipts()[-1].state, bench.receipts()[-1].reason) == (CommandState.REFUSED, Reason.HELD)
    assert by_hand(bench) == []


def test_a_named_person_lifts_it_and_closes_with_the_next_number_of_the_switch(tmp_path: Path) -> None:
    bench = switched_off_for_safety(tmp_path)
    assert lift(bench, close=True) == ("closing", "")
    assert holds(bench) == ()
    assert by_hand(bench) == [("hold safety lifted on site", NAME, "safety"), ("close ordered on site", NAME, "safety")]
    order = bench.order(close=True)
    assert bench.entries()[-1].cause == order.action_id, "written down before the order leaves"
    bench.finish()
    done = evidence_of(next(e for e in reversed(bench.entries()) if e.kind == Kind.SWITCH))
    assert isinstance(done, SwitchEvidence)
    assert (done.close, done.result, done.counter, done.origin) == (True, "done", 2, "site")
    bench.send(bench.command(CommandType.SWITCH_OPEN, cause="safety", switch_counter=2))
    assert bench.receipts()[-1].reason == Reason.OVERTAKEN
    told = [e.detail for e in bench.events() if BY_CODE[e.code].name == "hold_changed_on_site"]
    assert told == [f"account=101 hold=safety lifted by={NAME}"]
    assert bench.replayed()[1] is None


def test_it_stays_lifted_under_the_same_configuration_and_holds_again_when_set_anew(tmp_path: Path) -> None:
    bench = switched_off_for_safety(tmp_path)
    assert lift(bench) == ("lifted", "")
    bench.configure(holds=("safety",))
    bench.restart()
    assert holds(bench) == ()
    bench.configure(holds=())
    bench.configure(holds=("safety",))
    assert holds(bench) == ("safety",)
    assert lift(bench) == ("lifted", "")
    bench.credit(1, "0", type=InstrumentType.HOLD, detail=encode(HoldOrder("safety")))
    assert holds(bench) == ("safety",)


def test_who_is_not_known_or_guesses_the_pin_changes_nothing(tmp_path: Path) -> None:
    bench = switched_off_for_safety(tmp_path)
    assert lift(bench, person="Somebody")[0] == "unknown_person"
    assert tell(bench, SiteOrder(NAME, PROOF, "safety"), 999)[0] == "unknown_account"
    assert lift(bench, reason="customer")[0] == "other_reason"
    assert [lift(bench, proof=b"?" * 32)[0] for _ in range(6)] == ["wrong_pin"] * 5 + ["locked"]
    assert lift(bench)[0] == "locked"
    bench.wait(20_000)
    assert (holds(bench), by_hand(bench)) == (("safety",), [])
    assert lift(bench)[0] == "lifted"
    bench.tell(p.PersonNamed(b"q" * 16, packed(Person(NAME))))
    assert lift(bench)[0] == "unknown_person"


def test_money_still_decides_what_money_cut_and_another_hold_still_holds(tmp_path: Path) -> None:
    bench = Bench(tmp_path, policy={"holds": ("safety", "customer")})
    name_person(bench)
    bench.credit(1, "8.40")
    bench.wait(3_600_000)
    bench.read_all(1_001_000)
    bench.finish()
    assert lift(bench, close=True) == ("not_closed", "customer")
    bench.configure(holds=())
    bench.effects.clear()
    assert lift(bench, close=True) == ("not_closed", "it is off by balance, which gives it back by itself")
    bench.credit(1, "50")
    assert bench.order(close=True)


def test_a_hold_set_on_site_stops_a_close_that_has_not_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    name_person(bench)
    bench.credit(1, "100")
    bench.read(1, 1_000_000, SwitchState.OPEN)
    bench.send(bench.command(CommandType.SWITCH_CLOSE, switch_counter=1))
    order = bench.order(close=True)
    assert lift(bench, on=True, reason="work") == ("set", "")
    assert not order.permit.granted()
    assert holds(bench) == ("work",)


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    (tmp_path / "key.pub").write_bytes(bytes(32))
    (tmp_path / "dcu.toml").write_text(f'dcu = "dcu-1"\ncommand_key_file = "key.pub"\ndata_dir = "{tmp_path}"\n')
    return ["--config", str(tmp_path / "dcu.toml"), "--wait", "0.01"]


def test_the_box_asks_for_the_pin_and_nothing_waits_for_an_agent_that_is_not_there(
    tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with little_street(tmp_path) as street:
        def answered(ask: Ask) -> str:
            ask_id = Counter(tmp_path).leave(ask)
            (request,) = (a for a in Counter(tmp_path).waiting() if a.ask_id == ask_id)
            (given,) = (e for e in street.core.handle(request, street.moment()) if isinstance(e, GiveAnswer))
            Counter(tmp_path).answer(ask_id, given.answer)
            return given.answer.result

        assert answered(Ask("person", 0, packed(Person(NAME, SALT, verifier_of(PROOF))))) == "known"
        assert answered(Ask("hold", 101, packed(SiteOrder(NAME, PROOF, "safety")))) == "unknown_account"
        assert answered(Ask("hold", 101, "zz")) == "malformed"
        assert people([*config, "list"]) == 0
        assert capsys.readouterr().out == f"{NAME}\n"
        monkeypatch.setattr("sys.stdin", io.StringIO("314159\n"))
        assert hold([*config, "lift", "101", "safety", "--person", NAME]) == 4
        assert "taken back" in capsys.readouterr().err
        assert not list(Counter(tmp_path).waiting())


def with_agent(street: LittleStreet, data_dir: Path, run: Callable[[], int]) -> int:
    """Run a command of the box while the counter is served, as the agent does."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run()))
    thread.start()
    while thread.is_alive():
        for request in Counter(data_dir).waiting():
            for given in street.core.handle(request, street.moment()):
                if isinstance(given, GiveAnswer):
                    Counter(data_dir).answer(given.ask_id, given.answer)
        thread.join(0.02)
    return codes[0]


def test_an_open_on_site_goes_with_the_hold_and_comes_back_with_its_lift(tmp_path: Path) -> None:
    """Also of a protected customer: it is for safety or work. A payment, a configuration and a command do not bring it back."""
    bench = Bench(tmp_path, policy={"holds": ("medical",)})
    name_person(bench)
    bench.credit(1, "100")
    order = SiteOrder(NAME, PROOF, "work", on=True, open=True)
    assert tell(bench, replace(order, proof=b"?" * 32))[0] == "wrong_pin"
    assert not bench.orders()
    assert tell(bench, order) == ("opening", "")
    bench.order(close=False)
    bench.finish()
    bench.credit(1, "100")
    bench.configure()
    bench.send(bench.command(CommandType.SWITCH_CLOSE, switch_counter=9))
    assert bench.receipts()[-1].reason == Reason.HELD
    assert tell(bench, order) == ("not_opened", "the switch is open already")
    assert lift(bench, close=True, reason="work") == ("closing", "")
    bench.order(close=True)
    bench.finish()
    assert [(seen, by) for seen, by, _ in by_hand(bench)] == [
        ("hold work set on site", NAME), ("open ordered on site", NAME), ("hold work set on site", NAME),
        ("hold work lifted on site", NAME), ("close ordered on site", NAME),
    ]  # fmt: skip
    assert bench.replayed()[1] is None


def test_a_limit_on_site_is_that_of_an_order_and_gas_has_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    name_person(bench)
    order = SiteOrder(NAME, PROOF, "work", limit_w=900)
    assert tell(bench, replace(order, person="Somebody"))[0] == "unknown_person"
    assert tell(bench, order) == ("limited", "900")
    assert [(e.seen, e.by) for e in map(evidence_of, bench.entries()) if isinstance(e, InstrumentEvidence) and e.by] == [
        ("limit 900 W on site", NAME)]  # fmt: skip
    told = [e.detail for e in bench.events() if BY_CODE[e.code].name == "limit_changed_on_site"]
    assert told == [f"account=101 limit_w=900 by={NAME}"]
    assert tell(bench, replace(order, limit_w=0)) == ("limited", "0")
    meters = (MeterConfig(1, "GT0001", 101, commodity="gas"),)
    bench.tell(p.ConfigAccepted(DcuConfig(9, "dcu-1", bench.now_ms, meters, (account_of(1),), bench.tariffs)))
    assert tell(bench, order)[0] == "not_limited"


def test_at_the_box_a_person_is_added_and_lifts_a_hold_with_the_pin(
    tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with little_street(tmp_path) as street:

        def typed(pin: str, run: Callable[[list[str]], int], *words: str) -> tuple[int, str]:
            monkeypatch.setattr("sys.stdin", io.StringIO(f"{pin}\n"))
            code = with_agent(street, tmp_path, lambda: run([*config, "--wait", "10", *words]))
            return code, capsys.readouterr().out.strip()

        street.say_time()
        street.connect()
        meters = tuple(MeterConfig(no, house.serial) for no, house in enumerate(street.houses.values(), start=1))
        street.down("config", DcuConfig(1, DCU, street.clock.now_ms(), meters, (account_of(1, holds=("safety", "vacant")),), (tariff(),)))
        assert typed("314159", people, "add", NAME) == (0, f"{NAME} may set and lift holds here from now on; the MDM is told")
        assert typed("000000", hold, "lift", "101", "safety", "--person", NAME) == (1, f"this is not the PIN of {NAME}")
        assert typed("314159", hold, "lift", "101", "safety", "--person", NAME) == (
            0, f"the safety hold is lifted, in the name of {NAME}; still held: vacant")
        assert typed("314159", hold, "set", "101", "work", "--person", NAME)[0] == 0
        assert typed("314159", hold, "lift", "101", "work", "--person", NAME, "--close") == (
            1, "no work hold is left, and the switch is not closed: vacant")
        assert typed("314159", hold, "set", "101", "work", "--person", NAME, "--close")[0] == 3
        assert typed("314159", limit, "101", "900", "--person", NAME) == (
            0, f"the load limit is 900 W now (0: none), in the name of {NAME}; the MDM is told")
        assert typed("", people, "remove", NAME)[0] == 0
        assert typed("", people, "list")[1].startswith("nobody may lift holds at this box")


def test_every_result_is_said_in_words() -> None:
    assert set(SAID) == {str(result) for result in SiteResult}


def test_a_hold_that_was_set_here_stands_when_another_one_comes_to_run_the_account(tmp_path: Path) -> None:
    """The MDM took the account over and never heard of it: its order to close is refused here until somebody lifts the hold here."""
    bench = switched_off_for_safety(tmp_path, "work")
    bench.tell(p.ConfigAccepted(replace(bench.core._plan.config, version=99, accounts=())))
    bench.effects.clear()
    bench.send(bench.command(CommandType.SWITCH_CLOSE, switch_counter=9))
    assert not bench.orders()
    assert (bench.receipts()[-1].state, bench.receipts()[-1].reason) == (CommandState.REFUSED, Reason.HELD)
    assert tell(bench, SiteOrder(NAME, PROOF, "safety"))[0] == "unknown_account", "that one was not set here"
    assert tell(bench, SiteOrder(NAME, PROOF, "work", on=True))[0] == "unknown_account"
    assert tell(bench, SiteOrder(NAME, PROOF, "work", close=True)) == ("closing", "")
    assert bench.order().close
