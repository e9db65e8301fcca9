"""Calls of real clients, altered at random; and a search that watches which code they reach."""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path
from random import Random

import pytest

from fuzz.target import Target, records
from simulation.hostile import mutated
from storeboot.nfs import rpc
from storeboot.nfs.xdr import Reader
from storeboot.process import SECONDS, run

TESTS = Path(__file__).parents[1]


def test_the_calls_as_they_came_are_answered() -> None:
    target = Target()
    for record in records():
        target.record(record)
    assert len(records()) > 90
    asked = {(version, procedure) for _, version, procedure in target.programs.calls}
    assert {(3, 1), (3, 3), (3, 4), (3, 5), (3, 6), (3, 17), (4, 1)} <= asked


def mutate(seed: int, count: int) -> None:
    dice, target, calls = Random(seed), Target(), records()
    for _ in range(count):
        target.record(mutated(dice, dice.choice(calls)))
        if dice.random() < 0.01:
            target.hang_up()
    target.check_memory()


def test_ten_thousand_altered_calls() -> None:
    mutate(1, 10_000)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10))
def test_a_million_altered_calls(seed: int) -> None:
    mutate(seed, 100_000)


def test_altered_calls_find_a_decoder_that_trusts_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(reader: Reader, size: int) -> bytes:
        start, reader._pos = reader._pos, reader._pos + size
        return reader._data[start : start + size]

    monkeypatch.setattr(Reader, "take", trusting)
    with pytest.raises(struct.error):
        mutate(1, 10_000)


def test_a_reply_of_another_size_than_it_says_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "framed", lambda segments: [bytes(4) + segments[0], *segments[1:]])
    with pytest.raises(AssertionError):
        mutate(1, 100)


def search(seconds: int, found: Path) -> str:
    """Whatever is found ends it with a status, and the call that did it in the directory."""
    pytest.importorskip("atheris", reason="atheris is not made for this machine")
    words = [sys.executable, "-m", "fuzz.search", f"-max_total_time={seconds}", "-max_len=4096",
             "-rss_limit_mb=1024", f"-artifact_prefix={found}/"]  # fmt: skip
    return run(words, cwd=TESTS, seconds=seconds + SECONDS)


@pytest.mark.timeout(180)
async def test_a_search_by_coverage(tmp_path: Path) -> None:
    await asyncio.to_thread(search, 20, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_a_longer_search_by_coverage(tmp_path: Path) -> None:
    await asyncio.to_thread(search, 600, tmp_path)
