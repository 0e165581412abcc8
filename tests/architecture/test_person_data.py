"""Every table of the store says what it holds of a person (person/held.py): a new table or column can not be forgotten."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import Boolean, Integer, Table

from gridtally_cloud.person.held import APART, HELD, NOBODY, WHYS, Held
from gridtally_cloud.person.links import Person, Span, rows_of
from gridtally_cloud.store.schema import metadata

NAMES_A_PERSON = {"account_no", "customer_no", "user_id", "login", "email", "phone", "payer"}


def tables_of_nobody() -> list[str]:
    return [name for names in NOBODY.values() for name in names.split()]


def test_every_table_stands_in_exactly_one_list() -> None:
    listed = Counter([*(held.table for held in HELD), *APART, *tables_of_nobody()])
    twice = {name for name, times in listed.items() if times > 1}
    missing, unknown = set(metadata.tables) - set(listed), set(listed) - set(metadata.tables)
    assert not twice
    assert not unknown
    assert not missing, f"say in person/held.py what these hold of a person: {sorted(missing)}"


def test_a_table_that_names_a_person_is_not_among_those_of_nobody() -> None:
    wrong = [name for name in (*APART, *tables_of_nobody()) if NAMES_A_PERSON & set(metadata.tables[name].c.keys())]
    assert not wrong, f"these name accounts or people: classify them in HELD of person/held.py: {wrong}"


def open_columns(table: Table) -> set[str]:
    """Columns that can hold words or bytes: all but numbers, times and truths."""
    return {c.name for c in table.c if not isinstance(c.type, Integer | Boolean)}


@pytest.mark.parametrize("held", [held for held in HELD if not held.goes], ids=lambda held: held.table)
def test_each_column_of_words_says_what_becomes_of_it(held: Held) -> None:
    table, said = metadata.tables[held.table], [*held.changes, *held.keep.split()]
    assert not {*said, *held.unseen.split()} - set(table.c.keys()), "columns that are not there"
    missing = open_columns(table) - {*said, *held.unseen.split()}
    assert not missing, f"say in person/held.py what becomes of {held.table}: {sorted(missing)}"
    assert not [name for name, times in Counter(said).items() if times > 1], "said twice"


def test_every_reason_is_one_and_every_link_can_be_followed() -> None:
    person = Person(1, 0, (Span(1, 1, 1, 0, None),), (("a", "#1"),), ("name",))
    for held in HELD:
        assert held.why in WHYS, held.table
        assert (held.why == "gone") == held.goes, held.table
        assert str(rows_of(person, held)), held.table


def test_what_is_erased_may_be_empty() -> None:
    for held in HELD:
        table = metadata.tables[held.table]
        assert all(table.c[name].nullable for name in held.null.split()), held.table
        assert not {c.name for c in table.primary_key} & {*held.blank.split(), *held.null.split(), *held.name.split()}, held.table
