"""One thread that waits for many sockets and many moments: all IP lines of a process share one.

* `call` may be used from any thread, everything else only from the loop's own (from within its callbacks).
* A callback that raises is logged and does not end the loop. Nothing here waits busily: the selector sleeps until the
  next timer, the next byte or the next `call`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from gridtally_shared.records import dataclass

log = logging.getLogger("gridtally.lines")
T = TypeVar("T")
Action = Callable[[], None]


@dataclass(slots=True)
class Timer:
    """`action` None: it was cancelled or has run."""

    action: Action | None

    def cancel(self) -> None:
        self.action = None


@dataclass(frozen=True, slots=True)
class Watch:
    on_readable: Action
    on_writable: Action | None = None


class SelectorLoop:
    """`acquire` starts the thread for its first user, `release` ends it with its last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._users = 0
        self._calls: deque[Action] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._selector: selectors.BaseSelector | None = None
        self._thread: threading.Thread | None = None
        self._wake_reader = self._wake_writer = -1

    def acquire(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._wake_reader, self._wake_writer = os.pipe()
            os.set_blocking(self._wake_reader, False)
            os.set_blocking(self._wake_writer, False)
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._wake_reader, selectors.EVENT_READ)
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def release(self, within_s: float = 5.0) -> None:
        """Give it back; the last user's release waits for the thread to end."""
        with self._lock:
            self._users -= 1
            if self._users or self._thread is None or self._selector is None:
                return
            os.write(self._wake_writer, b"!")
            self._thread.join(within_s)
            if not self._thread.is_alive():
                self._selector.close()
                os.close(self._wake_reader)
                os.close(self._wake_writer)
            self._thread, self._selector = None, None
            self._calls.clear()
            self._timers.clear()

    def call(self, action: Action) -> None:
        """Have the loop's thread do this soon. From any thread."""
        self._calls.append(action)
        if threading.current_thread() is not self._thread and self._wake_writer >= 0:
            try:
                os.write(self._wake_writer, b"!")
            except BlockingIOError:  # it is being woken already
                return

    def run(self, action: Callable[[], T], within_s: float = 5.0) -> T:
        """Do this on the loop's thread and give back what it gives or raises. Not from the loop's own thread."""
        done: Future[T] = Future()

        def act() -> None:
            try:
                done.set_result(action())
            except Exception as error:
                done.set_exception(error)

        self.call(act)
        return done.result(within_s)

    def after(self, delay_s: float, action: Action) -> Timer:
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._numbers), timer))
        return timer

    def watch(self, descriptor: int, on_readable: Action, on_writable: Action | None = None) -> None:
        """Begin or change the watch of a descriptor."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_writable else 0)
        selector = self._open_selector()
        if descriptor in selector.get_map():
            selector.modify(descriptor, events, Watch(on_readable, on_writable))
        else:
            selector.register(descriptor, events, Watch(on_readable, on_writable))

    def unwatch(self, descriptor: int) -> None:
        if self._selector is not None and descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def _open_selector(self) -> selectors.BaseSelector:
        if self._selector is None:
            raise ValueError("the loop does not run")
        return self._selector

    def _run(self) -> None:
        selector = self._open_selector()
        while self._users:
            for key, events in selector.select(self._wait_s()):
                if key.data is None:
                    self._drain()
                    continue
                if events & selectors.EVENT_WRITE and key.data.on_writable is not None:
                    self._do(key.data.on_writable)
                if events & selectors.EVENT_READ and key.fd in selector.get_map():
                    self._do(key.data.on_readable)
            self._do_calls()
            self._do_timers()

    def _wait_s(self) -> float | None:
        if self._calls:
            return 0.0
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _drain(self) -> None:
        try:
            while os.read(self._wake_reader, 4_096):
                pass
        except BlockingIOError:
            return

    def _do_calls(self) -> None:
        for _ in range(len(self._calls)):
            self._do(self._calls.popleft())

    def _do_timers(self) -> None:
        now_s = time.monotonic()
        while self._timers and self._timers[0][0] <= now_s:
            timer = heapq.heappop(self._timers)[2]
            action, timer.action = timer.action, None
            if action is not None:
                self._do(action)

    def _do(self, action: Action) -> None:
        try:
            action()
        except Exception:
            log.exception("a callback of the loop %s failed", self._name)


IP_LOOP = SelectorLoop("ip lines")
