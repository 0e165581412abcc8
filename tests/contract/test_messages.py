"""Every message of the contract survives the wire, bad bytes become ContractError, and the bytes themselves are pinned."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.samples import SAMPLES
from gridtally_shared import cbor
from gridtally_shared.contract import channels, codec, prepay_messages
from gridtally_shared.contract import messages as m
from gridtally_shared.errors import ContractError

GOLDEN = Path(__file__).resolve().parents[1] / "vectors" / "contract_golden.json"
CLASSES = [
    c for module in (m, prepay_messages) for _, c in inspect.getmembers(module, inspect.isclass)
    if dataclasses.is_dataclass(c) and c.__module__ == module.__name__
]  # fmt: skip


def strategy_for(kind: Any) -> st.SearchStrategy[Any]:
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        return st.one_of(*(st.none() if a is type(None) else strategy_for(a) for a in typing.get_args(kind)))
    if origin is tuple:
        return st.lists(strategy_for(typing.get_args(kind)[0]), max_size=3).map(tuple)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{f.name: strategy_for(hints[f.name]) for f in dataclasses.fields(kind)})
    return {
        int: st.integers(codec.INT_MIN, codec.INT_MAX),
        bool: st.booleans(),
        str: st.text(max_size=20),
        bytes: st.binary(max_size=40),
    }[kind]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_message_has_a_sample_and_golden_bytes(cls: type) -> None:
    golden = json.loads(GOLDEN.read_text())
    sample = SAMPLES[cls.__name__]
    assert codec.encode(sample).hex() == golden[cls.__name__], "the wire form changed: that breaks boxes in the field"
    assert codec.decode(cls, bytes.fromhex(golden[cls.__name__])) == sample


def test_what_an_older_release_sent_is_still_read() -> None:
    older = {name: data for name, data in json.loads(GOLDEN.read_text()).items() if "@" in name}
    assert older
    for name, data in older.items():
        assert codec.decode(getattr(m, name.partition("@")[0]), bytes.fromhex(data))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_every_message_survives_the_wire(cls: type, data: st.DataObject) -> None:
    message = data.draw(strategy_for(cls))
    written = codec.encode(message)
    assert codec.decode(cls, written) == message
    assert cbor.dumps(cbor.loads(written)) == written, "not as the other writer of CBOR writes it"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
@given(junk=st.binary(max_size=60))
def test_any_other_bytes_are_a_contract_error(cls: type, junk: bytes) -> None:
    try:
        codec.decode(cls, junk)
    except ContractError:
        return
    assert cbor.dumps(cbor.loads(junk)) == junk, "accepted bytes it would not write itself"


def test_an_unknown_key_of_a_newer_contract_is_passed_over() -> None:
    known = cbor.loads(codec.encode(m.Gone(b"x")))
    assert codec.decode(m.Gone, cbor.dumps({**known, 99: "new"})) == m.Gone(b"x")


@pytest.mark.parametrize(
    ("junk", "why"),
    [
        (b"\xa1\x00\x41\x78\x00", "bytes after its end"),
        (b"\xa2\x00\x41\x78\x00\x41\x79", "not valid CBOR"),
        (b"\xbf\x00\x41\x78\xff", "not valid CBOR"),
        (b"\xa1\x18\x00\x41\x78", "shortest form"),
        (b"\xa0", "boot_id"),
        (b"\xa1\x00\x01", "expected bytes"),
    ],
)
def test_the_error_says_what_is_wrong(junk: bytes, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        codec.decode(m.Gone, junk)


def test_channels_and_topics_agree_both_ways() -> None:
    for channel in channels.CHANNELS:
        assert channels.parse_topic(channel.topic("box-1")) == (channel, "box-1")


@pytest.mark.parametrize("ident", ["", "a/b", "+", "#", "$x"])
def test_a_name_that_would_break_a_topic_is_refused(ident: str) -> None:
    with pytest.raises(ContractError):
        channels.BY_NAME["live"].topic(ident)


def test_every_lane_has_its_channel_and_every_entry_kind_its_type() -> None:
    assert set(channels.BY_LANE) == set(m.Lane)
    assert set(m.ENTRY_TYPES) == set(m.EntryKind)
