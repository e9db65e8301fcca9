"""Calls that hang, broken off; threads that keep nobody waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from storeboot.hosts.deadlines import Deadlines
from storeboot.serve.threads import Pool


class Hanging:
    """A call that ends when it is broken off."""

    def __init__(self) -> None:
        self.broken = threading.Event()

    def call(self) -> None:
        assert self.broken.wait(30), "nobody has broken it off"
        raise OSError("the connection was closed")


def test_a_call_that_takes_too_long_is_broken_off() -> None:
    hanging = Hanging()
    with (
        pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"),
        Deadlines().watching(0.1, hanging.broken.set),
    ):
        hanging.call()


def test_a_call_that_ends_in_time_is_left_alone() -> None:
    hanging, deadlines = Hanging(), Deadlines()
    with deadlines.watching(0.05, hanging.broken.set):
        pass
    with pytest.raises(KeyError), deadlines.watching(60, hanging.broken.set):
        raise KeyError
    other = Hanging()
    with pytest.raises(TimeoutError), deadlines.watching(0.1, other.broken.set):
        other.call()
    assert not hanging.broken.is_set()


def test_all_calls_are_broken_off_at_once() -> None:
    deadlines = Deadlines()
    ended: list[bool] = []

    def call() -> None:
        hanging = Hanging()
        try:
            with deadlines.watching(600, hanging.broken.set):
                begun.release()
                hanging.call()
        except TimeoutError:
            ended.append(True)

    begun = threading.Semaphore(0)
    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire()
    deadlines.break_all()
    for thread in threads:
        thread.join(10)
    assert ended == [True] * 5


async def test_nobody_waits_longer_for_a_thread_than_he_likes() -> None:
    pool, go_on, begun = Pool("test", 2), threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        begun.release()
        go_on.wait(30)

    hanging = [asyncio.create_task(pool.run(2, hang)) for _ in range(2)]
    for _ in hanging:
        await asyncio.to_thread(begun.acquire)
    done: list[int] = []
    with pytest.raises(TimeoutError):
        await pool.run(0.1, done.append, 1)
    for task in hanging:
        with pytest.raises(TimeoutError):
            await task
    go_on.set()
    await pool.run(10, done.append, 2)
    assert done == [2], "what had not begun when it was given up does not begin any more"


async def test_what_a_thread_raises_is_raised_where_it_is_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        await Pool("test", 1).run(10, lambda: 1 // 0)


async def test_other_work_has_other_threads() -> None:
    slow, quick, go_on = Pool("slow", 1), Pool("quick", 1), threading.Event()
    hanging = asyncio.create_task(slow.run(30, go_on.wait, 30))
    assert await quick.run(10, lambda: 7) == 7
    go_on.set()
    assert await hanging
