"""Run the public NFSv4.1 suite against our server: `make pynfs PYNFS=<checkout of pynfs>`.

The tests that are expected to fail, and why, are in docs/reference/pynfs.md; any other failure is
an error, and so is a test that passes although the page says that it cannot.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from storeboot import log
from storeboot.deploy.state import make_state_directory
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.program import Programs
from storeboot.nix.store import Store, StorePath
from storeboot.process import run
from storeboot.serve.nfs.listener import NfsListener
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.store_tree import StoreTree

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "pynfs.md"
LEASE = 10  # seconds: one test waits for a lease to end


def expected_failures() -> dict[str, str]:
    """Codes of tests, and what each would need."""
    found: dict[str, str] = {}
    rows = re.findall(r"^\| ([^|]+) \|[^|]+\| ([^|]*[0-9][^|]*) \|$", PAGE.read_text(), re.M)
    for need, codes in rows:
        found |= dict.fromkeys(codes.split(), need)
    return found


def build(checkout: Path, place: Path) -> Path:
    """A built copy of the suite, with a Python environment of its own; made once."""
    suite = place / "suite"
    python = place / "venv" / "bin" / "python"
    if not (place / "built").exists():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(checkout, suite, ignore=shutil.ignore_patterns(".git", "venv", "build"))
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--require-hashes",
                        "-r", HERE / "requirements.txt"], check=True)  # fmt: skip
        setup = suite / "setup.py"
        # It calls "python3" by name, which is not the one that has the packages.
        called = r'"python%s %s" % \(sys.version\[0\], command\)'
        setup.write_text(re.sub(called, '"%s %s" % (sys.executable, command)', setup.read_text()))
        subprocess.run([python, "setup.py", "build"], cwd=suite, check=True, capture_output=True)
        (place / "built").touch()
    return suite


def make_tree(directory: Path) -> tuple[Store, StorePath]:
    """What the suite's --maketree would make, as far as a store can hold it."""
    source = directory / "source"
    (source / "tree" / "dir").mkdir(parents=True)
    (source / "tmp").mkdir()
    (source / "tree" / "file").write_text("This is the file test data.")
    (source / "tree" / "link").symlink_to("/etc/X11")
    store = Store(directory / "root")
    store.root.mkdir()
    options: list[str | Path] = ["--store", store.root, "--option", "build-users-group", ""]
    added = run(["nix-store", *options, "--add", source])
    return store, StorePath.from_arg(added.strip())


async def results(suite: Path, python: Path, minor: int) -> dict[str, bool]:
    """Whether each test passed."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store, path = make_tree(directory)
        state = make_state_directory(directory / "state")
        view = state.views.add(store, path).view_id
        key = state.server_key.get()
        token = HandleCodec(key).encode_token(MountToken(bytes.fromhex(view), bytes(8)))
        listener = NfsListener(
            lambda on_closed: NfsService(
                Programs(key, "pynfs", time.monotonic, lease=LEASE),
                StoreTree(store, state),
                on_closed,
            )
        )
        port = await listener.start("127.0.0.1", 0)
        url = f"nfs://127.0.0.1:{port}/view/{token}/{path.base_name}"
        output = directory / "results.json"
        process = await asyncio.create_subprocess_exec(
            python, "./testserver.py", url, "--noinit", "--nocleanup",
            f"--minorversion={minor}", "--json", output, "--hidepass", "all",
            cwd=suite / "nfs4.1", stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await process.wait()
        await listener.stop()
        cases = json.loads(output.read_text())["testcase"]
        # The file names every test that there is; those not asked for are "skipped".
        return {case["code"]: "failure" not in case for case in cases if "skipped" not in case}


def main() -> int:
    log.set_up(quiet=True)
    checkout = Path(sys.argv[1]).resolve()
    if not (checkout / "nfs4.1" / "testserver.py").exists():
        print(f"error: {checkout} is no checkout of pynfs", file=sys.stderr)
        return 1
    place = HERE.parents[1] / ".cache" / "pynfs"
    print("one minute: a test waits for a lease to end")
    suite = build(checkout, place)
    passed = asyncio.run(results(suite, place / "venv" / "bin" / "python", 1))
    expected = expected_failures()
    failed = {code for code, well in passed.items() if not well}
    for code in sorted(failed - expected.keys()):
        print(f"failed: {code}")
    for code in sorted(expected.keys() - failed):
        print(f"passed, though {PAGE.name} says that it cannot: {code}")
    print(f"{len(passed)} tests, {len(passed) - len(failed)} passed, {len(failed)} failed, "
          f"{len(expected)} expected to")  # fmt: skip
    return 0 if failed == expected.keys() else 1


if __name__ == "__main__":
    sys.exit(main())
