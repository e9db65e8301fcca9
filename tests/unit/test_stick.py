from __future__ import annotations

from pathlib import Path

import pytest

from storeboot.dhcp.stick import write_files, write_image
from storeboot.errors import StorebootError

MADE = {"EFI/BOOT/BOOTX64.EFI": b"efi", "autoexec.ipxe": b"#!ipxe"}


def test_files_are_written_below_a_directory_that_need_not_be_there(tmp_path: Path) -> None:
    write_files(tmp_path / "stick", MADE)
    assert (tmp_path / "stick" / "EFI" / "BOOT" / "BOOTX64.EFI").read_bytes() == b"efi"
    assert (tmp_path / "stick" / "autoexec.ipxe").read_bytes() == b"#!ipxe"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "stick").write_text("a file")
    with pytest.raises(StorebootError, match=r"cannot write boot media: .*stick"):
        write_files(tmp_path / "stick", MADE)
    with pytest.raises(StorebootError, match=r"cannot write boot media: .*stick"):
        write_image(tmp_path / "stick" / "image", MADE, print)
    assert (tmp_path / "stick").read_text() == "a file"
