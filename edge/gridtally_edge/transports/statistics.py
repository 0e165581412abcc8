"""What a line counts about itself: the numbers behind its quality."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(slots=True)
class LineStatistics:
    """Counters since the line was made. `noise_bytes` belong to no answer and no echo; `late_answers` came after
    their time-out and were thrown away."""

    bytes_sent: int = 0
    bytes_received: int = 0
    echo_bytes: int = 0
    noise_bytes: int = 0
    exchanges: int = 0
    answers: int = 0
    retries: int = 0
    timeouts: int = 0
    late_answers: int = 0
    refused_silent: int = 0
    openings: int = 0

    def copy(self) -> LineStatistics:
        return replace(self)
