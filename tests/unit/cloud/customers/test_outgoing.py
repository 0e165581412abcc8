"""Messages that leave the house: written with what led to them, told once by each channel, delivered or their fault is known."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from gridtally_cloud.customers import outgoing
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.delivery import LIFE_MS, deliver
from gridtally_cloud.customers.outgoing import Channel, MessageState, Outgoing
from gridtally_cloud.customers.senders import FileSender, Senders, SmtpSender, SmtpSettings, senders_from
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.customers.tables import customer
from gridtally_cloud.prepay import notices
from gridtally_cloud.prepay.tables import payment
from gridtally_cloud.server import desk_jobs
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.money import nano
from support.mail_server import MailServer
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, Payday
from support.waiting import wait_until

MAIL, PHONE = "asha@example.org", "+91 98100 00001"


class House:
    """The first home of a street, reachable by mail and by phone."""

    def __init__(self, folder: Path) -> None:
        self.street, self.file = Payday(folder), folder / "messages.ndjson"
        self.street.read(0, OPENED_WH)
        self.reach(MAIL, PHONE)

    def reach(self, email: str, phone: str) -> None:
        with self.street.db.write() as conn:
            number = account_of(conn, self.street.account).customer_no
            conn.execute(update(customer).where(customer.c.customer_no == number).values(email=email, phone=phone))

    def speak(self, language: str) -> None:
        with self.street.db.write() as conn:
            conn.execute(update(account_table).values(language=language))

    def tell(self, code: str = "CUT_ORDER", ref: str = "1", **params: str) -> None:
        with self.street.db.write() as conn:
            outgoing.put(conn, self.street.account, code, ref, self.street.now_ms, params.items())

    def deliver(self, senders: Senders, wait_ms: int = 0) -> int:
        self.street.now_ms += wait_ms
        return deliver(self.street.db, senders, self.street.now_ms)

    @property
    def said(self) -> list[Outgoing]:
        with self.street.db.read() as conn:
            return list(reversed(outgoing.messages_of(conn, self.street.account)))

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.street.close()


def by_mail(server: MailServer) -> Senders:
    return {Channel.EMAIL: SmtpSender(SmtpSettings("127.0.0.1", server.port, "bills@utility.example", starttls=False))}


@pytest.mark.covers("BYPL-17.6")
def test_a_payment_is_confirmed_by_mail_and_sms_with_amount_and_new_balance(house: House) -> None:
    house.street.pay("250")
    house.street.round()
    assert [(m.code, m.channel, m.state) for m in house.said] == [
        ("CREDIT", Channel.SMS, MessageState.WAITING), ("CREDIT", Channel.EMAIL, MessageState.WAITING),
    ]  # fmt: skip
    with MailServer() as server:
        assert house.deliver({**by_mail(server), Channel.SMS: FileSender(house.file)}) == 2
    (mail,) = server.mails
    assert (mail["To"], mail["From"]) == (MAIL, "bills@utility.example")
    text = mail.get_content().strip().replace("\xa0", " ")
    assert text == "₹ 250.00 received. Balance ₹ 250.00."
    assert house.street.balance().balance_nano == nano("250")
    (line,) = house.lines
    assert (line["to"], line["channel"], str(line["text"]).replace("\xa0", " ")) == (PHONE, "sms", text)
    assert line["note"] == "written to this file, not sent"
    assert [(m.via, m.state, m.sent_ms) for m in house.said] == [
        ("file", MessageState.SENT, house.street.now_ms), ("smtp", MessageState.SENT, house.street.now_ms),
    ]  # fmt: skip
    assert house.deliver({**by_mail(server), Channel.SMS: FileSender(house.file)}) == 0


def test_a_message_stands_or_falls_with_what_led_to_it(house: House) -> None:
    with pytest.raises(RuntimeError), house.street.db.write() as conn:  # noqa: PT012
        notices.tell(conn, house.street.account, "replenish_done", "o1", house.street.now_ms, a=str(nano("200")))
        raise RuntimeError("the payment was not booked after all")
    assert house.said == []
    for _ in range(2):
        with house.street.db.write() as conn:
            notices.tell(conn, house.street.account, "replenish_done", "o1", house.street.now_ms, a=str(nano("200")))
    assert [m.text.replace("\xa0", " ") for m in house.said] == ["₹ 200.00 was charged by automatic recharge."] * 2


@pytest.mark.parametrize(("language", "words"), [("en", "received"), ("es", "Recibido"), ("hi", "मिला")])
def test_it_is_written_in_the_language_of_the_account(house: House, language: str, words: str) -> None:
    house.speak(language)
    house.tell("CREDIT", a=str(nano("5")), b=str(nano("7")))
    assert words in house.said[0].text
    assert str(house.street.account) in house.said[0].subject


def test_a_code_without_words_or_with_a_parameter_missing_is_not_sent(house: House) -> None:
    house.tell("NO_SUCH_CODE")
    house.tell("CREDIT", a=str(nano("5")))
    assert house.said == []


def test_a_household_is_told_by_what_it_chose_and_the_log_keeps_what_nobody_could_be_told(house: House) -> None:
    account = house.street.account
    with house.street.db.write() as conn:
        outgoing.choose(conn, account, "sms", False, house.street.now_ms, "consumer:asha")
        with pytest.raises(RefusedCommand, match="choose sms or email"):
            outgoing.choose(conn, account, "pigeon", True, house.street.now_ms, "consumer:asha")
    house.tell(ref="1")
    house.reach("", "")
    house.tell(ref="2")
    assert [(m.channel, m.address) for m in house.said] == [(Channel.EMAIL, MAIL), (Channel.LOG, "")]


def test_a_server_that_is_busy_or_away_gets_it_later_and_after_a_day_it_is_no_news(house: House) -> None:
    house.reach(MAIL, "")
    house.tell()
    with MailServer() as server:
        server.busy = True
        assert house.deliver(by_mail(server)) == 0
        assert (house.said[0].state, house.said[0].via) == (MessageState.WAITING, "smtp")
        assert "451" in house.said[0].fault
        server.busy = False
        assert house.deliver(by_mail(server), 14_000) == 0
        assert house.deliver(by_mail(server), 1_000) == 1
        assert house.said[0].fault == ""
        senders = by_mail(server)
    house.tell(ref="2")
    for _ in range(20):
        assert house.deliver(senders, 2 * HOUR_MS) == 0
    assert (house.said[1].state, house.said[1].created_ms + LIFE_MS <= house.street.now_ms) == (MessageState.EXPIRED, True)
    assert "can not be reached" in house.said[1].fault


def test_an_address_nobody_has_fails_at_once_and_says_why(house: House) -> None:
    house.reach(MAIL, "")
    with MailServer() as server:
        server.refuse = MAIL
        house.tell()
        assert house.deliver(by_mail(server)) == 0
    assert (house.said[0].state, house.said[0].fault) == (MessageState.FAILED, "550 nobody of that name here")
    house.reach("asha@example.org\nBcc: all@example.org", "")
    house.tell(ref="2")
    house.deliver(by_mail(server))
    assert house.said[1].state is MessageState.FAILED


def test_a_channel_without_a_sender_waits_and_says_so(house: House) -> None:
    house.tell()
    house.deliver({})
    assert {m.fault for m in house.said} == {f"no sender for {c} is configured (messages.{c})" for c in ("sms", "email")}
    assert {m.state for m in house.said} == {MessageState.WAITING}


def test_a_worker_that_died_with_a_message_in_its_hand_leaves_it_to_the_next(house: House) -> None:
    class Dies(FileSender):
        def send(self, message: Outgoing) -> None:
            raise KeyboardInterrupt

    house.reach("", PHONE)
    house.tell()
    with pytest.raises(KeyboardInterrupt):
        house.deliver({Channel.SMS: Dies(house.file)})
    sender = {Channel.SMS: FileSender(house.file)}
    assert house.deliver(sender) == 0
    assert house.deliver(sender, 120_000) == 1
    assert [m.attempts for m in house.said] == [2]


def test_what_an_edge_told_a_day_ago_is_no_news(house: House) -> None:
    house.street.pay("250")
    house.street.carry_down()
    house.street.now_ms += DAY_MS
    house.street.carry_up()
    assert house.said == []
    with house.street.db.read() as conn:
        assert conn.execute(payment.select()).first() is not None


def test_settings_name_what_is_missing(tmp_path: Path) -> None:
    smtp = SmtpSettings("", 587, "")
    for email, sms, key in (("pigeon", "", "messages.email"), ("", "smtp", "messages.sms"), ("smtp", "", "messages.smtp_host")):
        with pytest.raises(ConfigError, match=key):
            senders_from(email, sms, smtp, tmp_path / "m.ndjson")
    made = senders_from("smtp", "file", SmtpSettings("mail.example", 587, "a@b.example"), tmp_path / "m.ndjson")
    assert {c: s.name for c, s in made.items()} == {Channel.LOG: "file", Channel.EMAIL: "smtp", Channel.SMS: "file"}


def test_a_mail_server_that_is_away_is_asked_once_a_turn_and_does_not_hold_up_sms(house: House) -> None:
    asked: list[int] = []

    class Counts(SmtpSender):
        def send(self, message: Outgoing) -> None:
            asked.append(message.message_no)
            super().send(message)

    for ref in ("1", "2", "3"):
        house.tell(ref=ref)
    senders: Senders = {Channel.EMAIL: Counts(SmtpSettings("127.0.0.1", 9, "desk@example.org", False)), Channel.SMS: FileSender(house.file)}
    assert house.deliver(senders) == 3
    assert len(asked) == 1
    mails = [m for m in house.said if m.channel is Channel.EMAIL]
    assert {(m.state, m.attempts) for m in mails} == {(MessageState.WAITING, 1)}
    assert all("can not be reached" in m.fault for m in mails)


def test_a_mail_server_that_is_silent_holds_up_no_other_channel(house: House) -> None:
    """The job as the worker runs it: whoever waits for the one does so in its own thread."""
    over = threading.Event()

    class Slow(FileSender):
        def send(self, message: Outgoing) -> None:
            assert over.wait(10)

    house.tell()
    senders: Senders = {Channel.EMAIL: Slow(house.file), Channel.SMS: FileSender(house.file)}
    job = next(job for job in desk_jobs(house.street.db, house.street.payments, senders) if job.name == "messages")
    job.run(house.street.now_ms)
    wait_until(lambda: house.file.exists() and house.lines, 5, "the SMS is written while the mail waits")
    over.set()
    wait_until(lambda: all(m.state is MessageState.SENT for m in house.said if m.channel is not Channel.LOG), 5, "and the mail goes")
