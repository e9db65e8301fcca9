"""The boot service over HTTP.

GET  /boot.ipxe                        the script that identifies a machine
GET  /boot?mac=&uuid=&serial=&label.*= a host's boot script; &choice= in its menu; &like= a host
GET  /menu?…                           the host's menu of generations and specialisations
GET  /firmware/PROGRAM                 iPXE, for UEFI HTTP boot
GET  /views/VIEW/kernel|initrd         files of prepared systems
GET  /views/VIEW/pack/NAME             a pack of the view
GET  /views/VIEW/pack/NAME/hot         the files whose data the pack has
GET  /views/VIEW/database|registration|paths    what Nix on the machine needs
POST /boots                            a boot begins: key=value lines in and out
GET  /boots/BOOT/ssh-host-key          the host's ssh key, for the boot's own agent key
GET  /boots/BOOT/next                  what a running machine boots next, for kexec
POST /boots/BOOT/hot?pack=&known=      learn from this boot; the body lists files in its memory
POST /boots/BOOT/events|heartbeat|reports/PART   what the machine reports, with its agent key
GET  /health                           what could not be recorded, and why; for the server itself

Handlers parse, call one method of the service, and render what it returns. They check an agent key
first, and read no body without it.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from storeboot.boot.script import refusal_script
from storeboot.hosts import words
from storeboot.hosts.boot import Boot
from storeboot.hosts.host import MAX_WORD, Machine
from storeboot.hosts.records import MAX_DETAIL
from storeboot.protocol.fields import BeginField
from storeboot.protocol.reports import ReportPart
from storeboot.protocol.stages import SAYABLE, Source, Stage
from storeboot.serve.http.bodies import Bodies, Body, whole
from storeboot.serve.http.gate import Gate
from storeboot.serve.http.sending import SentFile
from storeboot.serve.http.statuses import one_line, refusals
from storeboot.service.asked import Asked, Beginning, Early
from storeboot.service.boot_service import BootService
from storeboot.service.fetching import Fetch
from storeboot.service.refusals import RefusedError

MAX_EVENT = 64 << 10  # bytes
MAX_BEGIN = 8 << 10
MAX_HOT = 4 << 20
MAX_LABELS = 32
# Seconds; no machine needs longer from its kernel's start to its boot's beginning.
BEFORE = 86_400.0
SERVICE = web.AppKey("service", BootService)
BODIES = web.AppKey("bodies", Bodies)
GATE = web.AppKey("gate", Gate)
NOT_KEPT = "this view is no longer kept"
NO_PACK = "there is no such pack"
_PLAIN_NAME = re.compile(rb"[!-~]+")
_WORD = re.compile(r"[ -~]{0,200}")
routes = web.RouteTableDef()


def make_app(service: BootService, gate: Gate) -> web.Application:
    app = web.Application(client_max_size=MAX_HOT, middlewares=[refusals])
    app[SERVICE] = service
    app[BODIES] = Bodies()
    app[GATE] = gate
    app.add_routes(routes)
    return app


@routes.get("/boot.ipxe")
async def entry(request: web.Request) -> web.Response:
    return web.Response(text=await request.app[SERVICE].entry_script(_local(request)))


def _local(request: web.Request) -> str:
    """Return the server's own address of this connection."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return str(name[0]).removeprefix("::ffff:") if name else ""


@routes.get("/boot")
async def boot_script(request: web.Request) -> web.Response:
    try:
        text = await request.app[SERVICE].boot_script(_asked(request))
    except RefusedError as error:
        text = refusal_script(one_line(str(error)))
    return web.Response(text=text)


@routes.get("/menu")
async def menu(request: web.Request) -> web.Response:
    try:
        text = await request.app[SERVICE].menu(_asked(request))
    except RefusedError as error:
        text = refusal_script(one_line(str(error)))
    return web.Response(text=text)


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
    """Send an iPXE program for UEFI HTTP boot; other firmware fetches the same programs by TFTP."""
    file = request.app[SERVICE].program(request.match_info["program"])
    return _file(file, "there is no such program")


@routes.get("/views/{view}/kernel")
async def kernel(request: web.Request) -> web.StreamResponse:
    view, address = request.match_info["view"], request.remote or ""
    return _sent(request, await request.app[SERVICE].kernel(view, address), Stage.KERNEL)


@routes.get("/views/{view}/initrd")
async def initrd(request: web.Request) -> web.StreamResponse:
    view, address = request.match_info["view"], request.remote or ""
    file = await request.app[SERVICE].initrd(view, _named_host(request), address)
    return _sent(request, file, Stage.INITRD)


def _sent(request: web.Request, file: Path | None, stage: str) -> web.FileResponse:
    """Send a file of a view and follow it to its last byte; HEAD only asks about it."""
    if file is None or request.method != "GET":
        return _file(file, NOT_KEPT)
    fetch = Fetch(
        view=request.match_info["view"],
        host=_named_host(request),
        stage=stage,
        file=file,
        address=(request.remote or "").removeprefix("::ffff:"),
        is_anew=request.headers.get("Range", "bytes=0-") == "bytes=0-",
    )
    return SentFile(file, partial(request.app[SERVICE].sends, fetch))


@routes.get("/views/{view}/pack/{name}")
async def pack(request: web.Request) -> web.StreamResponse:
    file = await request.app[SERVICE].pack(request.match_info["view"], request.match_info["name"])
    return _file(file, NO_PACK)


@routes.get("/views/{view}/pack/{name}/hot")
async def hot(request: web.Request) -> web.StreamResponse:
    """Send the names of a pack's hot files, one per line, for a shell.

    The few names with blanks or special characters are left out; the shell does not need them.
    """
    view, name = request.match_info["view"], request.match_info["name"]
    files = await request.app[SERVICE].hot_files(view, name)
    if files is None:
        raise web.HTTPNotFound(reason=NO_PACK)
    plain = sorted(path for path in files if _PLAIN_NAME.fullmatch(path))
    return web.Response(body=b"".join(path + b"\n" for path in plain))


@routes.get("/views/{view}/database")
async def database(request: web.Request) -> web.StreamResponse:
    return _file(await request.app[SERVICE].database(request.match_info["view"]), NOT_KEPT)


@routes.get("/views/{view}/registration")
async def registration(request: web.Request) -> web.Response:
    text = await request.app[SERVICE].registration(request.match_info["view"])
    if text is None:
        raise web.HTTPNotFound(reason=NOT_KEPT)
    return web.Response(text=text)


@routes.get("/views/{view}/paths")
async def paths(request: web.Request) -> web.Response:
    found = await request.app[SERVICE].paths(request.match_info["view"])
    if found is None:
        raise web.HTTPNotFound(reason=NOT_KEPT)
    return web.Response(text="".join(path + "\n" for path in found))


def _file(file: Path | None, missing: str) -> web.FileResponse:
    if file is None:
        raise web.HTTPNotFound(reason=missing)
    return web.FileResponse(file)


def _named_host(request: web.Request) -> str:
    return request.query.get("host", "").replace("\0", "")


@routes.post("/boots")
async def begin(request: web.Request) -> web.Response:
    fields, early = _read_begin((await whole(request, MAX_BEGIN)).decode(errors="replace"))
    machine = Machine.from_words(
        fields.get(BeginField.MAC, ""),
        fields.get(BeginField.UUID, ""),
        fields.get(BeginField.SERIAL, ""),
    )
    if not re.fullmatch(r"[0-9a-f]{32}", fields.get(BeginField.NONCE, "")):
        raise web.HTTPBadRequest(reason="nonce is not 32 hexadecimal digits")
    answer = await request.app[SERVICE].begin(
        Beginning(
            host=fields.get(BeginField.HOST, ""),
            view=fields.get(BeginField.VIEW, ""),
            nonce=fields[BeginField.NONCE],
            machine=machine,
            address=request.remote or "",
            local=_local(request),
            ticket=fields.get(BeginField.TICKET, ""),
            early=early,
        )
    )
    return _lines(answer)


def _lines(values: dict[str, str]) -> web.Response:
    return web.Response(text="".join(f"{name}={value}\n" for name, value in values.items()))


def _read_begin(body: str) -> tuple[dict[str, str], list[Early]]:
    """Return the fields of a body, and the stages that the machine passed before its boot began.

    The machine's own clock times these stages.
    """
    fields: dict[str, str] = {}
    reached: dict[str, float] = {}
    for line in body.splitlines():
        name, _, value = line.partition("=")
        if name == BeginField.STAGE:
            stage, _, said = value.partition(" ")
            uptime = words.number(said, BEFORE)
            if uptime is not None and stage in SAYABLE:
                reached.setdefault(stage, uptime)
        elif _WORD.fullmatch(value):
            fields[name] = value
    now = words.number(fields.get(BeginField.UPTIME, ""), BEFORE)
    if now is None:
        return fields, []
    return fields, [Early(stage, at, now - at) for stage, at in reached.items() if at <= now]


@routes.post("/boots/{boot}/events")
async def event(request: web.Request) -> web.Response:
    boot = await _own_boot(request)
    stage = request.query.get("stage", "")
    if stage not in SAYABLE:
        raise web.HTTPBadRequest(reason="unknown stage")
    source = Source.AGENT if request.query.get("source") == Source.AGENT else Source.INITRD
    said = (await whole(request, MAX_EVENT)).decode(errors="replace")
    uptime, detail = words.number(request.query.get("uptime", "")), words.block(said, MAX_DETAIL)
    await request.app[SERVICE].event(boot, source, stage, uptime, detail)
    return web.Response()


@routes.get("/boots/{boot}/ssh-host-key", allow_head=False)
async def ssh_host_key(request: web.Request) -> web.Response:
    key = await request.app[SERVICE].host_key(await _own_boot(request))
    if key is None:
        raise web.HTTPNotFound(reason="no ssh key is kept for this host")
    return web.Response(text=key)


@routes.get("/boots/{boot}/next", allow_head=False)
async def next_boot(request: web.Request) -> web.Response:
    boot = await _own_boot(request)
    return _lines(await request.app[SERVICE].next_boot(boot, _local(request)))


@routes.post("/boots/{boot}/heartbeat")
async def heartbeat(request: web.Request) -> web.Response:
    """Answer with the order for the agent, one word, or with nothing."""
    boot = _authorised(request)
    await whole(request, MAX_EVENT)
    word = await request.app[SERVICE].heartbeat(boot)
    if word is None:
        raise web.HTTPNotFound(reason="no such boot")
    return web.Response(text=word)


@routes.post("/boots/{boot}/hot")
async def learn(request: web.Request) -> web.Response:
    """Learn from a boot. With `known`, the body lists the files of `pack` that are in memory."""
    boot = await _own_boot(request)
    with request.app[BODIES].one_more(request):
        said = set((await whole(request, MAX_HOT)).split(b"\n")) - {b""}
        resident = said if "known" in request.query else None
        await request.app[SERVICE].learn(boot, request.query.get("pack"), resident)
    return web.Response()


@routes.post("/boots/{boot}/reports/{part}")
async def report(request: web.Request) -> web.Response:
    boot = await _own_boot(request)
    part = request.match_info["part"]
    if part not in frozenset(ReportPart):
        raise web.HTTPNotFound(reason="no such part of a report")
    await request.app[SERVICE].report(boot, part, Body(request, request.app[BODIES]))
    return web.Response()


@routes.get("/health", allow_head=False)
async def health(request: web.Request) -> web.Response:
    """Report the server's health to `storeboot status`, which runs on the same machine."""
    remote = (request.remote or "").removeprefix("::ffff:")
    if remote != _local(request) and not (remote and ip_address(remote).is_loopback):
        raise web.HTTPForbidden(reason="only the server's own machine may ask")
    gate, found = request.app[GATE], await request.app[SERVICE].health()
    http = {"connections": len(gate), "refused": gate.refused, "evicted": gate.evicted}
    return web.json_response({**asdict(found), "http": http})


def _authorised(request: web.Request) -> str:
    """Return the boot whose agent key the request has; raise HTTPForbidden if it has none."""
    boot = request.match_info["boot"]
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not request.app[SERVICE].is_agent(boot, key):
        raise web.HTTPForbidden(reason="wrong agent key")
    return boot


async def _own_boot(request: web.Request) -> Boot:
    boot = await request.app[SERVICE].boot(_authorised(request))
    if boot is None:
        raise web.HTTPNotFound(reason="no such boot")
    return boot
