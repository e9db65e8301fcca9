"""What a running server reports about itself, and what `storeboot status` warns of."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter, ValidationError

from storeboot.cli.tables import plain
from storeboot.config import Config
from storeboot.deploy.disk import shortage
from storeboot.deploy.overview import Live
from storeboot.hosts.refusals import Refusal

SECONDS = 2.0  # time limit for the server's answer
_ANY = "0.0.0.0"


def server_health(loaded: Config) -> dict[str, object] | None:
    """Return what could not be recorded and why, as in GET /health; None without a server."""
    addresses = loaded.listening(loaded.http)
    address = "127.0.0.1" if _ANY in addresses else next(iter(addresses), "127.0.0.1")
    connection = http.client.HTTPConnection(address, loaded.http.port, timeout=SECONDS)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        found = json.loads(response.read()) if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) else None


_HEARD = TypeAdapter(dict[str, float])
_REFUSALS = TypeAdapter(tuple[Refusal, ...])


def live_of(health: Mapping[str, object] | None, now: float) -> Live | None:
    """Return what a running server knows of machines, or None if none answers.

    An older server, which is still running after an update, does not say it either.
    """
    if health is None:
        return None
    try:
        return Live(
            now,
            TypeAdapter(float).validate_python(health.get("serving_since")),
            _HEARD.validate_python(health.get("heard")),
            _REFUSALS.validate_python(health.get("refusals")),
        )
    except ValidationError:
        return None


def health_warnings(loaded: Config, health: Mapping[str, object] | None) -> list[str]:
    """Return the warnings, as text."""
    found = list(_said(health)) if health is not None else []
    disk = shortage(loaded.server.state_directory)
    return [plain(words) for words in (*found, *([disk] if disk is not None else []))]


def _said(health: Mapping[str, object]) -> Iterator[str]:
    if health.get("database"):
        yield f"the server cannot use the database: {health['database']}"
    for kind, words in (("waiting", "to be written down"), ("lost", "lost")):
        counts = health.get(kind)
        if isinstance(counts, dict) and counts:
            listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            yield f"the server has {listed} {words}"
