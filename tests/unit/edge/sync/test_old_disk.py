"""A disk that was put back writes on without a link, more than it had lost: by its numbers alone it is not behind the MDM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.store.tables import event
from gridtally_edge.journal.sqlite import transaction
from gridtally_shared.contract.messages import EntryKind, Event, Lane
from support.dark_home import DarkHome, dark_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DarkHome]:
    with dark_home(tmp_path) as home:
        yield home


def write(home: DarkHome, *words: str) -> None:
    for word in words:
        home.now_ms += 1_000
        with transaction(home.money):
            seen = Event(home.homes[0].meter_no, 101, home.now_ms, word)
            home.edge.outbox.append(EntryKind.EVENT, seen, Lane.URGENT, home.now_ms)


def told(home: DarkHome) -> list[str]:
    with home.db.read() as conn:
        return [word for word in conn.execute(select(event.c.detail).order_by(event.c.at_ms)).scalars() if word.startswith("word")]


@pytest.mark.parametrize("more", [1, 3, 9])
def test_nothing_that_was_written_on_is_lost(home: DarkHome, more: int) -> None:
    image = home.image("old")
    write(home, "word of before 1", "word of before 2", "word of before 3")
    home.sync()
    home.roll_back(image)
    later = [f"word of later {n}" for n in range(more)]
    write(home, *later)
    home.greet()
    home.sync()
    assert told(home)[-more:] == later
    assert home.edge.outbox.depth() == 0
