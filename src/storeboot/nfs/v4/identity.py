"""Client ids, session ids and stateids that are computed instead of remembered.

Each carries a keyed digest, so that any process with the key accepts it after a restart and a
made-up one is refused. This stretches RFC 8881 (sections 2.4 and 2.10 expect a server to forget
them when it restarts); it is safe because there is no lock, no share reservation and no change
that a forgotten client could conflict with.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b

from storeboot.nfs.status import NfsError, Status

SESSION_ID_SIZE = 16
STATEID_OTHER_SIZE = 12


class IdentityCodec:
    """Derives and checks the three kinds of ids under the server key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.server_owner = self._mac(b"sb-owner", b"", 16)

    def client_id(self, owner: bytes, verifier: bytes) -> int:
        """clientid4: four bytes that name the client, four that prove it was named here."""
        name = self._mac(b"sb-client", verifier + owner, 4)
        return int.from_bytes(name + self._mac(b"sb-client-mac", name, 4), "big")

    def check_client(self, client_id: int) -> bytes:
        raw = client_id.to_bytes(8, "big")
        if not hmac.compare_digest(raw[4:], self._mac(b"sb-client-mac", raw[:4], 4)):
            raise NfsError(Status.STALE_CLIENTID)
        return raw

    def session_id(self, client: bytes) -> bytes:
        return client + self._mac(b"sb-session", client, 8)

    def check_session(self, session: bytes) -> None:
        if not hmac.compare_digest(session[8:], self._mac(b"sb-session", session[:8], 8)):
            raise NfsError(Status.BADSESSION)

    def stateid(self, kind: bytes, handle: bytes) -> bytes:
        """stateid4 of an open (`o`) or a delegation (`d`) of a file: seqid 1, then `other`."""
        return b"\0\0\0\1" + kind + self._mac(b"sb-stateid", kind + handle, 11)

    def _mac(self, person: bytes, data: bytes, size: int) -> bytes:
        return blake2b(data, key=self._key, person=person, digest_size=size).digest()
