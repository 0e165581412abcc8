"""What a meter's own display is told, as one conversation."""

from __future__ import annotations

from gridtally_edge.drivers.model import Face, MeterPort
from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.errors import GridtallyError


def show_conversation(port: MeterPort, face: Face) -> Conversation[None]:
    """Raises what the meter or the line raises; the session is released where the meter still answers."""
    yield from port.open()
    try:
        yield from port.write_face(face)
    except GridtallyError:
        yield from port.close()
        raise
    yield from port.close()
