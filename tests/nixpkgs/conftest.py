"""There is nothing to test without a checkout of nixpkgs."""

from __future__ import annotations

from modules.worlds import NIXPKGS

collect_ignore = [] if NIXPKGS else ["test_genuine.py"]
