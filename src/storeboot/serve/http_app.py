"""The boot service over HTTP.

GET  /boot.ipxe                        the script that finds out who a machine is
GET  /boot?mac=&uuid=&serial=&label.*= a host's boot script; &choice= of its menu; &like= a host
GET  /menu?…                           the host's menu of generations and specialisations
GET  /firmware/PROGRAM                 iPXE, for UEFI HTTP boot
GET  /views/VIEW/kernel|initrd         files of assigned systems
GET  /views/VIEW/pack/NAME             a pack of it
GET  /views/VIEW/pack/NAME/hot         the files that the pack has with their data
GET  /views/VIEW/database|registration|paths    what Nix on the machine needs
POST /boots                            a boot begins: key=value lines in and out
GET  /boots/BOOT/ssh-host-key          the host's ssh key, for the boot's own agent key
GET  /boots/BOOT/next                  what a running machine boots next, for kexec
POST /boots/BOOT/hot?pack=&known=      it may be learned from the boot, and has this in memory
POST /boots/BOOT/events|heartbeat|reports/PART   the machine's own words, with its agent key
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog
from aiohttp import web

from storeboot.boot.script import entry_script, refusal_script
from storeboot.boot.timeline import FAILED, NOTES, STAGES
from storeboot.deploy.systems import Assignment
from storeboot.errors import StorebootError
from storeboot.hosts.boots import Boot, Event
from storeboot.hosts.host import Machine
from storeboot.pack.builder import hot_files
from storeboot.serve.boot_service import BootService
from storeboot.serve.scripts import Asked, RefusedError

log = structlog.get_logger()
MAX_EVENT = 64 << 10  # bytes
MAX_BEGIN = 8 << 10
MAX_HOT = 4 << 20
MAX_WORD = 255  # characters of what a machine says of itself
MAX_REPORT = 32 << 20
REPORTS_PER_HOST = 4
REPORT_PARTS = frozenset(
    {"mountstats", "hashes", "attributes", "mountstats-after", "agent-log", "failed-units", "facts"}
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE = web.AppKey("service", BootService)
_PLAIN_NAME = re.compile(rb"[!-~]+")
_WORD = re.compile(r"[ -~]{0,200}")
_STAGE_NAMES = frozenset(STAGES) | {FAILED, *NOTES}
routes = web.RouteTableDef()


def make_app(service: BootService) -> web.Application:
    app = web.Application(client_max_size=MAX_REPORT, middlewares=[_refusals])
    app[SERVICE] = service
    app.add_routes(routes)
    return app


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """busybox's wget shows the status line only, so the reason goes there."""
    try:
        return await handler(request)
    except RefusedError as error:
        return web.Response(status=403, reason=_one_line(str(error)), text=f"{error}\n")


def _one_line(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)[:200]


@routes.get("/boot.ipxe")
async def entry(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    url = service.inventory.url_towards(_local(request))
    return web.Response(text=entry_script(url, service.registry.labels()))


def _local(request: web.Request) -> str:
    """The server's own address of this connection."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return str(name[0]).removeprefix("::ffff:") if name else ""


@routes.get("/boot")
async def boot_script(request: web.Request) -> web.Response:
    """Pure but for a line in the timeline of a machine that is known."""
    service = request.app[SERVICE]
    now = service.clock()
    try:
        answer = await service.scripts.answer(_asked(request), now)
    except RefusedError as error:
        return web.Response(text=refusal_script(_one_line(str(error))))
    # Of a machine that is made up from what a stranger says, nothing is written before it boots.
    if answer.host is not None and answer.host.like is None:
        await service.record(Event(answer.host.name, "server", "script", now))
    return web.Response(text=answer.text)


@routes.get("/menu")
async def menu(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    try:
        return web.Response(text=service.scripts.menu(_asked(request), service.clock()))
    except RefusedError as error:
        return web.Response(text=refusal_script(_one_line(str(error))))


def _asked(request: web.Request) -> Asked:
    said = {name: value.replace("\0", "")[:MAX_WORD] for name, value in request.query.items()}
    labels = (
        f"{name.removeprefix('label.')}={value}"
        for name, value in said.items()
        if name.startswith("label.")
    )
    machine = Machine.from_words(
        said.get("mac", ""), said.get("uuid", ""), said.get("serial", ""), labels
    )
    waited = said.get("waited", "")
    return Asked(
        machine=machine,
        address=request.remote or "",
        local=_local(request),
        choice=said.get("choice", ""),
        like=said.get("like", ""),
        waited=int(waited) if re.fullmatch(r"[0-9]{1,4}", waited) else 0,
    )


@routes.get("/firmware/{program}")
async def firmware(request: web.Request) -> web.StreamResponse:
    """For UEFI HTTP boot; the same programs that others fetch by TFTP."""
    file = request.app[SERVICE].programs.get(request.match_info["program"])
    if file is None:
        raise web.HTTPNotFound(reason="there is no such program")
    return web.FileResponse(file)


@routes.get("/views/{view}/kernel")
async def kernel(request: web.Request) -> web.StreamResponse:
    assignment = await _assignment(request)
    await _fetched(request, "kernel", assignment)
    return web.FileResponse(assignment.system.kernel)


@routes.get("/views/{view}/initrd")
async def initrd(request: web.Request) -> web.StreamResponse:
    assignment = await _assignment(request, _named_host(request))
    await _fetched(request, "initrd", assignment)
    return web.FileResponse(assignment.initrd.path)


@routes.get("/views/{view}/pack/{name}")
async def pack(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(_pack_file(request))


@routes.get("/views/{view}/pack/{name}/hot")
async def hot(request: web.Request) -> web.StreamResponse:
    """Names for a shell to read line by line; others are few, and nothing is asked of them."""
    files = await asyncio.to_thread(hot_files, _pack_file(request))
    plain = sorted(path for path in files if _PLAIN_NAME.fullmatch(path))
    return web.Response(body=b"".join(path + b"\n" for path in plain))


def _pack_file(request: web.Request) -> Path:
    packs = request.app[SERVICE].inventory.systems.packs
    found = packs.file(request.match_info["view"], request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound(reason="there is no such pack")
    return found


@routes.get("/views/{view}/database")
async def database(request: web.Request) -> web.StreamResponse:
    view = (await _assignment(request)).view
    try:
        file = await asyncio.to_thread(request.app[SERVICE].state.database, view)
    except (StorebootError, OSError) as error:
        log.error("nix.no_database", view=view.view_id, reason=str(error))
        raise web.HTTPServiceUnavailable(reason="the server cannot make the database") from None
    return web.FileResponse(file)


@routes.get("/views/{view}/registration")
async def registration(request: web.Request) -> web.Response:
    return web.Response(text=(await _assignment(request)).view.registration)


@routes.get("/views/{view}/paths")
async def paths(request: web.Request) -> web.Response:
    assignment = await _assignment(request)
    return web.Response(text="".join(path + "\n" for path in assignment.view.paths))


async def _assignment(request: web.Request, host: str | None = None) -> Assignment:
    assignment = await request.app[SERVICE].by_view(request.match_info["view"], host)
    if assignment is None:
        raise web.HTTPNotFound(reason="this view is not kept")
    return assignment


def _named_host(request: web.Request) -> str:
    return request.query.get("host", "").replace("\0", "")


async def _fetched(request: web.Request, stage: str, assignment: Assignment) -> None:
    """Which host fetched a file is told by the script, which names it."""
    service = request.app[SERVICE]
    host = _named_host(request)
    if request.method != "GET":
        return
    known = service.registry.get(host)
    if known is None or known.like is not None:
        return
    if service.inventory.deployments.has_view(known.profile, assignment.view.view_id):
        await service.record(Event(host, "server", stage, service.clock()))


@routes.post("/boots")
async def begin(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    fields, early = _read_begin(await _body(request, MAX_BEGIN))
    machine = Machine.from_words(
        fields.get("mac", ""), fields.get("uuid", ""), fields.get("serial", "")
    )
    if not re.fullmatch(r"[0-9a-f]{32}", fields.get("nonce", "")):
        raise web.HTTPBadRequest(reason="nonce is not 32 hexadecimal digits")
    # In a thread: a garbage collection may hold the lock for a moment.
    boot = await asyncio.to_thread(
        service.begin,
        host_name=fields.get("host", ""),
        view=fields.get("view", ""),
        nonce=fields["nonce"],
        machine=machine,
        address=request.remote or "",
        seal=fields.get("ticket", ""),
    )
    if service.is_replay(boot):
        raise web.HTTPConflict(reason="this boot has begun already")
    await service.forget_reads(boot.address)
    with suppress(ValueError):
        await _record_early(service, boot, early, float(fields.get("uptime", "0")))
    return _lines(service.answer(boot, _local(request)))


def _lines(values: dict[str, str]) -> web.Response:
    return web.Response(text="".join(f"{name}={value}\n" for name, value in values.items()))


async def _record_early(
    service: BootService, boot: Boot, early: list[tuple[str, float]], uptime: float
) -> None:
    """Stages that were reached before the boot began, told with the machine's own clock."""
    known = {event.stage for event in service.boots.events_of(boot.id)}
    for stage, reached in early:
        if stage in _STAGE_NAMES and stage not in known:
            at = service.clock() - max(0.0, uptime - reached)
            await service.record(Event(boot.host, "server", stage, at, boot.id, reached))


def _read_begin(body: str) -> tuple[dict[str, str], list[tuple[str, float]]]:
    fields: dict[str, str] = {}
    early: list[tuple[str, float]] = []
    for line in body.splitlines():
        name, _, value = line.partition("=")
        if name == "stage":
            stage, _, uptime = value.partition(" ")
            with suppress(ValueError):
                early.append((stage, float(uptime)))
        elif _WORD.fullmatch(value):
            fields[name] = value
    return fields, early[: len(STAGES)]


@routes.post("/boots/{boot}/events")
async def event(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    boot = _own_boot(request)
    stage = request.query.get("stage", "")
    if stage not in _STAGE_NAMES:
        raise web.HTTPBadRequest(reason="unknown stage")
    source = "agent" if request.query.get("source") == "agent" else "initrd"
    detail = await _body(request, MAX_EVENT)
    uptime = None
    with suppress(ValueError):
        uptime = float(request.query.get("uptime", ""))
    now = service.clock()
    await service.record(Event(boot.host, source, stage, now, boot.id, uptime, detail))
    return web.Response()


@routes.get("/boots/{boot}/ssh-host-key", allow_head=False)
async def ssh_host_key(request: web.Request) -> web.Response:
    boot = _own_boot(request)
    try:
        key = await asyncio.to_thread(request.app[SERVICE].host_key, boot)
    except StorebootError as error:
        log.error("host.no_ssh_key", host=boot.host, reason=error.message, hint=error.hint)
        raise web.HTTPServiceUnavailable(reason="the server cannot make an ssh key") from None
    if key is None:
        raise web.HTTPNotFound(reason="no ssh key is kept for this host")
    return web.Response(text=key)


@routes.get("/boots/{boot}/next", allow_head=False)
async def next_boot(request: web.Request) -> web.Response:
    return _lines(await request.app[SERVICE].next_boot(_own_boot(request), _local(request)))


@routes.post("/boots/{boot}/heartbeat")
async def heartbeat(request: web.Request) -> web.Response:
    """The answer is what the agent is to do, one word, or nothing."""
    service = request.app[SERVICE]
    boot = _own_boot(request)
    await _body(request, MAX_EVENT)
    service.boots.touch(boot.id, service.clock())
    service.scripts.moves(boot.host, service.clock())
    await service.notify()
    return web.Response(text=service.inventory.orders.take(boot.id))


@routes.post("/boots/{boot}/hot")
async def learn(request: web.Request) -> web.Response:
    """As far as a boot is learned from; `known`: the body has what of `pack` is in memory."""
    boot = _own_boot(request)
    lines = (await _body(request, MAX_HOT)).splitlines()
    resident = {os.fsencode(line) for line in lines} if "known" in request.query else None
    await request.app[SERVICE].learn(boot, request.query.get("pack"), resident)
    return web.Response()


@routes.post("/boots/{boot}/reports/{part}")
async def report(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    boot = _own_boot(request)
    part = request.match_info["part"]
    if part not in REPORT_PARTS:
        raise web.HTTPNotFound(reason="no such part of a report")
    host = service.registry.get(boot.host)
    if host is None or host.like is not None:
        raise web.HTTPForbidden(reason="only known hosts report")
    data = await request.read()
    newest = service.boots.newest(boot.host, REPORTS_PER_HOST)
    if boot.id not in newest:
        raise web.HTTPConflict(reason="other boots of this host were heard of since")
    service.state.keep_reports(boot.host, newest)
    service.state.save_report(boot.host, boot.id, part, data)
    await service.notify()
    return web.Response()


def _own_boot(request: web.Request) -> Boot:
    service = request.app[SERVICE]
    boot_id = request.match_info["boot"]
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not service.authorised(boot_id, key):
        raise web.HTTPForbidden(reason="wrong agent key")
    boot = service.boots.get(boot_id)
    if boot is None:
        raise web.HTTPNotFound(reason="no such boot")
    return boot


async def _body(request: web.Request, limit: int) -> str:
    if request.content_length is None or request.content_length > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    # Without the one character that PostgreSQL refuses.
    return (
        (await request.read()).decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
