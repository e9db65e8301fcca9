"""`storeboot deploy`, `storeboot confirm`, `storeboot rollback` and `storeboot generations`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from storeboot import config
from storeboot.boot.times import clock
from storeboot.cli.health import live_of, server_health
from storeboot.cli.names import (
    complete_generations,
    complete_hosts,
    complete_systems,
    complete_targets,
)
from storeboot.cli.options import config_option, json_option, say, wait_for_server_option
from storeboot.cli.tables import print_table
from storeboot.deploy import actions, overview
from storeboot.deploy.actions import DeployRequest, ProbationRequest, Request, RolloutRequest
from storeboot.deploy.following import follow, require_server
from storeboot.deploy.inventory import Inventory, looked_into, opened
from storeboot.deploy.overview import GenerationOverview
from storeboot.nix.store import StorePath
from storeboot.protocol.orders import Order


@dataclass(frozen=True, slots=True)
class _Options:
    """How a system is deployed to hosts."""

    testing: bool
    timeout: int
    auto_confirm: bool
    batch: int | None
    max_failures: int | None
    reboot: bool
    kexec: bool
    no_wait: bool
    wait_for_server: bool

    @property
    def rolls(self) -> bool:
        limits = (self.batch, self.max_failures)
        return self.reboot or self.kexec or any(limit is not None for limit in limits)

    def check(self) -> None:
        """Raise UsageError for options that do not fit together."""
        if self.rolls and self.testing:
            raise click.UsageError(
                "a rollout tests the system on every machine anyway: leave out --test"
            )
        if self.no_wait and not self.rolls:
            raise click.UsageError(
                "--no-wait needs a rollout: --batch, --max-failures, --reboot or --kexec"
            )
        if self.wait_for_server and not (self.rolls or self.testing):
            raise click.UsageError(
                "--wait-for-server needs --test or a rollout: what is only deployed needs no server"
            )
        if self.reboot and self.kexec:
            raise click.UsageError("--reboot and --kexec exclude each other")

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


@click.command(short_help="Deploy a system to a host or a group.")
@click.argument("target", metavar="HOST|GROUP", shell_complete=complete_targets)
@click.argument("system", shell_complete=complete_systems)
@config_option
@click.option("--test", "testing", is_flag=True,
              help="Test the system in one boot. If it does not reach multi-user, the host reverts "
                   "to its old generation.")  # fmt: skip
@click.option("--timeout", type=click.IntRange(min=10, max=actions.MAX_TEST_SECONDS),
              default=actions.TEST_SECONDS, show_default=True,
              help="Maximum seconds from the beginning of the boot that tests it to "
                   "multi-user.")  # fmt: skip
@click.option("--auto-confirm", is_flag=True,
              help="Keep the generation as soon as its test has passed, without `storeboot "
                   "confirm`.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1, max=actions.MAX_HOSTS),
              help="Roll the system out as machines boot. At most this many test it at the same "
                   "time.")  # fmt: skip
@click.option("--max-failures", type=click.IntRange(min=1, max=actions.MAX_HOSTS),
              help="Stop the rollout when this many machines have failed. Default: 1.",
              )  # fmt: skip
@click.option("--reboot", is_flag=True,
              help="Roll the system out, and ask running machines to reboot.")  # fmt: skip
@click.option("--kexec", is_flag=True,
              help="Roll the system out, and ask running machines to start it by kexec, without "
                   "firmware.",
              )  # fmt: skip
@click.option("--no-wait", is_flag=True,
              help="Do not watch the rollout (see `storeboot rollout`).")  # fmt: skip
@wait_for_server_option
@click.option("--dry-run", is_flag=True,
              help="Judge the system as a deployment does, show what would be done, and do "
                   "nothing.")  # fmt: skip
def deploy(target: str, system: str, config_path: Path, dry_run: bool, **options: Any) -> None:
    """Deploy SYSTEM to HOST, or to every host of GROUP, as a new generation that boots next.

    SYSTEM is a built toplevel in the store, or a link to one, such as ./result. storeboot checks
    and prepares it first. Running machines are left alone; they boot it when they boot again.

    A rollout (--batch, --max-failures, --reboot, --kexec) deploys to a few machines at a time. Each
    tests the system as with --test --auto-confirm. When too many have failed, the rollout stops and
    no other host gets the system.

    A server carries out tests and rollouts. If none is running, they are an error, unless
    --wait-for-server is given.
    """
    chosen = _Options(**options)
    chosen.check()
    open_it = looked_into if dry_run else opened
    with open_it(config.load(config_path)) as inventory:
        request = chosen.request(target, inventory.systems.toplevel(system))
        if not (isinstance(request, DeployRequest) or chosen.wait_for_server):
            require_server(inventory)
        if dry_run:
            _say_changes(inventory, request)
            return
        match request:
            case RolloutRequest():
                begun = actions.roll_out(inventory, request, say, time.time())
                hosts = len(begun.hosts)
                say(f"rollout {begun.id} started: {hosts} hosts, {begun.batch} at a time")
                if not chosen.no_wait:
                    follow(inventory, begun.id, say, server_needed=not chosen.wait_for_server)
            case ProbationRequest():
                actions.test(inventory, request, say)
            case DeployRequest():
                actions.deploy(inventory, request, say)


def _say_changes(inventory: Inventory, request: Request) -> None:
    for change in actions.judge(inventory, request):
        before = change.before or "nothing"
        if change.is_held:
            say(f"{change.host} is held and would still boot {before}")
        else:
            say(f"{change.host} would boot {request.system} instead of {before}")


@click.command(short_help="Keep a generation that has passed its test.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
def confirm(host: str, config_path: Path, dry_run: bool) -> None:
    """Keep the generation that has passed its test on HOST: HOST boots it from now on."""
    with opened(config.load(config_path)) as inventory:
        number = actions.confirm(inventory, host, dry_run=dry_run)
        say(f"{host}: generation {number} {'would boot' if dry_run else 'boots'} next")


@click.command(short_help="Return a host to an older generation.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@click.option("--generation", "number", type=int, shell_complete=complete_generations,
              help="Generation to return to. Default: the one before the next boot's.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
def rollback(host: str, config_path: Path, number: int | None, dry_run: bool) -> None:
    """Make an older generation the next boot of HOST. Newer generations are kept."""
    with opened(config.load(config_path)) as inventory:
        goal = actions.roll_back(inventory, host, number, dry_run=dry_run)
        will = "would be" if dry_run else "is"
        say(f"{host}: generation {goal.number} {will} the next boot: {goal.system}")


@click.command(short_help="List the generations of a host.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@json_option
def generations(host: str, config_path: Path, as_json: bool) -> None:
    """List the generations of HOST, and show which one boots next and which one runs."""
    loaded = config.load(config_path)
    live = live_of(server_health(loaded), time.time())
    with opened(loaded) as inventory:
        rows = overview.generations(inventory, host, live)
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
