"""Our `dataclass` beside the library's: whatever one does, the other does. A changed copy is the one `replace` makes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared import records
from gridtally_shared.ledger.replay import LedgerState

Maker = Callable[[type], Any]
OPTIONS: list[dict[str, Any]] = [
    {"slots": True},
    {"frozen": True, "slots": True},
    {"frozen": True},
    {},
    {"frozen": True, "slots": True, "kw_only": True},
    {"frozen": True, "slots": True, "order": True},
    {"frozen": True, "slots": True, "eq": False},
    {"slots": True, "eq": False},
]


def plain(make: Maker) -> Any:
    @make
    class Reading:
        number: int
        name: str = dataclasses.field(default="none", repr=False)
        notes: list[str] = dataclasses.field(default_factory=list, compare=False)
        twice: int = dataclasses.field(default=7, init=False)
        most: typing.ClassVar[int] = 9

    return Reading


def ours_and_theirs(**options: Any) -> tuple[Any, Any]:
    return plain(lambda cls: records.dataclass(**options)(cls)), plain(lambda cls: dataclasses.dataclass(**options)(cls))


def outcome(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:
        return type(error), str(error).replace("Reading.", "")


def seen(cls: Any) -> dict[str, Any]:
    """All that can be told of a class and its instances."""
    one, same, other = cls(number=1, notes=["x"]), cls(number=1), cls(number=2, name="b")
    assigned, deleted = cls(number=3), cls(number=3)
    return {
        "repr": repr(one),
        "values": [dataclasses.astuple(r) for r in (one, same, other)],
        "as dict": dataclasses.asdict(one),
        "equal": (one == same, one == other, one == 1, one != same),
        "hashes": outcome(lambda: hash(one) == hash(same)) if cls.__eq__ is not object.__eq__ else "by identity",
        "order": outcome(lambda: (one < other, other <= one, sorted([other, one])[0].number)),
        "assigned": outcome(lambda: setattr(assigned, "number", 5)) or assigned.number,
        "deleted": outcome(lambda: delattr(deleted, "number")) or hasattr(deleted, "number"),
        "unknown": type(outcome(lambda: setattr(assigned, "unknown", 5))),
        "replaced": dataclasses.replace(one, number=4).number,
        "init=False": outcome(lambda: dataclasses.replace(one, twice=4)),
        "too many": outcome(lambda: cls(1, "a", [], 5))[0],
        "too few": outcome(lambda: cls()),
        "by place": outcome(lambda: cls(1, "a").name),
        "own lists": cls(number=1).notes is not cls(number=1).notes,
        "copied": dataclasses.astuple(copy.deepcopy(one)),
        "match": cls.__match_args__,
        "fields": [(f.name, f.init, f.compare, f.kw_only) for f in dataclasses.fields(cls)],
        "slots": getattr(cls, "__slots__", None),
        "parameters": [(p.name, p.kind) for p in inspect.signature(cls).parameters.values()],
        "hints": set(typing.get_type_hints(cls.__init__)),
        "types": {name: str(field.type) for name, field in cls.__dataclass_fields__.items()},
        "annotations": dict(cls.__annotations__),
    }


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_record_is_what_the_library_makes_of_it(options: dict[str, Any]) -> None:
    ours, theirs = ours_and_theirs(**options)
    assert seen(ours) == seen(theirs)


@given(st.tuples(st.integers(), st.text()), st.tuples(st.integers(), st.text()))
def test_equal_and_hash_follow_the_values(left: tuple[int, str], right: tuple[int, str]) -> None:
    ours, _ = ours_and_theirs(frozen=True, slots=True)
    assert (ours(*left) == ours(*right)) == (left == right)
    assert left != right or hash(ours(*left)) == hash(ours(*right))


@records.dataclass(frozen=True, slots=True)
class Base:
    first: int = 1

    def __post_init__(self) -> None:
        if self.first < 0:
            raise ValueError("below zero")


@records.dataclass(frozen=True, slots=True)
class Derived(Base):
    second: Base | None = None

    def __repr__(self) -> str:
        return "own"


def test_inheritance_own_methods_and_what_is_done_at_the_end() -> None:
    assert (Derived(2, Base(3)).first, repr(Derived()), Derived(2) == Derived(2), Derived(1) == Base(1)) == (2, "own", True, False)
    assert repr(Base()) == "Base(first=1)"
    with pytest.raises(ValueError, match="below zero"):
        Derived(-1)


def test_a_frozen_record_is_pickled_and_copied_whole() -> None:
    one = Derived(2, Base(3))
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.copy(one) == one


def test_what_is_named_is_changed_and_nothing_else() -> None:
    state = LedgerState(7, 1, 5, b"h", {1: 2}, meter_no=3, closed=True)
    assert records.changed(state, seq=6, register_wh=9) == dataclasses.replace(state, seq=6, register_wh=9)
    assert records.changed(state) == state


def test_a_class_that_nobody_uses_has_nothing_compiled() -> None:
    used, unused = (plain(records.dataclass(slots=True)) for _ in range(2))
    assert used(1).number == 1
    assert inspect.isfunction(vars(used)["__init__"])
    assert not callable(vars(unused)["__init__"])


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        records.changed(LedgerState(7, 1), balance=1)
