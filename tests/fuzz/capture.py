"""Record what Linux asks while a machine boots: `python -m fuzz.capture 3 6.12`, for streams/.

The calls are made to be about the store of the unit tests, under its key: handles, tokens and ids
carry digests, without which a server looks no further.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import cast

from e2e.systems import spec, system
from fuzz.target import STREAMS
from nfs_codec import marked
from storeboot.config import NfsVersion
from storeboot.nfs.handle import Handle, HandleCodec, Place, object_id, path_id
from storeboot.nfs.index import Kind
from storeboot.nfs.program import Programs
from storeboot.nfs.status import NfsError
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.v4.identity import IdentityCodec
from storeboot.nfs.views import Lack
from storeboot.nfs.walk import Walk
from storeboot.nfs.xdr import Segment
from storeboot.serve.nfs.service import NfsService
from storeboot.vm.demo.packages import Suite
from storeboot.vm.qemu import HOST_ADDRESS
from storeboot.vm.trial import started, verify
from unit.nfs_tree import HELLO, KEY, VIEW, token

_TOKEN = re.compile(rb"[0-9a-f]{64}")
MOST = 3  # calls of one shape
_PLACES = {Kind.DIRECTORY: b"bin", Kind.REGULAR: b"bin/hello", Kind.SYMLINK: b"link"}


class Rekeyed:
    """Calls to one server turned into calls to another."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._codec = HandleCodec(KEY)
        self._identities = IdentityCodec(KEY, "")

    def record(self, record: bytes, address: str) -> bytes:
        data, at = bytearray(_TOKEN.sub(self._token, record)), 0
        while at + 8 <= len(data):
            for size, change in ((64, self._handle), (16, self._session), (8, self._client)):
                changed = change(bytes(data[at : at + size]), address)
                if changed is not None:
                    data[at : at + size] = changed
                    at += size - 4
                    break
            at += 4
        return bytes(data)

    def _handle(self, raw: bytes, _address: str) -> bytes | None:
        try:
            entry = Walk(self._programs.catalogue).resolve(raw)
        except NfsError:
            return None
        place = entry.handle.place
        if place is Place.STORE_OBJECT:
            relative = _PLACES[entry.node.kind]
            return self._codec.encode(Handle(place, VIEW, object_id(HELLO), path_id(relative)))
        return self._codec.encode(Handle(place, VIEW if any(entry.handle.view) else bytes(16)))

    def _token(self, found: re.Match[bytes]) -> bytes:
        known = self._programs.catalogue.codec.decode_token(found[0])
        return found[0] if known is None else token().encode()

    def _session(self, raw: bytes, address: str) -> bytes | None:
        try:
            self._programs.clients.identities.check_session(raw, address)
        except NfsError:
            return None
        client = self._client(raw[:8], address)
        assert client is not None
        return self._identities.session_id(client, "", int.from_bytes(raw[8:10]))

    def _client(self, raw: bytes, address: str) -> bytes | None:
        try:
            self._programs.clients.identities.check_client(raw, address)
        except NfsError:
            return None
        return raw[:4] + self._identities._client_proof(raw[:4], "")


def shape(record: bytes) -> bytes:
    """What makes two calls the same kind of question, about: sizes, and where operations are."""
    start = 40 + int.from_bytes(record[28:32])
    operations = record[start + 8 : start + 16] + record[start + 48 : start + 52]
    return record[12:24] + (len(record) // 16).to_bytes(2) + operations


async def main(nfs: NfsVersion, suite: Suite) -> None:
    built = await asyncio.to_thread(system, "micro", suite=suite)
    kept: dict[bytes, list[bytes]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        trial_spec = spec(built, Path(scratch), nfs)
        async with started(trial_spec, print) as trial:
            service = trial.server.nfs.backend
            assert isinstance(service, NfsService)
            answer, rekeyed = service.programs.answer, Rekeyed(service.programs)

            def recording(record: bytes, peer: Peer, lack: Lack | None = None) -> list[Segment]:
                segments = answer(record, peer, lack)
                same = kept.setdefault(shape(record), [])
                if len(same) < MOST:
                    same.append(rekeyed.record(record, peer.address))
                return segments

            service.programs.answer = recording  # type: ignore[method-assign]
            boot = await trial.reach("multi-user")
            await verify(trial_spec, trial, boot, print)
            await trial.power_off(boot)
    STREAMS.mkdir(exist_ok=True)
    calls = [record for same in kept.values() for record in same]
    marked = [marked(record) for record in calls]
    (STREAMS / f"linux-{suite}-nfs{nfs}").write_bytes(b"".join(marked))
    sys.stdout.write(f"{len(calls)} calls from {HOST_ADDRESS}'s guest\n")


if __name__ == "__main__":
    asyncio.run(main(cast(NfsVersion, sys.argv[1]), cast(Suite, sys.argv[2])))
