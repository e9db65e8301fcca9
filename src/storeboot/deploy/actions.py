"""What commands, or an API, can ask for: deploy a system, test it, roll it out, or roll back.

Each action is one function. It takes a request, reports progress as text to `progress`, and returns
what was done. Errors are StorebootErrors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.hosts.rollouts import Rollout
from storeboot.nix.profiles import Generation
from storeboot.nix.store import StorePath
from storeboot.protocol.orders import Order

Progress = Callable[[str], None]
TEST_SECONDS = 600
MAX_TEST_SECONDS = 86400  # nobody waits longer for a boot
MAX_HOSTS = 1_000_000
BATCH = 5
MAX_FAILURES = 1


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Let a host, or every host of a group, boot a system from now on."""

    target: str  # the name of a host or a group
    system: StorePath


@dataclass(frozen=True, slots=True)
class ProbationRequest:
    """Test a system in one boot of each host, and revert hosts on which it does not come up."""

    target: str
    system: StorePath
    seconds: float = TEST_SECONDS  # from the beginning of that boot to multi-user
    confirms: bool = False  # whether the system is kept without a command once its test has passed


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """Let hosts test a system, a few at a time, until too many have failed."""

    target: str
    system: StorePath
    batch: int = BATCH  # how many machines test it at the same time
    max_failures: int = MAX_FAILURES  # how many failures stop the rollout
    word: Order | None = None  # what running machines are asked to do
    seconds: float = TEST_SECONDS


Request = DeployRequest | ProbationRequest | RolloutRequest


@dataclass(frozen=True, slots=True)
class Deployed:
    """What hosts were given."""

    generations: Mapping[str, int]  # the number of each host's new generation
    left_out: Mapping[str, str]  # hosts of a group that may not be changed, with the reason


@dataclass(frozen=True, slots=True)
class BegunRollout:
    """A rollout that has begun. The server carries it on."""

    id: int
    hosts: tuple[str, ...]
    batch: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a deployment would change for a host."""

    host: str
    before: StorePath | None  # what the host boots next without the deployment
    is_held: bool


def changes(inventory: Inventory, target: str) -> list[Change]:
    """Return what a deployment to a host or group would change. This changes nothing."""
    hosts, held = inventory.registry.of(target), inventory.holds.all()
    current = inventory.deployments.all_current(host.name for host in hosts)
    return [Change(host.name, current[host.name], host.name in held) for host in hosts]


def judge(inventory: Inventory, request: Request) -> list[Change]:
    """Return what a request would change; raise the error with which it would end. Write nothing.

    The judgement takes no locks, so what happens at the same time is not part of it.
    """
    found = changes(inventory, request.target)
    hosts = inventory.registry.of(request.target)
    for host in hosts:
        if isinstance(request, ProbationRequest):
            inventory.tests.fallback(host, request.system)
        inventory.deployments.judge(host, request.system, inventory.url)
    if len(hosts) == 1 and not isinstance(request, RolloutRequest):
        inventory.holds.refuse(hosts[0].name)
    return found


def deploy(inventory: Inventory, request: DeployRequest, progress: Progress) -> Deployed:
    """Deploy a system to hosts, so that it is their next boot; to none unless all can boot it."""
    hosts = inventory.registry.of(request.target)
    _prepare_all(inventory, hosts, request.system, progress)

    def give(host: Host) -> int:
        return inventory.deployments.deploy(host, request.system, inventory.url, progress)

    return _give(inventory, hosts, give, "generation {} boots next", progress)


def test(inventory: Inventory, request: ProbationRequest, progress: Progress) -> Deployed:
    """Test a system in one boot of each host; of none unless all can boot it and can go back."""
    hosts = inventory.registry.of(request.target)
    for host in hosts:
        inventory.tests.fallback(host, request.system)
    _prepare_all(inventory, hosts, request.system, progress)

    def give(host: Host) -> int:
        return inventory.tests.begin(
            host, request.system, inventory.url, progress,
            seconds=request.seconds, confirms=request.confirms,
        )  # fmt: skip

    return _give(inventory, hosts, give, "the next boot tests generation {}", progress)


def roll_out(
    inventory: Inventory, request: RolloutRequest, progress: Progress, now: float
) -> BegunRollout:
    """Begin a rollout. It does not begin unless each of the hosts can boot the system."""
    hosts = inventory.registry.of(request.target)
    rollout = Rollout(
        id=0, target=request.target, system=request.system.text, batch=request.batch,
        max_failures=request.max_failures, word=request.word, seconds=request.seconds,
        began_at=now,
    )  # fmt: skip
    number = inventory.rollouts.begin(rollout, hosts, progress)
    return BegunRollout(number, tuple(host.name for host in hosts), request.batch)


def confirm(inventory: Inventory, host: str, *, dry_run: bool = False) -> int:
    """Keep the generation that a host has tested, as its next boot from now on; return its
    number."""
    known = inventory.registry.require(host)
    if not dry_run:
        inventory.rollouts.take_over(host)
    return inventory.tests.confirm(known, dry_run=dry_run)


def roll_back(
    inventory: Inventory, host: str, number: int | None = None, *, dry_run: bool = False
) -> Generation:
    """Make an older generation a host's next boot, and return it.

    Default: the generation before the current one.
    """
    known = inventory.registry.require(host)
    goal = inventory.deployments.goal(known, number)
    if not dry_run:
        inventory.rollouts.take_over(host)
        inventory.deployments.switch(known, goal)
    return goal


def _prepare_all(
    inventory: Inventory, hosts: list[Host], system: StorePath, progress: Progress
) -> None:
    for host in hosts:
        inventory.deployments.prepare(host, system, inventory.url, progress)


def _give(
    inventory: Inventory,
    hosts: list[Host],
    give: Callable[[Host], int],
    words: str,
    progress: Progress,
) -> Deployed:
    """Give each host a generation with `give`; return the generations and the hosts left out.

    A host that is held is left out; it is an error if no other host is left. `words` say what was
    done, with `{}` for the number of the generation.
    """
    generations: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for host in hosts:
        try:
            inventory.rollouts.take_over(host.name)
        except StorebootError as error:
            if len(hosts) == 1:
                raise
            progress(f"{error.message}: skipped")
            left_out[host.name] = error.message
            continue
        generations[host.name] = give(host)
        progress(f"{host.name}: {words.format(generations[host.name])}")
    if not generations:
        raise StorebootError(
            f"no host got the system: all {len(hosts)} of them are held", "see storeboot release"
        )
    return Deployed(generations, left_out)
