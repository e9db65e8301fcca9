"""What only NFSv4.0 has (RFC 7530): clients without sessions, and opens that are confirmed.

Linux uses this version when it is told `nfs4` without a minor version, as by an initrd without
mount.nfs. Its ids are computed like all others, so nothing about such a client is kept.
"""

from __future__ import annotations

import hmac

from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.constants import MAX_OPAQUE
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.xdr import Reader, Writer

_MAX_NETADDR = 256  # bytes; an IPv6 address with its port has 48


def op_setclientid(compound: Compound, arguments: Reader, results: Writer) -> None:
    """Introduce a client (section 16.33). Its callback address is skipped: there are no
    callbacks."""
    verifier, name = arguments.take(8), arguments.opaque(MAX_OPAQUE)
    arguments.uint32()  # cb_program
    arguments.opaque(_MAX_NETADDR)
    arguments.opaque(_MAX_NETADDR)
    arguments.uint32()  # callback_ident
    identities = compound.clients.identities
    owner = (compound.peer.address, name)
    client_id = identities.client_id(owner, verifier, compound.principal, 0)
    results.raw(client_id)
    results.raw(identities.confirmation(client_id))


def op_setclientid_confirm(compound: Compound, arguments: Reader, _results: Writer) -> None:
    client_id, confirmation = arguments.take(8), arguments.take(8)
    _check(compound, client_id)
    if not hmac.compare_digest(confirmation, compound.clients.identities.confirmation(client_id)):
        raise NfsError(Status.STALE_CLIENTID)


def op_renew(compound: Compound, arguments: Reader, _results: Writer) -> None:
    """Renew the lease, which never ends."""
    _check(compound, arguments.take(8))


def op_release_lockowner(compound: Compound, arguments: Reader, _results: Writer) -> None:
    """Release the locks of an owner: there are none."""
    _check(compound, arguments.take(8))
    arguments.opaque(MAX_OPAQUE)


def op_open_confirm(compound: Compound, arguments: Reader, results: Writer) -> None:
    stateid = arguments.take(16)
    arguments.uint32()
    _ = compound.current
    results.raw(stateid)


def _check(compound: Compound, client_id: bytes) -> None:
    compound.clients.identities.check_client(client_id, compound.peer.address)
