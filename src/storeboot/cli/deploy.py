"""`storeboot deploy`, `storeboot confirm`, `storeboot rollback` and `storeboot generations`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from storeboot import config
from storeboot.cli.names import complete_hosts, complete_targets
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import clock, print_table
from storeboot.deploy import actions, overview
from storeboot.deploy.actions import DeployRequest, ProbationRequest, RolloutRequest
from storeboot.deploy.following import follow
from storeboot.deploy.inventory import Inventory, opened
from storeboot.deploy.overview import GenerationOverview
from storeboot.nix.store import StorePath
from storeboot.protocol.orders import Order

Request = DeployRequest | ProbationRequest | RolloutRequest


@dataclass(frozen=True, slots=True)
class _Options:
    """How hosts are given a system."""

    testing: bool
    timeout: int
    auto_confirm: bool
    batch: int | None
    max_failures: int | None
    reboot: bool
    kexec: bool
    no_wait: bool

    @property
    def rolls(self) -> bool:
        limits = (self.batch, self.max_failures)
        return self.reboot or self.kexec or any(limit is not None for limit in limits)

    def check(self) -> None:
        """Raise UsageError for options that do not go together."""
        if self.rolls and self.testing:
            raise click.UsageError("a rollout tests the system on every machine: leave out --test")
        if self.no_wait and not self.rolls:
            raise click.UsageError("--no-wait goes with a rollout: --batch, --reboot or --kexec")
        if self.reboot and self.kexec:
            raise click.UsageError("give either --reboot or --kexec")

    def request(self, target: str, system: StorePath) -> Request:
        if self.rolls:
            return RolloutRequest(
                target, system,
                batch=self.batch or actions.BATCH,
                max_failures=self.max_failures or actions.MAX_FAILURES,
                word=Order.KEXEC if self.kexec else Order.RESTART if self.reboot else None,
                seconds=self.timeout,
            )  # fmt: skip
        if self.testing:
            return ProbationRequest(target, system, self.timeout, self.auto_confirm)
        return DeployRequest(target, system)


@click.command(short_help="Give a host, or a group of them, a system to boot from now on.")
@click.argument("target", metavar="HOST|GROUP", shell_complete=complete_targets)
@click.argument("system")
@config_option
@click.option("--test", "testing", is_flag=True,
              help="Let one boot try it: if that does not reach multi-user, the next boot is the "
              "old generation again.")  # fmt: skip
@click.option("--timeout", type=click.IntRange(min=10), default=actions.TEST_SECONDS,
              show_default=True,
              help="Seconds from the beginning of a test's boot until multi-user.")  # fmt: skip
@click.option("--auto-confirm", is_flag=True,
              help="Keep what has passed its test without `storeboot confirm`.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1),
              help="Roll it out: so many machines try it at once, as they boot.")  # fmt: skip
@click.option("--max-failures", type=click.IntRange(min=1),
              help="Stop a rollout when so many machines have not come up with it; 1 by default.",
              )  # fmt: skip
@click.option("--reboot", is_flag=True,
              help="Roll it out, and ask machines that run to reboot.")  # fmt: skip
@click.option("--kexec", is_flag=True,
              help="Roll it out, and ask machines that run to start it by kexec, without firmware.",
              )  # fmt: skip
@click.option("--no-wait", is_flag=True,
              help="Do not follow the rollout: see storeboot rollout.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def deploy(target: str, system: str, config_path: Path, dry_run: bool, **options: Any) -> None:
    """Make SYSTEM the next boot of HOST, or of every host of GROUP, as a new generation.

    SYSTEM is a built toplevel in the store, or a link to one, such as ./result. It is checked and
    made ready first; machines that run are left alone, and boot it when they boot again.

    A rollout (--batch, --max-failures, --reboot, --kexec) gives it to a few machines at a time.
    Each one tries it as with --test --auto-confirm; when too many have failed, nobody else gets it.
    """
    chosen = _Options(**options)
    chosen.check()
    with opened(config.load(config_path)) as inventory:
        request = chosen.request(target, inventory.systems.toplevel(system))
        if dry_run:
            _say_changes(inventory, request)
            return
        match request:
            case RolloutRequest():
                begun = actions.roll_out(inventory, request, say, time.time())
                hosts = len(begun.hosts)
                say(f"rollout {begun.id} has begun: {hosts} hosts, {begun.batch} at a time")
                if not chosen.no_wait:
                    follow(inventory, begun.id, say)
            case ProbationRequest():
                actions.test(inventory, request, say)
            case DeployRequest():
                actions.deploy(inventory, request, say)


def _say_changes(inventory: Inventory, request: Request) -> None:
    for change in actions.changes(inventory, request.target):
        before = change.before or "nothing"
        if change.is_held:
            say(f"{change.host} is held and would go on booting {before}")
        else:
            say(f"{change.host} would boot {request.system} instead of {before}")


@click.command(short_help="Keep the generation that has passed its test.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def confirm(host: str, config_path: Path, dry_run: bool) -> None:
    """Make the generation that HOST has tested, and come up with, its next boot from now on."""
    with opened(config.load(config_path)) as inventory:
        number = actions.confirm(inventory, host, dry_run=dry_run)
        say(f"{host}: generation {number} {'would be' if dry_run else 'is'} its next boot")


@click.command(short_help="Let a host boot an older generation again.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@click.option("--generation", "number", type=int,
              help="Which one; by default the one before the current one.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def rollback(host: str, config_path: Path, number: int | None, dry_run: bool) -> None:
    """Make an older generation the next boot of HOST. The newer ones stay."""
    with opened(config.load(config_path)) as inventory:
        goal = actions.roll_back(inventory, host, number, dry_run=dry_run)
        will = "would be" if dry_run else "is"
        say(f"{host}: generation {goal.number} {will} its next boot: {goal.system}")


@click.command(short_help="List the generations of a host.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@json_option
def generations(host: str, config_path: Path, as_json: bool) -> None:
    """List every generation of HOST that is kept, and which one it boots next and runs."""
    with opened(config.load(config_path)) as inventory:
        rows = overview.generations(inventory, host)
    if as_json:
        click.echo(json.dumps([_document(row) for row in rows], indent=2))
        return
    print_table(
        ("GENERATION", "MADE", "", "SYSTEM", "TEST"),
        [
            (str(row.generation.number), clock(row.generation.made_at), _marks(row),
             row.generation.system.text, _verdict(row))
            for row in rows
        ],
    )  # fmt: skip


def _marks(row: GenerationOverview) -> str:
    said = (("next", row.generation.current), ("runs", row.runs))
    return ", ".join(word for word, holds in said if holds) or "-"


def _verdict(row: GenerationOverview) -> str:
    if row.test is None:
        return "-"
    first = row.test.reason.partition("\n")[0]
    return f"{row.test.standing}: {first}" if first else str(row.test.standing)


def _document(row: GenerationOverview) -> dict[str, object]:
    test = row.test
    said = {"standing": test.standing, "boot": test.boot, "reason": test.reason} if test else None
    return {
        "generation": row.generation.number,
        "system": row.generation.system.text,
        "made_at": row.generation.made_at,
        "next": row.generation.current,
        "runs": row.runs,
        "test": said,
    }
