"""The states of a message by what the consumer does on the page: delivered, displayed, read, accepted or declined, expired."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gridtally_edge.core_orders import words_said
from gridtally_edge.counter import Answer, Counter
from gridtally_edge.display.server import DisplayServer
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.rows import MessageRow, some
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.events import BY_NAME
from gridtally_shared.messages.order import MessageOrder, order_bytes
from gridtally_shared.pins import hash_pin
from support.prepay_bench import DAY_MS, Bench
from support.waiting import wait_until
from unit.edge.display.test_server import Visitor

PIN = hash_pin("4711", b"s" * 16)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path, 2, {"pin_hash": PIN})
    bench.send(bench.command(CommandType.MESSAGE, text="May our people come in?", detail=order_bytes(MessageOrder("advice", asks=True))))
    return bench


@contextmanager
def page_of(bench: Bench) -> Iterator[DisplayServer]:
    """The page, while somebody at the counter answers that it is noted, and keeps the requests for the agent."""
    server = DisplayServer(("127.0.0.1", 0), bench.path, ManualClock(bench.now_ms))
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})]
    threads[0].start()
    try:
        yield server
    finally:
        server.shutdown()
        threads[0].join()
        server.server_close()


def carry(bench: Bench) -> list[str]:
    """What waits at the counter goes to the prepay core, as the agent hands it over."""
    counter, said = Counter(bench.folder), []
    for asked in counter.waiting():
        for number, word in words_said(asked.ask.text):
            bench.tell(p.MessageSaid(asked.ask.account_no, number, word))
            said.append(word)
        counter.answer(asked.ask_id, Answer("noted"))
    return said


def state(bench: Bench) -> str:
    return some(bench.db, MessageRow, "ORDER BY message_no")[-1].state


def told(bench: Bench) -> list[str]:
    events = [e for e in bench.events() if e.code == BY_NAME["message_state"].code]
    return [e.detail.rsplit("state=", 1)[1] for e in events]


def press(bench: Bench, visitor: Visitor, page: str, word: str) -> tuple[str, str]:
    """Press a button; where the page went, and what the agent heard."""
    button = re.search(rf'value="(\d+\.{word})"', page)
    assert button is not None
    went: list[str] = []
    pressing = threading.Thread(
        target=lambda: went.append(visitor.ask("POST", "/message", {"answer": button[1]})[2].get("Location", "")))  # fmt: skip
    pressing.start()
    heard: list[str] = []
    wait_until(lambda: bool(heard) or bool(heard.extend(carry(bench))) or bool(heard), 10, "the wish at the counter")
    pressing.join()
    return went[0], heard[0]


def test_delivered_is_what_is_stored_and_not_yet_shown(bench: Bench) -> None:
    assert state(bench) == ""
    assert told(bench) == []


def test_displayed_when_the_own_page_shows_it_once(bench: Bench) -> None:
    with page_of(bench) as server:
        neighbour, visitor = Visitor(server), Visitor(server)
        neighbour.enter("102", "4711")
        assert "May our people come in?" not in neighbour.ask("GET", "/")[1]
        assert carry(bench) == []
        visitor.enter("101", "4711")
        for _ in range(2):
            assert "May our people come in?" in visitor.ask("GET", "/")[1]
        wait_until(lambda: bool(list(Counter(bench.folder).waiting())), 10, "the page's word to the agent")
        assert carry(bench) == ["displayed"]
    assert (state(bench), told(bench)) == ("displayed", ["displayed"])


@pytest.mark.parametrize(("word", "shown"), [("read", "Read"), ("accepted", "You said yes"), ("declined", "You said no")])
def test_read_accepted_or_declined_is_the_consumers_own_word(bench: Bench, word: str, shown: str) -> None:
    with page_of(bench) as server:
        visitor = Visitor(server)
        visitor.enter("101", "4711")
        page = visitor.ask("GET", "/")[1]
        wait_until(lambda: bool(carry(bench)), 10, "displayed")
        assert press(bench, visitor, page, word) == ("/?said=noted", word)
        after = visitor.ask("GET", "/?said=noted")[1]
        assert f'<span class="state">{shown}</span>' in after
        assert "Noted." in after
        assert re.findall(r'value="\d+\.(\w+)"', after) == ([] if word == "read" else ["saved", "deleted"])
    assert (state(bench), told(bench)) == (word, ["displayed", word])


def test_nobody_answers_without_a_session(bench: Bench) -> None:
    with page_of(bench) as server:
        Visitor(server).ask("POST", "/message", {"answer": "1.accepted"})
    assert carry(bench) == []


def test_expired_when_nobody_read_it_in_its_time_and_off_the_page(bench: Bench) -> None:
    bench.wait(40 * DAY_MS)
    with page_of(bench) as server:
        visitor = Visitor(server)
        visitor.enter("101", "4711")
        assert "May our people come in?" not in visitor.ask("GET", "/")[1]
    assert (state(bench), told(bench)) == ("expired", ["expired"])
