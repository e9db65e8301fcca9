"""Every test of modules runs in each world that there is, with each stage 1."""

from __future__ import annotations

import pytest

from modules.worlds import NIXPKGS, Stage1, World


@pytest.fixture(params=["standin", *(["nixpkgs"] if NIXPKGS else [])])
def place(request: pytest.FixtureRequest) -> str | None:
    return NIXPKGS if request.param == "nixpkgs" else None


@pytest.fixture(params=["scripted", "systemd"])
def world(request: pytest.FixtureRequest, place: str | None) -> World:
    stage1: Stage1 = request.param
    return World(stage1, place)
