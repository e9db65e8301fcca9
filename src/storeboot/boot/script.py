"""iPXE scripts: text made from values, nothing else.

`query` is what a machine has sent to identify itself, encoded for a URL. It is sent again with a
choice. All other text is written so that it has no meaning to iPXE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storeboot.protocol.ipxe import literal, shown
from storeboot.protocol.parameters import Parameter

ATTEMPTS = 10
PAUSE = 5  # seconds
MENU_KEY = "m"
PROMPT_MILLISECONDS = 1000
MENU_SECONDS = 30
UNKNOWN_SECONDS = 120
LEAVE = "leave."  # cannot be the name of a host; selects what the firmware tries next


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a menu; `key` is sent back when it is chosen."""

    key: str
    text: str


def entry_script(url: str, labels: Iterable[str] = ()) -> str:
    """Return the script that every machine starts with: it identifies the machine and continues."""
    said = "".join(f"&label.{name}=${{{name}:uristring}}" for name in labels)
    query = "mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}" + said
    return _retrying(f"chain --autofree --replace {url}/boot?{query} || goto failed")


def boot_script(
    *, url: str, view: str, command_line: str, host: str, menu_query: str | None = None
) -> str:
    """Return the script that boots a host's system. A failure leads to a retry, never to a prompt.

    With `menu_query`, a key pressed in time leads to the menu.
    """
    prompt = (
        f"prompt --key {MENU_KEY} --timeout {PROMPT_MILLISECONDS} "
        f"Press {MENU_KEY} for other generations && "
        f"chain --autofree --replace {url}/menu?{menu_query} ||"
    )
    return _retrying(
        f"echo storeboot: {shown(host)}",
        *([prompt] if menu_query is not None else []),
        "imgfree",
        f"kernel {url}/views/{view}/kernel?host={host} {literal(command_line)} "
        f"{Parameter.BOOTIF.given('01-${netX/mac:hexhyp}')} || goto failed",
        f"initrd --name initrd {url}/views/{view}/initrd?host={host} || goto failed",
        "boot || goto failed",
    )


def menu_script(
    *,
    url: str,
    query: str,
    title: str,
    items: Iterable[Item],
    parameter: str,
    default: str,
    seconds: int,
) -> str:
    """Return a menu of items; `default` is chosen after some seconds, or without a console."""
    lines = [f"item {item.key} {shown(item.text)}" for item in items]
    return _retrying(
        f"set chosen {default}",
        f"menu storeboot: {shown(title)} || goto take",
        *lines,
        f"item {LEAVE} Leave to the firmware",
        f"choose --default {default} --timeout {seconds * 1000} chosen || set chosen {default}",
        ":take",
        f"iseq ${{chosen}} {LEAVE} && exit 1 ||",
        f"chain --autofree --replace {url}/boot?{query}&{parameter}=${{chosen}} || goto failed",
    )


def waiting_script(*, url: str, query: str, reason: str) -> str:
    """Return a script that asks again in a moment: it is not its turn, or the server is busy."""
    return _retrying(
        f"echo storeboot: {shown(reason)}, this one waits for its turn",
        f"sleep {PAUSE}",
        f"chain --autofree --replace {url}/boot?{query} || goto failed",
    )


def refusal_script(reason: str) -> str:
    """Return a script for an unknown machine: it shows the reason, and the firmware carries on."""
    return f"#!ipxe\necho storeboot: {shown(reason)}\nsleep {PAUSE}\nexit 1\n"


def _retrying(*lines: str) -> str:
    body = "\n".join(lines)
    return f"""#!ipxe
set attempt:int32 0
:again
{body}
:failed
inc attempt
iseq ${{attempt}} {ATTEMPTS} && reboot ||
echo storeboot: attempt ${{attempt}} of {ATTEMPTS} failed, again in {PAUSE} seconds
sleep {PAUSE}
goto again
"""
