"""What the server last read from the database, for use while the database is unreachable.

Added hosts and open tests are also saved in a file of the state directory, so that a server that
starts while the database is unreachable knows them. The file is derived: if it is missing or
damaged, only what the configuration declares is known until the database is reachable.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from storeboot import files

log = structlog.get_logger()
MAX_MACS = 1000


@dataclass(slots=True)
class Memory:
    """Mappings are replaced and never changed, so any thread may read them."""

    file: Path | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)  # added hosts: settings as JSON
    # For each host with an open test: the generation that boots next, and the fallback.
    tests: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    macs: OrderedDict[str, None] = field(default_factory=OrderedDict)  # of unknown machines
    _saved: str = ""
    _complained: bool = False

    def note_host(self, name: str, settings: str | None) -> None:
        """Remember a host's settings, or with None that there is no such added host."""
        if self.hosts.get(name) == settings:
            return
        others = {key: value for key, value in self.hosts.items() if key != name}
        self.hosts = others if settings is None else {**others, name: settings}

    def note_test(self, host: str, test: tuple[int, int] | None) -> None:
        """Remember a host's open test, or with None that it has none."""
        if self.tests.get(host) == test:
            return
        others = {key: value for key, value in self.tests.items() if key != host}
        self.tests = others if test is None else {**others, host: test}

    def note_mac(self, mac: str) -> None:
        """Remember that an unknown machine has asked."""
        self.macs[mac] = None
        while len(self.macs) > MAX_MACS:
            self.macs.popitem(last=False)

    def load(self) -> None:
        """Load what another process of this server has saved; nothing if the file is damaged."""
        if self.file is None:
            return
        try:
            document = json.loads(self.file.read_text())
            hosts = {str(name): str(said) for name, said in document["hosts"].items()}
            tests = {
                str(host): (int(first), int(second))
                for host, (first, second) in document["tests"].items()
            }
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("memory.not_read", file=str(self.file), reason=str(error))
            return
        self.hosts, self.tests = hosts, tests
        self._saved = self._text()

    def save(self) -> None:
        """Save what has changed. If the disk cannot be written, the next start may know fewer
        hosts."""
        text = self._text()
        if self.file is None or text == self._saved:
            return
        try:
            files.write(self.file, text, durable=False)
        except OSError as error:
            if not self._complained:
                log.error("memory.not_kept", file=str(self.file), reason=str(error))
            self._complained = True
        else:
            self._saved, self._complained = text, False

    def _text(self) -> str:
        return json.dumps({"hosts": dict(self.hosts), "tests": dict(self.tests)})
