"""The mark of an entry: by it an edge sees that what the cloud holds under a number is not what stands under it here.

A disk that was put back and wrote on without a link gives its numbers anew; by numbers alone it is not behind (architecture.md 4).
"""

from __future__ import annotations

from hashlib import sha256

from gridtally_shared.contract.messages import Entry

MARK_BYTES = 8


def mark_of(entry: Entry) -> bytes:
    """Of its kind and body, as they are sent and kept."""
    return sha256(entry.kind.to_bytes(8, "big", signed=True) + entry.body).digest()[:MARK_BYTES]
