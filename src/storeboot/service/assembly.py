"""Puts the boot service together. Each part gets everything it needs when it is created."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from storeboot.deploy.unrecorded import UnrecordedViews
from storeboot.hosts.recorder import Recorder
from storeboot.service.alias import Alias
from storeboot.service.answers import Answers
from storeboot.service.assignments import Assignments
from storeboot.service.beginning import Beginnings
from storeboot.service.bookkeeping import Bookkeeping
from storeboot.service.boot_service import BootService
from storeboot.service.current import Current
from storeboot.service.decisions import Decisions, DeploymentDecider, RolloutDecider
from storeboot.service.fetching import Fetching
from storeboot.service.happenings import Happenings, Journal
from storeboot.service.ipxe import IpxePrograms
from storeboot.service.known_boots import KnownBoots
from storeboot.service.late import LateRecords
from storeboot.service.learning import Learning
from storeboot.service.leasing import Leasing
from storeboot.service.native import NativeBoots, NativeWatch
from storeboot.service.reading import StoreReads
from storeboot.service.refusing import Refusing
from storeboot.service.reporting import Reporting
from storeboot.service.rounds import Rounds
from storeboot.service.scripts import Scripts
from storeboot.service.settling import Settling
from storeboot.service.turns import Turns
from storeboot.service.upkeep import Upkeep
from storeboot.service.view_files import ViewFiles
from storeboot.service.waits import Changes
from storeboot.service.work import Work


def make_service(
    current: Current,
    work: Work,
    native: NativeBoots,
    programs: IpxePrograms,
    *,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    reads: Callable[[str], Awaitable[set[bytes]]],
    silence: Callable[[str], Awaitable[float | None]],
    peers: Callable[[], Collection[str]],
) -> BootService:
    """Create the boot service of a server.

    `clock` returns seconds since 1970; `monotonic` returns seconds of a clock that is never set.
    `reads` returns the files that an address has read over NFS since the last call, `silence` for
    how many seconds a machine that has mounted has acknowledged nothing, and `peers` the addresses
    that hold an NFS connection.
    """
    late, changed, rounds = LateRecords(), Changes(), Rounds()
    turns = Turns(lambda: current.inventory.config.boots.at_once)
    state = current.inventory.state
    recorder = Recorder(work.database, UnrecordedViews(state.path), lambda: set(peers()), late.note)
    known = KnownBoots(current, recorder)
    deciders = (RolloutDecider(current), DeploymentDecider(current))
    decisions = Decisions(deciders, late, known.host_of)
    books = Bookkeeping(recorder, known, late, decisions, work, monotonic)
    store_reads = StoreReads(reads)
    watch = NativeWatch(
        native,
        store_reads.of,
        lambda host: work.ask(current.inventory.registry.get, host),
        lambda host, since: work.ask(known.has_spoken, host, since),
        silence,
    )
    happenings = Happenings([turns, watch, books, Journal(), changed, rounds])
    assignments, alias = Assignments(current, work), Alias(current, work)
    settling = Settling(recorder, late, decisions)
    leasing = Leasing(current, known)
    refusing = Refusing(current, work)
    return BootService(
        clock=clock,
        current=current,
        work=work,
        turns=turns,
        books=books,
        known=known,
        happenings=happenings,
        changed=changed,
        rounds=rounds,
        scripts=Scripts(current, work, turns, assignments, alias, known.latest),
        files=ViewFiles(current, work, assignments),
        fetching=Fetching(current, work, happenings, alias, known, native),
        programs=programs,
        beginnings=Beginnings(work, leasing, known, books, happenings, store_reads),
        answers=Answers(current, work, assignments),
        native=watch,
        learning=Learning(current, work, known, store_reads),
        reporting=Reporting(current, work, state.reports),
        refusing=refusing,
        upkeep=Upkeep(current, work, books, settling, changed, known, refusing, clock()),
    )
