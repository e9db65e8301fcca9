"""A configuration with one host, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.servers import MAC, as_toml, make_config
from storeboot.config import Config, HostSection


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """One host that is declared without a system."""
    made = make_config(tmp_path)
    return made.model_copy(update={"hosts": {"lab1": HostSection(mac=(MAC,))}})


@pytest.fixture
def path(config: Config, tmp_path: Path) -> Path:
    file = tmp_path / "storeboot.toml"
    file.write_text(as_toml(config))
    return file
