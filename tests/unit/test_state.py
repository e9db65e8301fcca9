from __future__ import annotations

from pathlib import Path

import pytest

from storeboot.deploy.state import StateDirectory, make_state_directory
from storeboot.errors import StorebootError


def test_naming_a_state_directory_makes_nothing(tmp_path: Path) -> None:
    StateDirectory(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_making_one_twice_keeps_what_is_there(tmp_path: Path) -> None:
    made = make_state_directory(tmp_path / "state")
    key = made.server_key.get()
    assert make_state_directory(tmp_path / "state").server_key.get() == key


def test_one_that_cannot_be_made_is_an_error_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StorebootError, match="cannot write to the state directory") as caught:
        make_state_directory(tmp_path / "state")
    assert "server.state_directory" in (caught.value.hint or "")
