"""A whole server on loopback, over a small real store."""

from __future__ import annotations

from pathlib import Path

from integration.stores import add, toplevel_tree
from storeboot.config import (
    Config,
    HostSection,
    HttpSection,
    NfsSection,
    ServerSection,
    StoreSection,
)
from storeboot.nix.store import Store
from storeboot.vm.trial import free_ports

MAC = "52:54:00:00:00:01"


def make_config(directory: Path, workers: int = 0) -> Config:
    http_port, nfs_port = free_ports(2)
    store = Store(directory / "root")
    system = add(store, toplevel_tree(directory))
    return Config(
        server=ServerSection(address="127.0.0.1", state_directory=directory / "state"),
        store=StoreSection(root=store.root),
        http=HttpSection(listen="127.0.0.1", port=http_port),
        nfs=NfsSection(listen="127.0.0.1", port=nfs_port, workers=workers),
        hosts={"lab1": HostSection(system=system.text, mac=(MAC,))},
    )


def as_toml(config: Config) -> str:
    host = config.hosts["lab1"]
    return f"""
[server]
address = "{config.server.address}"
state_directory = "{config.server.state_directory}"
[store]
root = "{config.store.root}"
[http]
listen = "127.0.0.1"
port = {config.http.port}
[nfs]
listen = "127.0.0.1"
port = {config.nfs.port}
[hosts.lab1]
mac = ["{host.mac[0]}"]
""" + (f'system = "{host.system}"\n' if host.system else "")
