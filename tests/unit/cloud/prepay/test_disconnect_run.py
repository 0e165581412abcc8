"""A run over wallets at zero: everybody is told first, then one order for the group; whoever is in a grace is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold, set_policy
from gridtally_cloud.customers.contact_tables import consumer_message
from gridtally_cloud.customers.delivery import deliver
from gridtally_cloud.customers.outgoing import Channel
from gridtally_cloud.customers.senders import FileSender
from gridtally_cloud.ingest import mirror
from gridtally_cloud.prepay import control, disconnect_run
from gridtally_cloud.prepay.disconnect_run import LEAD_MS, Run
from gridtally_cloud.prepay.handover_tables import CLOUD, account_swap
from gridtally_cloud.prepay.policies import add_policy, follow
from gridtally_cloud.store import outbox
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import account_mirror, command, meter, meter_status
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Command, CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import ProtectOrder
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.money import nano
from gridtally_shared.signing import KeySigner, verify1
from support.cloud_store import START_MS, new_street
from support.meanwhile import meanwhile
from support.stores import ON_POSTGRES

SIGNER = KeySigner.from_seed(b"\x07" * 32)
HOMES = 10
CUT = {"kind": "policy", "currency": "EUR", "zero_action": "disconnect"}
GRACES = {
    4: CUT | {"code": "overdraft", "overdraft": [{"days": 7}]},
    5: CUT | {"code": "emergency", "emergency": {"limit": "20"}},
    6: CUT | {"code": "night", "protected": {"daily": [{"from": "00:00", "to": "23:59"}]}},
}  # fmt: skip


class Billing:
    """Homes 1 to 3 are used up; 4 to 6 are in a grace of their policy, 7 is protected, 8 wants none, 9 has money, 10 is not known."""

    def __init__(self, folder: Path) -> None:
        self.street, self.now_ms, self.file = new_street(folder, HOMES), START_MS, folder / "messages.ndjson"
        with self.street.db.write() as conn:
            for number in range(1, HOMES + 1):
                policy = account_of(conn, number).policy
                holds = ("medical",) if number == 7 else ()
                action = "none" if number == 8 else "disconnect"
                set_policy(conn, number, replace(policy, zero_action=action, holds=holds), START_MS, "test")
                self.stand(conn, number, "5" if number == 9 else "-1")
                status = {"shard": 0, "meter_no": number, "at_ms": START_MS, "answering": True, "switch": 1, "received_ms": START_MS}
                conn.execute(insert(meter_status).values(status))
            for number, document in GRACES.items():
                add_policy(conn, START_MS, json.dumps(document), START_MS, "test")
                follow(conn, number, str(document["code"]), START_MS, "test")
            conn.execute(update(account_mirror).where(account_mirror.c.account_no == 10).values(stopped=True))

    def stand(self, conn: object, number: int, balance: str) -> None:
        state = LedgerState(number, 1, seq=3, pools={1: nano(balance)})
        values = {"shard": 0, "account_no": number, "epoch": 1, "seq": 3, "head": bytes(32), "balance_nano": nano(balance),
                  "at_ms": self.now_ms, "gseq_prefix": 0, "dcu": self.street.dcu, "state": mirror.state_bytes(state), "meter_no": number,
                  "updated_ms": self.now_ms}  # fmt: skip
        conn.execute(insert(account_mirror).values(values))  # type: ignore[attr-defined]

    def announce(self) -> Run:
        with self.street.db.write() as conn:
            return disconnect_run.announce(conn, self.now_ms, "billing")

    def later(self, ms: int = LEAD_MS) -> None:
        """Time passes; the edges go on reporting the same."""
        self.now_ms += ms
        with self.street.db.write() as conn:
            conn.execute(update(account_mirror).values(at_ms=self.now_ms))

    def order(self, run_no: int) -> Run:
        disconnect_run.order_due(self.street.db, SIGNER, self.now_ms)
        with self.street.db.read() as conn:
            return disconnect_run.run(conn, run_no)

    def commands(self) -> list[Command]:
        with self.street.db.write() as conn:
            sent = [d for d in outbox.claim(conn, "t", self.now_ms, 1) if d.channel == "command"]
        return [decode(Command, verify1({SIGNER.key_id: SIGNER.public}, "command", d.payload)) for d in sent]


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[Billing]:
    made = Billing(tmp_path)
    yield made
    made.street.db.close()


LEFT_OUT = {4: "grace", 5: "grace", 6: "protected_time", 7: "hold", 8: "other_option", 10: "not_known"}


@pytest.mark.covers("BYPL-3.1", "BYPL-3.2")
def test_three_used_up_wallets_are_told_and_then_cut_by_one_order_and_graces_are_left_out(billing: Billing) -> None:
    told = billing.announce()
    assert {i.account_no: i.reason for i in told.items if i.state == "left_out"} == LEFT_OUT
    assert billing.commands() == []
    sender = FileSender(billing.file)
    assert deliver(billing.street.db, dict.fromkeys(Channel, sender), billing.now_ms) == 3
    alerts = [json.loads(line) for line in billing.file.read_text().splitlines()]
    assert [(a["account_no"], a["code"]) for a in alerts] == [(1, "CUT_SOON"), (2, "CUT_SOON"), (3, "CUT_SOON")]
    assert "unless you pay" in alerts[0]["text"]

    billing.later(LEAD_MS - 1)
    assert billing.order(told.run_no).state == "announced"
    billing.later(1)
    done = billing.order(told.run_no)
    assert [i.account_no for i in done.ordered] == [1, 2, 3]
    sent = billing.commands()
    assert [(c.meter_no, c.type) for c in sent] == [(n, CommandType.SWITCH_OPEN) for n in (1, 2, 3)]
    assert {c.order_id for c in sent} == {done.order_id}
    with billing.street.db.read() as conn:
        m = consumer_message.c
        told_ms = {r.account_no: r.created_ms for r in conn.execute(select(m.account_no, m.created_ms))}
        sent_ms = {r.account_no: r.sent_ms for r in conn.execute(select(m.account_no, m.sent_ms))}
        c = command.c
        relay_ms = {r.meter_no: r.issued_at_ms for r in conn.execute(select(c.meter_no, c.issued_at_ms))}
    assert relay_ms.keys() == told_ms.keys() == {1, 2, 3}
    assert all(told_ms[n] <= sent_ms[n] < relay_ms[n] for n in relay_ms)

    assert billing.order(told.run_no) == done
    with billing.street.db.read() as conn:
        assert len(conn.execute(select(command.c.cmd_id)).all()) == 3, "ordered once, however often it is due"


def test_who_pays_or_comes_into_a_grace_within_the_notice_is_not_cut(billing: Billing) -> None:
    told = billing.announce()
    billing.later()
    with billing.street.db.write() as conn:
        conn.execute(update(account_mirror).where(account_mirror.c.account_no == 1).values(balance_nano=nano("20")))
        set_policy(conn, 2, replace(account_of(conn, 2).policy, holds=("dispute",)), billing.now_ms, "test")
    done = billing.order(told.run_no)
    assert [i.account_no for i in done.ordered] == [3]
    assert {i.account_no: i.reason for i in done.items if i.account_no in (1, 2)} == {1: "paid", 2: "hold"}


def test_who_is_protected_by_an_order_or_run_from_here_is_left_out_and_a_refused_order_stops_no_other(billing: Billing) -> None:
    told = billing.announce()
    billing.later()
    with billing.street.db.write() as conn:
        control.order(conn, SIGNER, 1, ProtectOrder("medical"), billing.now_ms, "test")
        upsert(conn, account_swap, {"account_no": 2, "kind": CLOUD, "swapped_ms": billing.now_ms, "actor": "test"})
    done = billing.order(told.run_no)
    assert [i.account_no for i in done.ordered] == [3]
    assert {i.account_no: i.reason for i in done.items if i.account_no in (1, 2)} == {1: "hold", 2: "managed"}

    again = billing.announce()
    billing.later()
    with billing.street.db.write() as conn:
        conn.execute(delete(account_swap))
        control.order(conn, SIGNER, 1, ProtectOrder("medical", on=False), billing.now_ms, "test")
        conn.execute(update(meter).where(meter.c.meter_no == 3).values(dcu=None))
    done = billing.order(again.run_no)
    assert {i.account_no: (i.state, i.reason) for i in done.items if i.account_no == 3} == {3: ("left_out", "unknown_meter")}


def test_an_edge_that_has_not_reported_for_hours_is_no_reason_to_cut(billing: Billing) -> None:
    told = billing.announce()
    billing.now_ms += LEAD_MS
    done = billing.order(told.run_no)
    assert done.ordered == ()
    assert {i.reason for i in done.items if i.account_no <= 3} == {"not_known"}


def test_before_its_notice_is_over_a_run_is_refused(billing: Billing) -> None:
    told = billing.announce()
    with billing.street.db.write() as conn:
        with pytest.raises(RefusedCommand, match="its notice runs for another"):
            disconnect_run.order(conn, SIGNER, told.run_no, billing.now_ms)
        with pytest.raises(RefusedCommand, match="no disconnect run 99"):
            disconnect_run.order(conn, SIGNER, 99, billing.now_ms)


@pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")
def test_a_group_and_an_order_to_one_of_it_do_not_wait_for_each_other(billing: Billing) -> None:
    """The accounts of a group are held before the first of its orders counts for the limits."""
    number = billing.announce().run_no
    billing.later()
    request = CommandRequest(2, CommandType.SWITCH_OPEN, "system:prepay", "balance")
    ordered = meanwhile(
        billing.street.db, lambda conn: hold(conn, 2), lambda conn: disconnect_run.order(conn, SIGNER, number, billing.now_ms),
        lambda conn: commanding.issue(conn, SIGNER, request, billing.now_ms),
    ).result()  # fmt: skip
    assert ordered.state == "ordered"
