"""iPXE scripts: text from values, nothing else."""

from __future__ import annotations

ATTEMPTS = 10
PAUSE = 5  # seconds


def entry_script(url: str) -> str:
    """The script that every machine starts with: it says who it is and goes on from there."""
    query = "mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}"
    return _retrying(f"chain --autofree --replace {url}/boot?{query} || goto failed")


def boot_script(*, url: str, view: str, command_line: str, host: str) -> str:
    """Kernel and initrd of a host's system. Failure ends in another try, never at a prompt."""
    return _retrying(
        f"echo storeboot: {host}",
        "imgfree",
        f"kernel {url}/views/{view}/kernel?host={host} {command_line} "
        "BOOTIF=01-${netX/mac:hexhyp} || goto failed",
        f"initrd --name initrd {url}/views/{view}/initrd?host={host} || goto failed",
        "boot || goto failed",
    )


def refusal_script(reason: str) -> str:
    """For a machine that nothing is known of: say why, and let the firmware go on."""
    return f"#!ipxe\necho storeboot: {reason}\nsleep {PAUSE}\nexit 1\n"


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
