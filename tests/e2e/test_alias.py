"""What the Linux NFS client sees through the alias, in all the protocols that initrds speak."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from e2e.systems import CACHE
from integration.booting_room import serving
from integration.deploying import make_system, storeboot
from integration.servers import as_toml, make_config
from storeboot.vm.demo.build import packages
from storeboot.vm.demo.uml_kernel import uml_kernel
from storeboot.vm.errand import run_in_uml
from storeboot.vm.qemu import HOST_ADDRESS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
HOST = "127.0.0.1"  # a user-mode machine's address, as the server sees it
SCRIPT = r"""
mkdir -p /mnt
for version in 3 4.0 4.2; do
    options="ro,proto=tcp,addr=$server,port=$port,vers=$version" type=nfs4
    if [ "$version" = 3 ]; then
        type=nfs options="$options,nolock,mountaddr=$server,mountport=$port,mountproto=tcp"
    fi
    mount -i -t "$type" -o "$options" "$server:/nixstore" /mnt
    for each in "$chosen" "$next"; do
        [ -e "/mnt/$each/init" ] && echo "$version $each" >>/results
    done
    umount /mnt
done
wget -q -O /dev/null --post-file /results "$url"
"""


async def test_the_kernel_mounts_the_generation_that_was_chosen(tmp_path: Path) -> None:
    """In the menu, before another generation was deployed."""
    await asyncio.to_thread(packages, CACHE, "trixie")
    kernel = await asyncio.to_thread(uml_kernel, CACHE, "trixie")
    config = await asyncio.to_thread(make_config, tmp_path)
    path = tmp_path / "storeboot.toml"
    text = as_toml(config).replace("[nfs]", "[nfs]\nalias = true")
    path.write_text(text.partition("system =")[0] + f'address = ["{HOST}"]\n')
    one, two, three = (make_system(config, tmp_path, number) for number in (1, 2, 3))
    for system in (one, two):
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as room:
        assert await room.script(HOST, choice="1") == one.text
        await room.run("deploy", "lab1", three)
        variables = {
            "server": HOST_ADDRESS, "port": str(config.nfs.port), "chosen": one.base_name,
            "next": three.base_name,
        }  # fmt: skip
        said = await run_in_uml(kernel, tmp_path / "run", SCRIPT, variables, seconds=120)
    assert said.split("\n")[:3] == [f"{version} {one.base_name}" for version in ("3", "4.0", "4.2")]
