"""Time limits for calls that may hang, and a way to break such calls off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Deadlines:
    """Watches all calls that are under way, in one thread. It sleeps while there are none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._calls: dict[int, tuple[float, Callable[[], None]]] = {}
        self._late: set[int] = set()
        self._thread: threading.Thread | None = None
        self._last = 0

    @contextmanager
    def watching(self, seconds: float, break_off: Callable[[], None]) -> Iterator[None]:
        """Call `break_off`, in another thread, if the block takes longer than `seconds`.

        It must make the hanging call fail. TimeoutError is raised in place of that failure.
        """
        number = self._begin(self._clock() + seconds, break_off)
        try:
            yield
        except Exception:
            if number in self._late:
                raise TimeoutError(f"no answer within {seconds:g} s") from None
            raise
        finally:
            with self._changed:
                self._calls.pop(number, None)
                self._late.discard(number)

    def break_all(self) -> None:
        """Break off every call that is under way, now."""
        with self._changed:
            calls = list(self._calls.items())
            for number, (_, break_off) in calls:
                self._break(number, break_off)

    def _begin(self, end: float, break_off: Callable[[], None]) -> int:
        with self._changed:
            self._last += 1
            self._calls[self._last] = (end, break_off)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
            elif len(self._calls) == 1:
                self._changed.notify()
            return self._last

    def _watch(self) -> None:
        with self._changed:
            while True:
                if not self._calls:
                    self._changed.wait()
                    continue
                now = self._clock()
                for number, (end, break_off) in list(self._calls.items()):
                    if end <= now:
                        self._break(number, break_off)
                ends = [end for end, _ in self._calls.values()]
                if ends:
                    # A call that begins in the meantime may have an earlier deadline.
                    self._changed.wait(min(0.5, max(0.01, min(ends) - now)))

    def _break(self, number: int, break_off: Callable[[], None]) -> None:
        self._late.add(number)
        del self._calls[number]
        with suppress(Exception):  # the call may have ended already
            break_off()
