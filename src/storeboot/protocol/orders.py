"""Defines what the server can ask a running machine to do."""

from __future__ import annotations

from storeboot.protocol.word import Word


class Order(Word):
    """The server's answer to an agent's heartbeat: one of these words, or nothing.

    An agent that does not know a word, or has nothing to do it with, goes on as before.
    """

    REPORT = "report", "verify the closure, and send a report"
    POWEROFF = "poweroff", "power off, whatever runs there"
    REBOOT = "reboot", "reboot, whatever runs there: the boot has failed"
    RESTART = "restart", "reboot, unless somebody inhibits it (systemd-inhibit(1))"
    KEXEC = "kexec", "the same without the firmware, by kexec(8)"
