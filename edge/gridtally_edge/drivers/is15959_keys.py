"""Keys of one IS 15959 meter by generation: 0 are those it was entered with, each later one follows from its master key.

* No key travels and none is kept: whoever has the master key and the first keys makes every generation again (HKDF-SHA256).
  So a lost concentrator takes no meter's keys with it.
* A change goes one step. Its answer may be lost: a port that has not yet been let in tries the generation on record, the one after
  it and the one before it.
* What makes a generation is the meter's own: two meters entered with the same three keys share all that follow.

Source: IEC 62056-6-2 class 64 (key transfer); RFC 5869; safety.md 10.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gridtally_edge.drivers.is15959_config import Is15959Settings
from gridtally_edge.protocols.dlms.counters import channel_name
from gridtally_edge.protocols.dlms.key_transfer import KeyId
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import Reason

_LABELS: Final = {KeyId.GLOBAL: b"global", KeyId.AUTHENTICATION: b"authentication"}


def keys_of(settings: Is15959Settings, generation: int) -> dict[KeyId, bytes]:
    """`settings` are those the meter was entered with, `generation` 1 or more."""
    return {key_id: _key(settings, label, generation) for key_id, label in _LABELS.items()}


def under(settings: Is15959Settings, generation: int) -> Is15959Settings:
    """The settings with the keys of a generation."""
    if not generation:
        return settings
    keys = keys_of(settings, generation)
    return replace(settings, key=keys[KeyId.GLOBAL], auth_key=keys[KeyId.AUTHENTICATION])


def book_name(settings: Is15959Settings) -> str:
    """What the book of counters calls this meter's keys; no key can be read from it."""
    return channel_name(b"generation", settings.master_key + settings.key + settings.auth_key)


def neighbours(generation: int) -> tuple[int, ...]:
    """Where a meter may stand that does not know the generation on record."""
    return (generation + 1, generation - 1) if generation else (1,)


def check_step(settings: Is15959Settings, now: int, wanted: int) -> None:
    """Raises RefusedCommand where keys can not go from generation `now` to `wanted`."""
    if not (settings.master_key and settings.key):
        raise RefusedCommand(Reason.UNSUPPORTED, "no master_key: enter it with the meter's other keys, and its keys can be changed")
    if wanted != now + 1:
        raise RefusedCommand(Reason.MALFORMED, f"the meter has keys of generation {now}; the next is {now + 1}, not {wanted}")


def _key(settings: Is15959Settings, label: bytes, generation: int) -> bytes:
    info = b"gridtally meter key " + label + generation.to_bytes(4, "big")
    return HKDF(SHA256(), len(settings.key), settings.key + settings.auth_key, info).derive(settings.master_key)
