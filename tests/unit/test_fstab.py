from __future__ import annotations

import pytest

from storeboot.nix.fstab import escape_path, parse_fstab
from storeboot.nix.masking import masked
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


MASKED_BY = {
    "by another spelling": ("LABEL=p /mnt/p btrfs subvol=@p\n", "/mnt/p"),
    "pools": ("tank/home /home zfs zfsutil\nOLD:/x /b bcachefs defaults\n", "/home /b"),
    "volumes": ("/dev/mapper/c /c ext4 d\n/dev/md/r /r xfs d\n/dev/vg/l /l ext4 d\n", "/c /r /l"),
    "hypervisors": (
        "share /s virtiofs d\nx /x 9p trans=virtio,version=9p2000.L\n10.0.0.1 /n 9p trans=tcp\n",
        "/s /x",
    ),
    "overlay": (
        ("LABEL=p /p ext4 d\no /o overlay lowerdir=/x:/p/a,upperdir=/u,workdir=/w\n"
        "o /k overlay lowerdir=/x:/px\n"),
        "/p /o",
    ),
    "upper layer": (
        "LABEL=p /p ext4 d\no /o overlay lowerdir=/x,upperdir=/sysroot/p/u,workdir=/w\n", "/p /o",
    ),
    "work directory": ("LABEL=p /p ext4 d\no /o overlay lowerdir=/x,workdir=/p/w\n", "/p /o"),
    "data layer": ("LABEL=p /p ext4 d\no /o overlay lowerdir+=/x,datadir+=/p/d\n", "/p /o"),
    "colon in a name": (
        "LABEL=p /b ext4 d\no /o overlay lowerdir=/a\\:/b\no /q overlay lowerdir=/a::/b\n", "/b /q",
    ),
    "image": ("LABEL=p /p ext4 d\n/p/i.ext4 /i ext4 loop\n/srv/i.sqfs /k squashfs ro\n", "/p /i"),
    "bind": ("LABEL=p /p ext4 d\n/p/h /home none rbind\n/dev/pts /c/pts none bind\n", "/p /home"),
    "chain": (
        "/i/a.img /j ext4 loop\n/h/i.img /i ext4 loop\n/p/h /h none bind\nLABEL=p /p ext4 d\n",
        "/j /i /h /p",
    ),
    "mergerfs": (
        ("LABEL=a /m/d1 ext4 d\n/m/d*/x /all fuse.mergerfs d\n"
        "mergerfs#/a=RW:/m/d1/y=NC /two fuse d\n/m/e* /k fuse.mergerfs d\n"),
        "/m/d1 /all /two",
    ),
    "pattern in a disk": ("LABEL=a /m ext4 d\n/m/d* /all mergerfs d\n", "/m /all"),
    "path on another host": ("LABEL=p /p ext4 d\nme@h:/p /s fuse.sshfs d\nh:/p /n nfs d\n", "/p"),
    "share": ("LABEL=p /p ext4 d\n//p/p /s cifs d\n", "/p"),
    "mounts that it asks for": (
        ("LABEL=p /p ext4 d\ntmpfs /t tmpfs x-systemd.requires-mounts-for=/p/x\n"
        "tmpfs /w tmpfs x-systemd.wants-mounts-for=/p\n"),
        "/p /t",
    ),
    "units that it asks for": (
        ("LABEL=p /p ext4 d\nt /t tmpfs x-systemd.requires=p.mount\n"
        "t /d tmpfs x-systemd.requires=/dev/sda\nt /q tmpfs x-systemd.requires=/p\n"
        "t /c tmpfs x-systemd.requires=systemd-cryptsetup@c.service\n"
        "t /k tmpfs x-systemd.requires=network-online.target\n"),
        "/p /t /d /q /c",
    ),
    "nearer mount": ("LABEL=p /p ext4 d\nh:/x /p/n nfs d\n/p/n/a /a none bind\n", "/p"),
    "mount point below": ("LABEL=p /p ext4 d\ntmpfs /p/t tmpfs d\n", "/p"),
    "own mount point": ("tmpfs /p tmpfs d\no /p overlay lowerdir=/p,upperdir=/u,workdir=/w\n", ""),
    "what the initrd mounts": (
        "LABEL=r / ext4 d\no /nix/store overlay lowerdir=/nix/.ro-store\n/a /b none bind\n", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED_BY)
def test_what_is_made_of_a_masked_file_system_is_masked_too(name: str) -> None:
    text, expected = MASKED_BY[name]
    assert [each.entry.mount_point for each in masked(parse_fstab(text))] == expected.split()


def test_the_reason_names_what_is_missing() -> None:
    text = (
        "LABEL=p /p ext4 d\n/p/i /i ext4 loop\nt /t tmpfs x-systemd.requires=i.mount\n"
        "s /s virtiofs\n"
    )
    assert [each.reason for each in masked(parse_fstab(text))] == [
        "there is no local disk",
        "it needs /p/i, and /p is masked",
        "it requires i.mount, and that is masked",
        "there is no hypervisor that shares it",
    ]


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
