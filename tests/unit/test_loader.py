"""What a machine without firmware boots."""

from __future__ import annotations

import pytest

from storeboot.boot.script import boot_script, refusal_script
from storeboot.errors import BootError
from storeboot.vm.loader import read_script

SCRIPT = boot_script(
    url="http://10.0.2.2:8080",
    view="ab" * 16,
    command_line="init=/nix/store/x/init a=b",
    host="lab1",
    menu_query="mac=${netX/mac:hexhyp}",
)


def test_kernel_initrd_and_command_line_are_those_of_the_script() -> None:
    orders = read_script(SCRIPT, "52:54:00:AB:00:01")
    views = f"http://10.0.2.2:8080/views/{'ab' * 16}"
    assert orders.kernel == f"{views}/kernel?host=lab1"
    assert orders.initrd == f"{views}/initrd?host=lab1"
    assert orders.command_line == "init=/nix/store/x/init a=b BOOTIF=01-52-54-00-ab-00-01"


def test_a_refusal_is_told_with_its_words() -> None:
    with pytest.raises(BootError, match="nobody knows you"):
        read_script(refusal_script("nobody knows you"), "52:54:00:ab:00:01")
