"""The boot service, asked over HTTP as firmware, initrd and strangers ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from integration.servers import MAC, make_config
from storeboot.config import HostSection, SettingsSection
from storeboot.protocol.fields import AnswerField, NextField
from storeboot.serve import server
from unit.initrd_scripts import facts


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[server.Server]:
    async with server.running(make_config(tmp_path)) as made:
        yield made


@pytest.fixture
async def http(running: server.Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(running.service.url) as session:
        yield session


def view(running: server.Server) -> str:
    (assignment,) = running.service.inventory.systems.ready.values()
    return assignment.view.view_id


def request(running: server.Server, **changed: str) -> str:
    fields = {"host": "lab1", "view": view(running), "nonce": "a" * 32, "mac": MAC, **changed}
    return "".join(f"{name}={value}\n" for name, value in fields.items())


async def begin(http: aiohttp.ClientSession, body: str) -> dict[str, str]:
    async with http.post("/boots", data=body) as response:
        assert response.status == 200, await response.text()
        lines = (await response.text()).splitlines()
    return dict(line.split("=", 1) for line in lines)


async def test_the_script_boots_the_hosts_system(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    async with http.get("/boot", params={"mac": MAC.replace(":", "-").upper()}) as response:
        text = await response.text()
    assert f"/views/{view(running)}/kernel?host=lab1 initrd=initrd init=/nix/store/" in text
    assert "loglevel=4" in text


async def test_asking_for_a_script_begins_no_boot(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    for _ in range(3):
        async with http.get("/boot", params={"mac": MAC}) as response:
            assert response.status == 200
    assert running.service.boots.latest("lab1") is None


async def test_one_bad_host_does_not_take_the_others_down(tmp_path: Path) -> None:
    good = make_config(tmp_path)
    bad = HostSection(system=f"/nix/store/{'0' * 32}-gone", mac=("52:54:00:00:00:02",))
    config = good.model_copy(update={"hosts": {**good.hosts, "lab2": bad}})
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        async with http.get("/boot", params={"mac": MAC}) as response:
            assert "kernel" in await response.text()
        async with http.get("/boot", params={"mac": "52:54:00:00:00:02"}) as response:
            assert "host lab2 cannot boot: /nix/store/" in await response.text()


async def test_an_unknown_machine_gets_a_script_that_says_so(http: aiohttp.ClientSession) -> None:
    async with http.get("/boot", params={"mac": "52:54:00:00:00:99"}) as response:
        assert "no host has mac 52:54:00:00:00:99" in await response.text()


async def test_kernel_and_initrd_with_head_and_ranges(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    url = f"/views/{view(running)}/kernel"
    async with http.head(url) as response:
        assert response.headers["Content-Length"] == "16384"
    async with http.get(url, headers={"Range": "bytes=256-511"}) as response:
        assert response.status == 206
        assert await response.read() == bytes(range(256))
    async with http.get(f"/views/{view(running)}/initrd") as response:
        assert (await response.read())[:4] == bytes.fromhex("28b52ffd")


@pytest.mark.parametrize(
    "path",
    ["/views/" + "0" * 32 + "/kernel", "/views/../server.key", "/views/x/../../etc/passwd",
     "/server.key", "/nix/store"],
)  # fmt: skip
async def test_nothing_but_files_of_assigned_systems(
    http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(path) as response:
        assert response.status == 404


async def test_the_answer_has_the_fields_of_the_protocol(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    answer = await begin(http, request(running))
    of_pack = {AnswerField.PACK, AnswerField.PACK_SHA256, AnswerField.LEARN_SECONDS}
    settings = answer.keys() & SettingsSection.model_fields.keys()
    assert (answer.keys() | of_pack) - settings == set(AnswerField)
    # What is told of settings is what the machine's scripts read of them.
    read, _ = facts()
    assert settings == read & SettingsSection.model_fields.keys()
    headers = {"Authorization": f"Bearer {answer['key']}"}
    async with http.get(f"/boots/{answer['boot']}/next", headers=headers) as response:
        names = [line.partition("=")[0] for line in (await response.text()).splitlines()]
    assert set(names) == set(NextField)


async def test_a_request_sent_twice_is_one_boot(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    first = await begin(http, request(running))
    assert await begin(http, request(running)) == first


async def test_once_the_machine_goes_on_its_request_is_not_answered_again(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    answer = await begin(http, request(running))
    key = {"Authorization": f"Bearer {answer['key']}"}
    url = f"/boots/{answer['boot']}/events"
    async with http.post(url, params={"stage": "begin"}, data=b"", headers=key) as response:
        assert response.status == 200
    async with http.post("/boots", data=request(running)) as response:
        assert response.status == 409
        assert answer["key"] not in await response.text()


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"host": "lab2"}, 403), ({"mac": "52:54:00:00:00:99"}, 403), ({"view": "0" * 32}, 403),
     ({"nonce": "short"}, 400)],
)  # fmt: skip
async def test_what_a_machine_may_not_begin(
    running: server.Server, http: aiohttp.ClientSession, changed: dict[str, str], status: int
) -> None:
    async with http.post("/boots", data=request(running, **changed)) as response:
        assert response.status == status
        assert response.reason != "Forbidden"


async def test_early_stages_are_recorded_with_the_machines_own_times(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    body = request(running) + "uptime=9.5\nstage=network 4.5\nstage=nonsense 1\n"
    answer = await begin(http, body)
    (event,) = running.service.boots.events_of(answer["boot"])
    assert (event.stage, event.uptime) == ("network", 4.5)
    assert running.service.clock() - event.at == pytest.approx(5, abs=2)


async def test_events_need_the_boots_own_key_and_a_known_stage(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    answer = await begin(http, request(running))
    other = await begin(http, request(running, nonce="b" * 32))
    url = f"/boots/{answer['boot']}/events"
    for headers in ({}, {"Authorization": f"Bearer {other['key']}"}):
        async with http.post(url, params={"stage": "begin"}, data=b"", headers=headers) as response:
            assert response.status == 403
    headers = {"Authorization": f"Bearer {answer['key']}"}
    async with http.post(url, params={"stage": "x"}, data=b"", headers=headers) as response:
        assert response.status == 400
    async with http.post(url, data=b"x" * 70_000, headers=headers) as response:
        assert response.status == 400


async def test_a_report_is_kept_by_its_known_parts_only(
    running: server.Server, http: aiohttp.ClientSession
) -> None:
    answer = await begin(http, request(running))
    headers = {"Authorization": f"Bearer {answer['key']}"}
    for part, status in (("facts", 200), ("..%2f..%2fserver.key", 404), ("other", 404)):
        url = f"/boots/{answer['boot']}/reports/{part}"
        async with http.post(url, data=b"a=b\n", headers=headers) as response:
            assert response.status == status
    assert running.service.state.reports.file(answer["boot"], "facts").read_text() == "a=b\n"


async def test_boots_and_reports_of_one_host_never_grow_without_bound(
    running: server.Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.hosts.records.MAX_BOOTS_PER_HOST", 10)
    answer: dict[str, str] = {}
    for number in range(30):
        answer = await begin(http, request(running, nonce=f"{number:032x}"))
        url = f"/boots/{answer['boot']}/reports/facts"
        headers = {"Authorization": f"Bearer {answer['key']}"}
        async with http.post(url, data=b"a=b\n", headers=headers) as response:
            assert response.status == 200
    assert len(running.service.boots.newest("lab1", 100)) == 10
    reports = list((running.service.state.path / "reports").iterdir())
    assert len(reports) <= 5
    assert running.service.state.reports.file(answer["boot"], "facts").exists()


async def test_events_of_one_host_never_grow_without_bound(
    running: server.Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.hosts.records.MAX_LOOSE_EVENTS", 50)
    for _ in range(300):
        async with http.get("/boot", params={"mac": MAC}) as response:
            await response.read()
    assert len(running.service.boots.events_since("lab1", 0)) <= 50
