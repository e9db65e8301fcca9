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
GET  /health                           what could not be written down, and why; on the server itself

Handlers parse, call one method of the service, and render what it returns.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path

import structlog
from aiohttp import web

from storeboot.boot.script import entry_script, refusal_script
from storeboot.boot.timeline import FAILED, NOTES, STAGES
from storeboot.deploy.systems import Assignment
from storeboot.errors import StorebootError
from storeboot.hosts import words
from storeboot.hosts.boots import Boot, Event
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import MAX_WORD, Machine
from storeboot.hosts.records import MAX_DETAIL
from storeboot.pack.builder import hot_files
from storeboot.serve.http.bodies import Bodies, whole
from storeboot.serve.http.gate import Gate
from storeboot.serve.http.reports import receive
from storeboot.serve.threads import BusyError
from storeboot.service.boot_service import BootService, Early, ReplayError
from storeboot.service.scripts import Asked, RefusedError

log = structlog.get_logger()
MAX_EVENT = 64 << 10  # bytes
MAX_BEGIN = 8 << 10
MAX_HOT = 4 << 20
MAX_LABELS = 32
MAKE_SECONDS = 30.0
BEFORE = (
    86_400.0  # seconds; no machine needs longer from its kernel's start to its boot's beginning
)
REPORT_PARTS = frozenset(
    {"mountstats", "hashes", "attributes", "mountstats-after", "agent-log", "failed-units", "facts"}
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE = web.AppKey("service", BootService)
BODIES = web.AppKey("bodies", Bodies)
GATE = web.AppKey("gate", Gate)
_PLAIN_NAME = re.compile(rb"[!-~]+")
_WORD = re.compile(r"[ -~]{0,200}")
_STAGE_NAMES = frozenset(STAGES) | {FAILED, *NOTES}
routes = web.RouteTableDef()


def make_app(service: BootService, gate: Gate) -> web.Application:
    app = web.Application(client_max_size=MAX_HOT, middlewares=[_refusals])
    app[SERVICE] = service
    app[BODIES] = Bodies()
    app[GATE] = gate
    app.add_routes(routes)
    return app


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """busybox's wget shows the status line only, so the reason goes there.

    A machine asks again at 503, and gives up at 403.
    """
    try:
        return await handler(request)
    except RefusedError as error:
        return _refusal(403, str(error))
    except ReplayError as error:
        return _refusal(409, str(error))
    except (BusyError, DatabaseAwayError, TimeoutError) as error:
        log.warning("http.busy", path=request.path, reason=str(error))
        return _refusal(503, str(error) or "the server does not answer in time")


def _refusal(status: int, reason: str) -> web.Response:
    return web.Response(status=status, reason=_one_line(reason), text=f"{reason}\n")


def _one_line(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)[:200]


@routes.get("/boot.ipxe")
async def entry(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    url = service.inventory.url_towards(_local(request))
    return web.Response(text=entry_script(url, await service.ask(service.registry.labels)))


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
        return web.Response(text=await service.scripts.menu(_asked(request), service.clock()))
    except RefusedError as error:
        return web.Response(text=refusal_script(_one_line(str(error))))


def _asked(request: web.Request) -> Asked:
    said = {words.line(name, MAX_WORD): words.line(value, MAX_WORD)
            for name, value in request.query.items()}  # fmt: skip
    labels = [
        f"{name.removeprefix('label.')}={value}"
        for name, value in said.items()
        if name.startswith("label.")
    ][:MAX_LABELS]
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
    return web.FileResponse(await _pack_file(request))


@routes.get("/views/{view}/pack/{name}/hot")
async def hot(request: web.Request) -> web.StreamResponse:
    """Names for a shell to read line by line; others are few, and nothing is asked of them."""
    file = await _pack_file(request)
    files = await request.app[SERVICE].threads.making.run(MAKE_SECONDS, hot_files, file)
    plain = sorted(path for path in files if _PLAIN_NAME.fullmatch(path))
    return web.Response(body=b"".join(path + b"\n" for path in plain))


async def _pack_file(request: web.Request) -> Path:
    service = request.app[SERVICE]
    find = service.inventory.systems.packs.file
    found = await service.ask(find, request.match_info["view"], request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound(reason="there is no such pack")
    return found


@routes.get("/views/{view}/database")
async def database(request: web.Request) -> web.StreamResponse:
    view = (await _assignment(request)).view
    service = request.app[SERVICE]
    try:
        file = await service.threads.making.run(MAKE_SECONDS, service.state.database, view)
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
    if await service.ask(_is_of, service, host, assignment.view.view_id):
        await service.record(Event(host, "server", stage, service.clock()))


def _is_of(service: BootService, host: str, view: str) -> bool:
    """Whether a view is one of a host that is known."""
    known = service.registry.get(host)
    if known is None or known.like is not None:
        return False
    return service.inventory.deployments.has_view(known.profile, view)


@routes.post("/boots")
async def begin(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    fields, early = _read_begin((await whole(request, MAX_BEGIN)).decode(errors="replace"))
    machine = Machine.from_words(
        fields.get("mac", ""), fields.get("uuid", ""), fields.get("serial", "")
    )
    if not re.fullmatch(r"[0-9a-f]{32}", fields.get("nonce", "")):
        raise web.HTTPBadRequest(reason="nonce is not 32 hexadecimal digits")
    boot, host = await service.begin(
        host=fields.get("host", ""),
        view=fields.get("view", ""),
        nonce=fields["nonce"],
        machine=machine,
        address=request.remote or "",
        seal=fields.get("ticket", ""),
        early=early,
    )
    return _lines(await service.answer(boot, host, _local(request)))


def _lines(values: dict[str, str]) -> web.Response:
    return web.Response(text="".join(f"{name}={value}\n" for name, value in values.items()))


def _read_begin(body: str) -> tuple[dict[str, str], list[Early]]:
    """Fields, and stages that were reached before, told with the machine's own clock."""
    fields: dict[str, str] = {}
    reached: dict[str, float] = {}
    for line in body.splitlines():
        name, _, value = line.partition("=")
        if name == "stage":
            stage, _, said = value.partition(" ")
            uptime = words.number(said, BEFORE)
            if uptime is not None and stage in _STAGE_NAMES:
                reached.setdefault(stage, uptime)
        elif _WORD.fullmatch(value):
            fields[name] = value
    now = words.number(fields.get("uptime", ""), BEFORE)
    if now is None:
        return fields, []
    return fields, [Early(stage, at, now - at) for stage, at in reached.items() if at <= now]


@routes.post("/boots/{boot}/events")
async def event(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    boot = await _own_boot(request)
    stage = request.query.get("stage", "")
    if stage not in _STAGE_NAMES:
        raise web.HTTPBadRequest(reason="unknown stage")
    source = "agent" if request.query.get("source") == "agent" else "initrd"
    said = (await whole(request, MAX_EVENT)).decode(errors="replace")
    await service.record(
        Event(
            boot.host, source, stage, service.clock(), boot.id,
            words.number(request.query.get("uptime", "")), words.block(said, MAX_DETAIL),
        )
    )  # fmt: skip
    return web.Response()


@routes.get("/boots/{boot}/ssh-host-key", allow_head=False)
async def ssh_host_key(request: web.Request) -> web.Response:
    boot = await _own_boot(request)
    try:
        key = await request.app[SERVICE].host_key(boot)
    except (StorebootError, OSError) as error:
        reason = error.message if isinstance(error, StorebootError) else str(error)
        log.error("host.no_ssh_key", host=boot.host, reason=reason)
        raise web.HTTPServiceUnavailable(reason="the server cannot make an ssh key") from None
    if key is None:
        raise web.HTTPNotFound(reason="no ssh key is kept for this host")
    return web.Response(text=key)


@routes.get("/boots/{boot}/next", allow_head=False)
async def next_boot(request: web.Request) -> web.Response:
    boot = await _own_boot(request)
    return _lines(await request.app[SERVICE].next_boot(boot, _local(request)))


@routes.post("/boots/{boot}/heartbeat")
async def heartbeat(request: web.Request) -> web.Response:
    """The answer is what the agent is to do, one word, or nothing."""
    boot = _authorised(request)
    await whole(request, MAX_EVENT)
    word = await request.app[SERVICE].heartbeat(boot)
    if word is None:
        raise web.HTTPNotFound(reason="no such boot")
    return web.Response(text=word)


@routes.post("/boots/{boot}/hot")
async def learn(request: web.Request) -> web.Response:
    """As far as a boot is learned from; `known`: the body has what of `pack` is in memory."""
    boot = await _own_boot(request)
    with request.app[BODIES].one_more(request):
        said = set((await whole(request, MAX_HOT)).split(b"\n")) - {b""}
        resident = said if "known" in request.query else None
        await request.app[SERVICE].learn(boot, request.query.get("pack"), resident)
    return web.Response()


@routes.post("/boots/{boot}/reports/{part}")
async def report(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    boot = await _own_boot(request)
    part = request.match_info["part"]
    if part not in REPORT_PARTS:
        raise web.HTTPNotFound(reason="no such part of a report")
    host = await service.ask(service.registry.get, boot.host)
    if host is None or host.like is not None:
        raise web.HTTPForbidden(reason="only known hosts report")
    await receive(service, request.app[BODIES], boot, part, request)
    await service.notify()
    return web.Response()


@routes.get("/health", allow_head=False)
async def health(request: web.Request) -> web.Response:
    """For `storeboot status`, which runs on the same machine."""
    remote = (request.remote or "").removeprefix("::ffff:")
    if remote != _local(request) and not (remote and ip_address(remote).is_loopback):
        raise web.HTTPForbidden(reason="only the server itself is told")
    gate, found = request.app[GATE], await request.app[SERVICE].health()
    http = {"connections": len(gate), "refused": gate.refused, "evicted": gate.evicted}
    return web.json_response({**asdict(found), "http": http})


def _authorised(request: web.Request) -> str:
    """The boot whose key the request has."""
    boot = request.match_info["boot"]
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not request.app[SERVICE].authorised(boot, key):
        raise web.HTTPForbidden(reason="wrong agent key")
    return boot


async def _own_boot(request: web.Request) -> Boot:
    boot = await request.app[SERVICE].boot(_authorised(request))
    if boot is None:
        raise web.HTTPNotFound(reason="no such boot")
    return boot
