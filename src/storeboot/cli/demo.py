"""`storeboot demo`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from storeboot import log
from storeboot.cli.options import json_option, say
from storeboot.cli.tables import mebibytes, print_table
from storeboot.config import Mode, NfsVersion
from storeboot.errors import StorebootError
from storeboot.protocol.reports import ReportFact
from storeboot.protocol.stages import Stage
from storeboot.vm.demo.build import Flavour, Kind, NetworkManager, build_demo
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import Outcome, TrialSpec, run_trial

DEFAULT_DIRECTORY = Path("~/.cache/storeboot/demo")


@click.command(short_help="Boot a diskless virtual machine from a real Nix store.")
@json_option
@click.option("--system", "kind", type=click.Choice(["demo", "micro"]), default="demo",
              show_default=True, help="demo: real systemd; micro: busybox as init.")  # fmt: skip
@click.option("--flavour", type=click.Choice(["scripted", "systemd"]), default="systemd",
              show_default=True, help="Kind of stage 1 that the system is built with.")  # fmt: skip
@click.option("--mode", type=click.Choice(["pack", "plain"]), default="pack", show_default=True,
              help="pack: with a pack above NFS; plain: over NFS only.")  # fmt: skip
@click.option("--nfs", "nfs_version", type=click.Choice(["3", "4.1", "4.2"]), default="3",
              show_default=True, help="NFS version to mount with.")  # fmt: skip
@click.option("--suite", type=click.Choice(["trixie", "bookworm"]), default="trixie",
              show_default=True, help="Debian release: Linux 6.12 or 6.1.")  # fmt: skip
@click.option("--network", type=click.Choice(["networkd", "NetworkManager", "dhcpcd"]),
              default="networkd", show_default=True,
              help="Network manager of stage 2.")  # fmt: skip
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False),
              default=DEFAULT_DIRECTORY, show_default=True,
              help="Directory for the store, the state and the console log.")  # fmt: skip
@click.pass_context
def demo(
    context: click.Context,
    as_json: bool,
    kind: Kind,
    flavour: Flavour,
    mode: Mode,
    nfs_version: NfsVersion,
    suite: Suite,
    network: NetworkManager,
    directory: Path,
) -> None:
    """Build a system with Nix, serve it, boot it in QEMU without a disk, and verify every file.

    The exit status is 0 only if the machine came up, its report is correct, and it powered off.
    """
    log.set_up(verbose=context.find_root().params["verbose"], quiet=True)
    directory = directory.expanduser().absolute()
    try:
        built = build_demo(
            directory, kind=kind, flavour=flavour, suite=suite, network=network, progress=say
        )
        spec = TrialSpec(
            store=built.store,
            system=built.toplevel,
            directory=directory / "run",
            nfs_version=nfs_version,
            least_files=built.least_files,
            has_nix=built.has_nix,
            mode=mode,
        )
        outcome = asyncio.run(run_trial(spec, say))
    except StorebootError as error:
        if as_json:
            failed = {"outcome": "failed", "error": error.message, "hint": error.hint}
            click.echo(json.dumps(failed, indent=2))
        raise
    if as_json:
        click.echo(json.dumps({**_document(outcome), "mode": mode}, indent=2))
    else:
        _print(outcome)


def _document(outcome: Outcome) -> dict[str, Any]:
    report = outcome.report
    return {
        "outcome": "ok",
        "stages": [
            {"name": step.stage, "seconds": round(step.seconds, 3)} for step in outcome.steps
        ],
        "nfs": {
            "version": report.boot.version,
            "rpcs": report.boot.rpcs,
            "bytes_read": report.boot.bytes_read,
        },
        "guest": {
            "overlay": report.overlay,
            "lower_fstype": report.lower_fstype,
            "write_ok": report.write_ok,
            "files_hashed": report.files_hashed,
            "hash_mismatches": len(report.mismatches),
            "closure_valid": report.closure_valid,
            "poweroff_seconds": round(outcome.poweroff_seconds, 1),
            "hostname": report.facts.get(ReportFact.HOSTNAME, ""),
            "machine_id": report.facts.get(ReportFact.MACHINE_ID, ""),
            "kernel": report.facts.get(ReportFact.KERNEL, ""),
            "address": report.facts.get(ReportFact.ADDRESS, "").strip(),
            "failed_units": report.facts.get(ReportFact.FAILED_UNITS, "").split(),
        },
    }


def _print(outcome: Outcome) -> None:
    previous = 0.0
    rows = []
    for step in outcome.steps:
        rows.append((step.stage, f"{step.seconds:.1f}", f"+{step.seconds - previous:.1f}"))
        previous = step.seconds
    print_table(("STAGE", "SECONDS", ""), rows)
    report = outcome.report
    up = next(step.seconds for step in outcome.steps if step.stage == Stage.MULTI_USER)
    click.echo(
        f"\nmulti-user after {up:.1f} s with {report.boot.total} RPCs of NFSv{report.boot.version} "
        f"and {mebibytes(report.boot.bytes_read)} read; {report.files_hashed} files verified, "
        f"{len(report.mismatches)} mismatches; off in {outcome.poweroff_seconds:.1f} s"
    )
