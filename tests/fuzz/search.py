"""A search for calls that break the core, guided by the code that they reach.

`python -m fuzz.search [libFuzzer options]` begins with the calls of real clients.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["storeboot.nfs"]):
    from fuzz.target import Target, records


def main() -> None:
    target = Target()

    def one(data: bytes) -> None:
        if data[:1] == b"\x80":
            target.stream(data)
        else:
            target.record(data[1:])

    with tempfile.TemporaryDirectory() as corpus:
        for number, record in enumerate(records()):
            (Path(corpus) / f"call-{number}").write_bytes(b"\0" + record)
        atheris.Setup([*sys.argv, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
