"""The one place that starts programs."""

from __future__ import annotations

import pytest

from storeboot.errors import CommandError
from storeboot.process import run


def test_a_program_that_takes_too_long_is_ended_and_named() -> None:
    with pytest.raises(CommandError, match="`sleep 60` did not end within 0 s"):
        run(["sleep", "60"], seconds=0.2)
