"""Fetches Debian packages with the host's apt, without touching the host's apt state."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from storeboot.errors import CommandError
from storeboot.process import LONG, run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TARGET_FORMAT = "$(REPO_URI)\t$(COMPONENT)\t$(RELEASE)\t$(ORIGIN)\t$(LABEL)\t$(SIGNED_BY)"
_INST = re.compile(r"^Inst (?P<name>\S+) \((?P<version>\S+) .*\[(?P<arch>[a-z0-9]+)\]\)")

# Do not run the host's hooks (deleting .debs, informing PackageKit).
_APT_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Dir::State "{work}/state";
Dir::State::status "{work}/status";
Dir::State::extended_states "{work}/state/extended_states";
Dir::Cache "{work}/cache";
Dir::Cache::archives "{debs}";
Dir::Log "{work}/log";
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "root";
APT::Sandbox::Seccomp "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Retries "3";
"""


@dataclass(frozen=True)
class Archive:
    """Where the host's own apt gets Debian's main archive from."""

    uri: str
    signed_by: str

    def source_line(self, suite: str, architecture: str) -> str:
        """Return the one-line apt source for a suite."""
        return f"deb [arch={architecture} signed-by={self.signed_by}] {self.uri} {suite} main\n"


@dataclass(frozen=True)
class Deb:
    """One downloaded package."""

    name: str
    version: str
    arch: str

    @property
    def filename(self) -> str:
        """Return the name that apt gives the file in its archive directory."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.arch}.deb"


def host_archive() -> Archive:
    """Find the Debian main archive among the host's configured sources."""
    text = run(["apt-get", "indextargets", "--format", _TARGET_FORMAT, "Created-By: Packages"])
    archive = pick_archive(text, host_codename())
    if archive is None:
        raise CommandError(
            "the host's apt has no source for the Debian main archive",
            hint="add one to /etc/apt and run apt-get update",
        )
    return archive


def host_codename() -> str:
    """Return the release name of the host's os-release, or nothing."""
    found = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.M)
    return found[1] if found else ""


def pick_archive(index_targets: str, codename: str) -> Archive | None:
    """Choose from `apt-get indextargets`: an archive known as Debian's, or the host's release."""
    rows = [line.split("\t") for line in index_targets.splitlines() if line.count("\t") == 5]
    main = [row for row in rows if row[1] == "main" and "security" not in row[0] + row[2]]
    known = [row for row in main if row[3:5] == ["Debian", "Debian"]]
    own = [row for row in main if row[2] == codename]
    for row in known + own:
        keyring = row[5] if row[5].startswith("/") else str(KEYRING)
        return Archive(row[0], keyring)
    return None


def fetch(
    packages: Iterable[str], suite: str, work: Path, architecture: str = "amd64"
) -> list[Path]:
    """Download packages and their dependencies; use no network if nothing has changed."""
    wanted = sorted(set(packages))
    debs_dir = work / "debs"
    manifest = work / "manifest.json"
    key = hashlib.sha256("\n".join([suite, *wanted]).encode()).hexdigest()
    debs = _cached(manifest, key, debs_dir)
    if debs is None:
        debs = _download(wanted, suite, work, debs_dir, architecture)
        manifest.write_text(json.dumps({"key": key, "debs": [asdict(deb) for deb in debs]}))
    return [debs_dir / deb.filename for deb in debs]


def _cached(manifest: Path, key: str, debs_dir: Path) -> list[Deb] | None:
    try:
        known = json.loads(manifest.read_text())
    except FileNotFoundError:
        return None
    debs = [Deb(**row) for row in known["debs"]]
    complete = all((debs_dir / deb.filename).is_file() for deb in debs)
    return debs if known["key"] == key and complete else None


def _download(
    wanted: list[str], suite: str, work: Path, debs_dir: Path, architecture: str
) -> list[Deb]:
    config = _write_config(work, debs_dir, host_archive(), suite, architecture)
    apt = ["apt-get", "-q", "-c", str(config)]
    run([*apt, "update"], seconds=LONG)
    plan = run([*apt, "--simulate", "install", *wanted], seconds=LONG)
    run([*apt, "--download-only", "install", *wanted], seconds=LONG)
    return parse_plan(plan)


def parse_plan(simulated: str) -> list[Deb]:
    """Return the packages in the output of `apt-get --simulate install`."""
    found = (_INST.match(line) for line in simulated.splitlines())
    debs = (Deb(m["name"], m["version"], m["arch"]) for m in found if m)
    return sorted(debs, key=lambda deb: deb.name)


def _write_config(
    work: Path, debs_dir: Path, archive: Archive, suite: str, architecture: str
) -> Path:
    for directory in ("state/lists/partial", "cache", "log"):
        (work / directory).mkdir(parents=True, exist_ok=True)
    (debs_dir / "partial").mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    (work / "sources.list").write_text(archive.source_line(suite, architecture))
    config = work / "apt.conf"
    config.write_text(_APT_CONF.format(work=work, debs=debs_dir, architecture=architecture))
    return config
