"""What every line is to the rest of the agent: conversations with meters are submitted to it, and it tells how it does.

`Line` (serial, raw TCP, Modbus TCP) speaks to one meter at a time; `NetworkLine` (IP, coordinator) to several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.breaker import Breaker
from gridtally_edge.transports.line import LineHealth
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.settings import LineSettings, Speed

if TYPE_CHECKING:
    from gridtally_edge.transports.nodes import Node

T = TypeVar("T")


class MeterLine(Protocol):
    """See `Line` for what each method promises."""

    @property
    def settings(self) -> LineSettings: ...

    def start(self) -> None: ...

    def close(self, within_s: float = 5.0) -> None: ...

    def submit(self, conversation: Conversation[T], priority: Priority, meter_key: str, speed: Speed | None = None) -> Future[T]: ...

    def place(self, meter_key: str, place: Place) -> None:
        """Where a meter is, told before it is spoken to. Raises ConfigError for a place this line can not reach."""
        ...

    def health(self) -> LineHealth: ...

    def breakers(self) -> Mapping[str, Breaker]: ...


@runtime_checkable
class TellsNodes(Protocol):
    """A line whose meters are nodes of a network: `CoordinatorLine`."""

    def allow(self, nodes: Iterable[str]) -> None:
        """The whole white list."""
        ...

    def remember(self, nodes: Iterable[Node]) -> None:
        """Who was there before a restart; before `start`."""
        ...

    def nodes(self) -> tuple[Node, ...]: ...
