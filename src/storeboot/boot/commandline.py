"""The kernel command line of a boot, within the length limit of kernels."""

from __future__ import annotations

from storeboot.errors import BootError
from storeboot.protocol.parameters import RESERVED, Parameter

# x86 cuts the line at COMMAND_LINE_SIZE, 2,048 with the final zero; arm64 has the same limit.
MAX_BYTES = 2047
TICKET_DIGITS = 16
# Added for each boot: the boot NIC, by iPXE, and the ticket.
_ADDED = (
    Parameter.BOOTIF.given("01-00-00-00-00-00-00"),
    Parameter.TICKET.given("0" * TICKET_DIGITS),
)
BOOTIF_ROOM = sum(len(f" {added}") for added in _ADDED)
KEXEC_ROOM = BOOTIF_ROOM + 200  # also the machine's address, as Parameter.LEASE


def command_line(
    *,
    init: str,
    url: str,
    host: str,
    view: str,
    hostname: str,
    machine_id: str,
    system_params: tuple[str, ...],
    host_params: tuple[str, ...],
    room: int = BOOTIF_ROOM,
) -> str:
    """Return what the script passes to the kernel; `room` bytes are left for what is added.

    Raises BootError if the line is too long, or if a host's parameter is one of storeboot's.
    """
    for param in host_params:
        if param.startswith(RESERVED):
            raise BootError(
                f"host {host}: kernel parameter {param!r} is storeboot's own",
                f"remove it from the kernel_params of {host}",
            )
    line = " ".join(
        (
            Parameter.INITRD.given("initrd"),  # UEFI kernels find it only by this name
            Parameter.INIT.given(init),
            Parameter.URL.given(url),
            Parameter.HOST.given(host),
            Parameter.VIEW.given(view),
            Parameter.HOSTNAME.given(hostname),
            Parameter.MACHINE_ID.given(machine_id),
            *system_params,
            *host_params,
        )
    )
    length = len(line.encode()) + room
    if length > MAX_BYTES:
        raise BootError(
            f"host {host}: the kernel command line has {length} bytes, at most {MAX_BYTES} fit",
            f"shorten boot.kernelParams of the system or kernel_params of {host}",
        )
    return line
