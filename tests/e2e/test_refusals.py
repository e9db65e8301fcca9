"""A refused mount as Linux and our initrd see it: what passes is tried again, the rest is final."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from e2e.systems import CACHE
from integration.views import serving, write_view
from storeboot.deploy.state import make_state_directory
from storeboot.nfs.handle import MountToken
from storeboot.nfs.index import Index
from storeboot.nfs.views import NotLoadedError, View
from storeboot.serve.nfs import service
from storeboot.serve.nfs.store_tree import StoreTree
from storeboot.vm.demo.packages import Suite
from storeboot.vm.demo.uml_kernel import uml_kernel
from storeboot.vm.errand import run_in_uml
from storeboot.vm.qemu import HOST_ADDRESS
from unit.initrd_scripts import SCRIPTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
SCRIPT = Path(__file__).with_name("refusals.sh")
VERSIONS = ("3", "4.0", "4.2")
FAULTS = {"good": 0, "short": errno.EMFILE, "sick": errno.EIO}
TIMES = 2  # each fault occurs so often before the view is read


class Faulty(StoreTree):
    """Views that cannot be read the first times."""

    faults: dict[bytes, int]
    seen: Counter[bytes]

    @override
    def load(self, missing: NotLoadedError) -> View | Index | None:
        if missing.store_name is None and missing.view in self.faults:
            self.seen[missing.view] += 1
            number = self.faults[missing.view]
            if number and self.seen[missing.view] <= TIMES:
                raise OSError(number, os.strerror(number))
        return super().load(missing)


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
async def test_what_a_client_is_told_of_a_refused_mount(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "VIEW_TRIES", 0)  # the client is told of every fault
    kernel = await asyncio.to_thread(uml_kernel, CACHE, suite)
    state = make_state_directory(tmp_path / "state")
    names = {
        (version, fault): f"{version}{fault}".replace(".", "").rjust(32, "0") + "-x"
        for version in VERSIONS
        for fault in FAULTS
    }
    for name in names.values():
        (tmp_path / "nix" / "store" / name).mkdir(parents=True)
    views = {each: write_view(state, name) for each, name in names.items()}
    async with serving(tmp_path, next(iter(names.values()))) as served:
        tree = served.service.tree
        tree.__class__ = Faulty
        assert isinstance(tree, Faulty)
        tree.faults = {view: FAULTS[fault] for (_, fault), view in views.items()}
        tree.seen = Counter()
        codec = served.service.programs.codec

        def path(view: bytes) -> str:
            return f"/view/{codec.encode_token(MountToken(view, bytes(8)))}"

        paths = [
            *((*each, path(view)) for each, view in views.items()),
            *((version, "gone", path(bytes(range(16)))) for version in VERSIONS),
            *((version, "wrong", "/view/" + "0" * 64) for version in VERSIONS),
        ]
        variables = {
            "server": HOST_ADDRESS, "port": str(served.port),
            "paths": " ".join(map(":".join, paths)),
        }  # fmt: skip
        store = (SCRIPTS / "store.sh").read_text()
        script = f"{SCRIPT.read_text()}\n{store}\nSYSROOT=/run/sysroot\nmain\n"
        with capture_logs() as told:
            text = await run_in_uml(kernel, tmp_path / "run", script, variables, seconds=300)
    found = [tuple(line.split(" ", 3)) for line in text.splitlines()]
    for version in VERSIONS:
        said = [each[1:] for each in found if each[0] == version]
        assert ("good", "mounted", "1") in said, said
        assert ("gone", "final", "No such file or directory") in said, said
        assert ("wrong", "final", "Permission denied") in said, said
        assert ("sick", "again", "Input/output error") in said, said
        assert ("sick", "mounted", str(TIMES + 1)) in said, said
        if version == "3":
            assert ("short", "again", "Remote I/O error") in said, said
            assert ("short", "mounted", str(TIMES + 1)) in said, said
        else:  # the client asks again by itself
            assert ("short", "mounted", "1") in said, said
    reasons = Counter(each["reason"] for each in told if each["event"] == "nfs.mount_refused")
    assert set(reasons.values()) == {1}, reasons  # once a minute
    assert len(reasons) == 4, reasons
