"""New keys for a meter: the wrapping of RFC 3394, and a change of keys that ends in an association under the new ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_edge.protocols.dlms.access import AccessDenied, attribute
from gridtally_edge.protocols.dlms.key_transfer import KeyId, activate_policy, transfer_keys, unwrap, wrap
from gridtally_shared.errors import MeterFault
from support.dlms_meters import KEYS, SERIAL, access, security, wrapper_client, wrapper_meter


@pytest.mark.parametrize(
    ("kek", "key", "wrapped"),
    [
        (
            "000102030405060708090A0B0C0D0E0F",
            "00112233445566778899AABBCCDDEEFF",
            "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
        ),
        (
            "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
            "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
            "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
        ),
    ],
)
def test_the_examples_of_rfc_3394(kek: str, key: str, wrapped: str) -> None:
    """Sections 4.1 and 4.6."""
    assert wrap(bytes.fromhex(kek), bytes.fromhex(key)).hex().upper() == wrapped
    assert unwrap(bytes.fromhex(kek), bytes.fromhex(wrapped)).hex().upper() == key


@pytest.mark.parametrize("spoilt", [b"", bytes(24), wrap(bytes(16), bytes(16))[:-1]])
def test_what_was_not_wrapped_under_this_key_does_not_open(spoilt: bytes) -> None:
    with pytest.raises(MeterFault, match="does not open"):
        unwrap(bytes(16), spoilt)


def test_a_change_of_keys() -> None:
    meter = wrapper_meter(access=access(ciphered=True))
    client = wrapper_client(security=security())
    fresh = replace(KEYS, unicast=b"U" * 16, authentication=b"A" * 16)
    meter.bench.run(client.open())
    keys = {KeyId.GLOBAL: fresh.unicast, KeyId.AUTHENTICATION: fresh.authentication}
    meter.bench.run(transfer_keys(client, KEYS.master, keys))
    meter.bench.run(client.close())
    line = b"".join(meter.bench.requests)
    assert fresh.unicast not in line
    with pytest.raises(MeterFault):
        meter.bench.run(wrapper_client(security=security()).open())
    renewed = wrapper_client(security=security(fresh))
    meter.bench.run(renewed.open())
    meter.bench.run(renewed.get(SERIAL))


def test_keys_under_a_wrong_master_key_change_nothing() -> None:
    meter = wrapper_meter(access=access(ciphered=True))
    client = wrapper_client(security=security())
    meter.bench.run(client.open())
    with pytest.raises(AccessDenied):
        meter.bench.run(transfer_keys(client, bytes(16), {KeyId.GLOBAL: b"U" * 16}))
    meter.bench.run(client.get(SERIAL))


def test_the_policy_is_raised_and_never_lowered() -> None:
    meter = wrapper_meter()
    client = wrapper_client()
    meter.bench.run(client.open())
    meter.bench.run(activate_policy(client, 3))
    with pytest.raises(AccessDenied):
        meter.bench.run(activate_policy(client, 1))
    assert meter.bench.run(client.get(attribute(64, "0.0.43.0.0.255", 2))).value == 3
