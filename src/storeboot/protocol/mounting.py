"""Defines how a machine mounts its store over NFS (nfs(5)).

All is said to the kernel itself, since neither initrd has a mount helper or rpcbind. Not `noacl`:
over NFSv3 without ACLs overlayfs refuses every user but root (EOPNOTSUPP).
"""

from __future__ import annotations

from storeboot.protocol.word import Word


class Option(Word):
    """An option of every mount of the store, whatever the version."""

    RO = "ro", "no client can change a view"
    NOSUID = "nosuid", "NixOS' wrappers are outside of the store"
    NODEV = "nodev", "a store has no devices"
    NOATIME = "noatime", "no time changes"
    NOCTO = "nocto", "nothing changes, so an open file need not be looked at again"
    ACTIMEO = "actimeo=86400", "for the same reason attributes are kept for a day"
    HARD = "hard", "a server that is away is waited for"
    TCP = "proto=tcp", "the server speaks nothing else"


def file_system(version: str) -> str:
    """Return the type to mount, for a version such as "3" or "4.2"."""
    return "nfs" if version == "3" else "nfs4"


def mount_options(
    version: str, server: str, port: int, client: str | None = None
) -> tuple[str, ...]:
    """Return all options, in order.

    `client` is the machine's own address where it is known; only NFSv4 has a use for it.
    """
    common = (*Option, f"addr={server}", f"port={port}", f"vers={version}")
    if version == "3":
        return (*common, "nolock", f"mountaddr={server}", f"mountport={port}", "mountproto=tcp")
    return common if client is None else (*common, f"clientaddr={client}")
