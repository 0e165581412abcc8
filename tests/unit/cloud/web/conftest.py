"""Fixtures of the page tests: a street with some days behind it, and browsers without a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from support.stores import Kept
from support.web_person import Person
from support.web_street import PER_DAY, WebStreet, seeded_store


@pytest.fixture(scope="session")
def old_street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStreet]:
    """Three days and a morning of life. For tests that only read."""
    street = WebStreet(tmp_path_factory.mktemp("street"))
    street.live(PER_DAY)
    street.live(PER_DAY, estimated=range(40, 44), missing=range(60, 62))
    street.live(PER_DAY)
    street.live(40)
    street.send_event(0, 201, "phase 1")
    street.send_event(1, 1001)
    street.send_values(0, voltage_mv=231_400)
    yield street
    street.close()


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return seeded_store(tmp_path_factory.mktemp("seeded"))


@pytest.fixture
def street(tmp_path: Path, seeded: Kept) -> Iterator[WebStreet]:
    """A street of its own, some hours old. For tests that change it."""
    made = WebStreet(tmp_path, seeded)
    made.live(48)
    yield made
    made.close()


@pytest.fixture(scope="session")
def old_app(old_street: WebStreet) -> Flask:
    return old_street.app()


@pytest.fixture(scope="session")
def sign_in(old_app: Flask) -> Callable[[str], Person]:
    """Sign in to the old street; one browser a person."""
    people: dict[str, Person] = {}

    def enter(login: str) -> Person:
        if login not in people:
            people[login] = Person(old_app, login)
        return people[login]

    return enter
