from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storeboot import files


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    deep = tmp_path / "one" / "two"
    files.make_directory(deep)
    assert (mode(deep.parent), mode(deep)) == (0o750, 0o750)
    files.write(deep / "a", "text")
    files.write(deep / "b", b"bytes", 0o644, durable=False)
    assert files.link_new(deep / "c", b"secret")
    files.touch(deep / "d")
    assert [mode(deep / name) for name in "abcd"] == [0o640, 0o644, 0o600, 0o640]
    assert names(deep) == ["a", "b", "c", "d"]


def test_a_file_that_fails_half_way_leaves_the_old_one_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    files.write(file, "old")

    def fail() -> None:
        with files.publish(file) as place:
            place.write_bytes(b"new, but not wh")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    files.write(file, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_the_data_is_synced_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fsync, file = os.fsync, tmp_path / "file"

    def noted(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        what = "directory" if place == tmp_path else f"data of {place.stat().st_size}"
        said.append(f"{what}, {'named' if file.exists() else 'no name yet'}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    expected = ["data of 5, no name yet", "directory, named"]
    files.write(file, b"whole")
    assert said == expected
    said.clear()
    file.unlink()
    assert files.link_new(file, b"whole")
    assert said == expected
    said.clear()
    files.write(file, b"derived", durable=False)
    assert said == []
    files.remove(file)
    assert said == ["directory, no name yet"]
    assert not files.remove(file)


def test_of_many_that_make_a_new_file_one_succeeds_and_all_see_its_data(tmp_path: Path) -> None:
    file, start = tmp_path / "key", threading.Barrier(8)
    made: list[tuple[bool, bytes, bytes]] = []

    def make(number: int) -> None:
        own = b"%d" % number * 32
        start.wait()
        made.append((files.link_new(file, own), own, file.read_bytes()))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (own for was_first, own, _ in made if was_first)
    assert {seen for _, _, seen in made} == {winner}
    assert names(tmp_path) == ["key"]


def test_the_sweep_takes_what_was_left_and_leaves_what_is_being_written(tmp_path: Path) -> None:
    left = tmp_path / ".pack.squashfs.0123abcd.partial"
    left.write_text("half")
    (tmp_path / ".stranger").touch()
    os.mkfifo(tmp_path / ".fifo.partial")
    with files.publish(tmp_path / "file") as place:
        place.write_text("being written")
        assert left in files.sweep(tmp_path)
        assert files.is_partial(place)
    assert names(tmp_path) == [".stranger", "file"]
    assert files.sweep(tmp_path / "not there") == []


def test_a_copy_is_made_again_when_it_differs(tmp_path: Path) -> None:
    source, goal = tmp_path / "source", tmp_path / "goal"
    source.write_bytes(b"kernel")
    files.copy(source, goal, 0o644)
    inode = goal.stat().st_ino
    files.copy(source, goal, 0o644)
    assert goal.stat().st_ino == inode
    goal.write_bytes(b"damage")
    files.copy(source, goal, 0o644)
    assert goal.read_bytes() == b"kernel"
    assert mode(goal) == 0o644


def test_checksums_find_what_was_changed_cut_off_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sums = tmp_path / "file", files.Checksums()
    file.write_bytes(b"whole")
    right = files.sha256(file)
    assert sums.match(file, 5, right)
    with monkeypatch.context() as context:
        context.setattr(files, "sha256", lambda _file: pytest.fail("read twice"))
        assert sums.match(file, 5, right)
    file.write_bytes(b"whale")
    assert not sums.match(file, 5, right)
    file.write_bytes(b"who")
    assert not sums.match(file, 5, right)
    file.unlink()
    assert not sums.match(file, 5, right)


def test_restrict_only_takes_away(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(0o666)
    (tmp_path / "b").touch()
    (tmp_path / "b").chmod(0o600)
    for name in "abc":
        files.restrict(tmp_path / name, files.FILE_MODE)
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o640, 0o600)
