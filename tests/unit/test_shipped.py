"""What a wheel brings besides Python: units, users and directories."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

import pytest

from storeboot.process import run

ROOT = Path(__file__).parents[2]


def test_a_wheel_has_the_units(tmp_path: Path) -> None:
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT)  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.partition(".data/data/")[2]: archive.read(name)
            for name in archive.namelist()
            if ".data/data/" in name
        }
    places = {"system": "lib/systemd/system", "sysusers.d": "lib/sysusers.d",
              "tmpfiles.d": "lib/tmpfiles.d"}  # fmt: skip
    shipped = [path for path in sorted((ROOT / "systemd").rglob("*")) if path.is_file()]
    assert len(shipped) == 7
    assert packed == {
        f"{places[path.parent.name]}/{path.name}": path.read_bytes() for path in shipped
    }


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.name)
def test_units_that_the_documents_name_are_shipped(page: Path) -> None:
    units = {path.name for path in (ROOT / "systemd" / "system").iterdir()}
    text = page.read_text()
    assert set(re.findall(r"\bstoreboot(?:-[a-z]+)?\.(?:service|socket)\b", text)) <= units
    for place in re.findall(r"\bsystemd/(?:system|sysusers\.d|tmpfiles\.d)/[\w.]+", text):
        assert (ROOT / place).exists(), place
