from __future__ import annotations

import pytest

from storeboot.nix.fstab import escape_path, parse_fstab
from storeboot.process import run

TEXT = """\
# /etc/fstab: generated
tmpfs / tmpfs mode=0755 0 0
/dev/disk/by-label/data /data ext4 defaults 0 2
UUID=1234-ABCD /boot vfat x-initrd.mount,nofail 0 2
LABEL=swap none swap defaults
server:/home /home nfs4 _netdev 0 0
/dev/sda5 /with\\040space ext4 defaults 0 2
"""


def test_local_disks_are_told_from_the_rest() -> None:
    entries = parse_fstab(TEXT)
    assert [entry.on_local_disk for entry in entries] == [False, True, True, True, False, True]
    assert [entry.needed_for_boot for entry in entries] == [False, False, True, False, False, False]


def test_units_have_the_names_that_the_generator_gives_them() -> None:
    names = [entry.unit_name for entry in parse_fstab(TEXT)]
    assert names == [
        "-.mount", "data.mount", "boot.mount", "dev-disk-by\\x2dlabel-swap.swap", "home.mount",
        "with\\x20space.mount",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/a/b", "/a-b/.c", "/.hidden", "/täst", "/dev/disk/by-id/x"])
def test_escaping_is_systemds(path: str) -> None:
    """Against the real `systemd-escape`, where there is one."""
    try:
        expected = run(["systemd-escape", "--path", path]).strip()
    except Exception:
        pytest.skip("no systemd-escape here")
    assert escape_path(path) == expected
