"""One try of an exchange on a paced line: wait, write, wait, read, in one call and with two wake-ups.

* `exchange_paced(port, wake, request, speak_at_s, travel_s)` waits until the monotonic time `speak_at_s`, writes the
  request if nothing lies in the non-blocking `port`, waits `travel_s` more and reads what is there. It gives the number of
  bytes written, the bytes read, and when it wrote and read.
* Written 0 with bytes: they were there before (noise); nothing was said. Written less than the request: the port takes no
  more, or is gone. Whoever calls goes on from there with its own reads, which also tell what is wrong with a port.
* A byte readable in `wake` ends a wait of 0.2 s or more; shorter ones are slept through, and whoever calls looks for himself.
* None where the module was not compiled, or GRIDTALLY_NO_NATIVE=1: callers have their own way, at several times the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_native import BACKEND

ExchangePaced = Callable[[int, int, bytes, float, float], tuple[int, bytes, float, float]]

exchange_paced: ExchangePaced | None = None

if BACKEND != "pure":
    try:
        from gridtally_native import _pacing
    except ImportError:
        pass
    else:
        exchange_paced = _pacing.exchange_paced
