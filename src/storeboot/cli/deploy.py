"""`storeboot deploy`, `storeboot rollback` and `storeboot generations`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from storeboot import config
from storeboot.cli.names import complete_hosts, complete_targets
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.rollout import follow
from storeboot.cli.status import running_generation
from storeboot.cli.tables import clock, print_table
from storeboot.deploy.inventory import Inventory, opened
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.hosts.probations import Probation
from storeboot.hosts.rollouts import Rollout
from storeboot.nix.profiles import Generation
from storeboot.nix.store import StorePath
from storeboot.protocol.orders import Order


@click.command(short_help="Give a host, or a group of them, a system to boot from now on.")
@click.argument("target", metavar="HOST|GROUP", shell_complete=complete_targets)
@click.argument("system")
@config_option
@click.option("--test", "testing", is_flag=True,
              help="Let one boot try it: if that does not reach multi-user, the next boot is the "
              "old generation again.")  # fmt: skip
@click.option("--timeout", type=click.IntRange(min=10), default=600, show_default=True,
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
def deploy(
    target: str,
    system: str,
    config_path: Path,
    testing: bool,
    timeout: int,
    auto_confirm: bool,
    batch: int | None,
    max_failures: int | None,
    reboot: bool,
    kexec: bool,
    no_wait: bool,
    dry_run: bool,
) -> None:
    """Make SYSTEM the next boot of HOST, or of every host of GROUP, as a new generation.

    SYSTEM is a built toplevel in the store, or a link to one, such as ./result. It is checked and
    made ready first; machines that run are left alone, and boot it when they boot again.

    A rollout (--batch, --max-failures, --reboot, --kexec) gives it to a few machines at a time.
    Each one tries it as with --test --auto-confirm; when too many have failed, nobody else gets it.
    """
    rolls = reboot or kexec or batch is not None or max_failures is not None
    if rolls and testing:
        raise click.UsageError("a rollout tests the system on every machine: leave out --test")
    if no_wait and not rolls:
        raise click.UsageError("--no-wait goes with a rollout: --batch, --reboot or --kexec")
    if reboot and kexec:
        raise click.UsageError("give either --reboot or --kexec")
    with opened(config.load(config_path)) as inventory:
        toplevel = inventory.systems.toplevel(system)
        hosts = inventory.registry.of(target)
        if dry_run:
            _say_plans(inventory, hosts, toplevel)
        elif rolls:
            word = Order.KEXEC if kexec else Order.RESTART if reboot else None
            rollout = Rollout(
                id=0, target=target, system=toplevel.text, batch=batch or 5,
                max_failures=max_failures or 1, word=word, seconds=timeout, began_at=time.time(),
            )  # fmt: skip
            number = inventory.rollouts.begin(rollout, hosts, say)
            say(f"rollout {number} has begun: {len(hosts)} hosts, {rollout.batch} at a time")
            if not no_wait:
                follow(inventory, number)
        elif testing:
            for host in hosts:
                inventory.deployments.fallback(host, toplevel)
            _require_all(inventory, hosts, toplevel)
            for host in _changeable(inventory, hosts):
                number = inventory.deployments.test(
                    host, toplevel, inventory.url, say, seconds=timeout, confirms=auto_confirm
                )
                say(f"{host.name}: generation {number} is tested by its next boot")
        else:
            _require_all(inventory, hosts, toplevel)
            for host in _changeable(inventory, hosts):
                number = inventory.deployments.deploy(host, toplevel, inventory.url, say)
                say(f"{host.name}: generation {number} is its next boot")


def _require_all(inventory: Inventory, hosts: list[Host], toplevel: StorePath) -> None:
    """Every one of them can boot it, or none is given it."""
    for host in hosts:
        inventory.deployments.prepare(host, toplevel, inventory.url, say)


def _say_plans(inventory: Inventory, hosts: list[Host], toplevel: StorePath) -> None:
    held = inventory.holds.all()
    for host in hosts:
        current = inventory.deployments.current(host.name) or "nothing"
        if host.name in held:
            say(f"{host.name} is held and would go on booting {current}")
        else:
            say(f"{host.name} would boot {toplevel} instead of {current}")


def _changeable(inventory: Inventory, hosts: list[Host]) -> Iterator[Host]:
    """A host that is held is an error by its own name, and left out of a group."""
    for host in hosts:
        try:
            inventory.rollouts.take_over(host.name)
        except StorebootError as error:
            if len(hosts) == 1:
                raise
            say(f"{error.message}: left out")
        else:
            yield host


@click.command(short_help="Keep the generation that has passed its test.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def confirm(host: str, config_path: Path, dry_run: bool) -> None:
    """Make the generation that HOST has tested, and come up with, its next boot from now on."""
    with opened(config.load(config_path)) as inventory:
        known = inventory.registry.require(host)
        if not dry_run:
            inventory.rollouts.take_over(host)
        number = inventory.deployments.confirm(known, dry_run=dry_run)
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
        known = inventory.registry.require(host)
        goal = inventory.deployments.goal(known, number)
        if not dry_run:
            inventory.rollouts.take_over(host)
            inventory.deployments.switch(known, goal)
        will = "would be" if dry_run else "is"
        say(f"{host}: generation {goal.number} {will} its next boot: {goal.system}")


@click.command(short_help="List the generations of a host.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@json_option
def generations(host: str, config_path: Path, as_json: bool) -> None:
    """List every generation of HOST that is kept, and which one it boots next and runs."""
    with opened(config.load(config_path)) as inventory:
        inventory.registry.require(host)
        made = inventory.deployments.generations(host)
        tests = inventory.deployments.probations.of(host)
        runs = running_generation(inventory, made, inventory.boots.latest(host))
    rows = [_Row(each, tests.get(each.number), each == runs) for each in made]
    if as_json:
        click.echo(json.dumps([row.document() for row in rows], indent=2))
        return
    print_table(
        ("GENERATION", "MADE", "", "SYSTEM", "TEST"),
        [
            (str(row.generation.number), clock(row.generation.made_at), row.marks,
             row.generation.system.text, row.verdict)
            for row in rows
        ],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    """A generation as it is shown."""

    generation: Generation
    test: Probation | None
    runs: bool

    @property
    def marks(self) -> str:
        said = (("next", self.generation.current), ("runs", self.runs))
        return ", ".join(word for word, holds in said if holds) or "-"

    @property
    def verdict(self) -> str:
        if self.test is None:
            return "-"
        first = self.test.reason.partition("\n")[0]
        return f"{self.test.standing}: {first}" if first else str(self.test.standing)

    def document(self) -> dict[str, object]:
        test = self.test
        return {
            "generation": self.generation.number,
            "system": self.generation.system.text,
            "made_at": self.generation.made_at,
            "next": self.generation.current,
            "runs": self.runs,
            "test": {"standing": test.standing, "boot": test.boot, "reason": test.reason}
            if test
            else None,
        }
