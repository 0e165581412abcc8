"""What a line counts about itself: the numbers behind its quality."""

from __future__ import annotations

from dataclasses import replace

from gridtally_shared.records import dataclass


@dataclass(slots=True)
class LineStatistics:
    """Counters since the line was made. `noise_bytes` belong to no answer and no echo; `noisy_answers` had such bytes in
    front or behind (bias, turn-around); `late_answers` came after their time-out and were thrown away; `busy_s` is the
    time from requests to the end of their answers or time-outs; `losses` counts how often an open port went away,
    `gave_way` how often a conversation rested or ended for a more urgent one."""

    bytes_sent: int = 0
    bytes_received: int = 0
    echo_bytes: int = 0
    noise_bytes: int = 0
    noisy_answers: int = 0
    exchanges: int = 0
    answers: int = 0
    retries: int = 0
    timeouts: int = 0
    late_answers: int = 0
    refused_silent: int = 0
    openings: int = 0
    losses: int = 0
    gave_way: int = 0
    busy_s: float = 0.0
    pushes: int = 0
    pushes_dropped: int = 0

    def copy(self) -> LineStatistics:
        return replace(self)
