"""Client ids, session ids and stateids that are computed instead of remembered.

Each contains a keyed digest, so that any process with the key accepts it after a restart, and an
invented one is refused. This departs from RFC 8881 (sections 2.4 and 2.10 expect a server to forget
ids when it restarts). It is safe because there is no exclusive lock, no share reservation and no
change that a forgotten client could conflict with.

Ids of clients and sessions are valid only from the address they were given to: nothing else keeps a
peer that has overheard an id out of its owner's slots.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b

from storeboot.nfs.status import NfsError, Status

SESSION_ID_SIZE = 16
STATEID_OTHER_SIZE = 12


class IdentityCodec:
    """Derives and verifies the three kinds of ids with the server key."""

    def __init__(self, key: bytes, service: str) -> None:
        """`service` is the address and port that clients mount from.

        It is part of the server owner. So a client never takes two servers that share a key, but
        not an address, for two paths to one server (RFC 8881 section 2.10.5), and a server that
        takes over the address is the same server.
        """
        self._key = key
        self.server_owner = self._mac(b"sb-owner", service.encode(), 16)
        self.server_scope = self._mac(b"sb-scope", service.encode(), 16)

    def client_id(
        self, owner: tuple[str, bytes], verifier: bytes, principal: tuple[int, int], instance: int
    ) -> bytes:
        """Return a clientid4: four bytes that identify the client, four that prove who issued it.

        `owner` is the client's address and its co_ownerid.
        """
        words = b"".join(number.to_bytes(4, "big") for number in (*principal, instance))
        name = self._mac(b"sb-client", words + verifier + owner[1], 4)
        return name + self._client_proof(name, owner[0])

    def check_client(self, client_id: bytes, address: str) -> None:
        if not hmac.compare_digest(client_id[4:], self._client_proof(client_id[:4], address)):
            raise NfsError(Status.STALE_CLIENTID)

    def confirmation(self, client_id: bytes) -> bytes:
        """Return what a client of NFSv4.0 repeats to show that it was told its id."""
        return self._mac(b"sb-confirm", client_id, 8)

    def session_id(self, client_id: bytes, address: str, number: int) -> bytes:
        """Return the client id, 16 bits that distinguish its sessions, and six bytes of proof."""
        name = client_id + (number & 0xFFFF).to_bytes(2, "big")
        return name + self._session_proof(name, address)

    def check_session(self, session_id: bytes, address: str) -> None:
        name, proof = session_id[:10], session_id[10:]
        if not hmac.compare_digest(proof, self._session_proof(name, address)):
            raise NfsError(Status.BADSESSION)

    def stateid(self, kind: bytes, handle: bytes) -> bytes:
        """Return a stateid4 with seqid 1, of an open (`o`), a delegation (`d`) or a lock (`l`).

        `handle` identifies the file; for a lock, the owner follows the filehandle.
        """
        return b"\0\0\0\1" + kind + self._mac(b"sb-stateid", kind + handle, 11)

    def _client_proof(self, name: bytes, address: str) -> bytes:
        return self._mac(b"sb-client-mac", name + address.encode(), 4)

    def _session_proof(self, name: bytes, address: str) -> bytes:
        return self._mac(b"sb-session", name + address.encode(), 6)

    def _mac(self, person: bytes, data: bytes, size: int) -> bytes:
        return blake2b(data, key=self._key, person=person, digest_size=size).digest()
