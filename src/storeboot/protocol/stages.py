"""Defines the stages of a boot, of which the timeline of a host consists."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from storeboot.protocol.word import Word


class Source(Word):
    """Who noticed that a stage was passed. Stored with each event."""

    DHCP = "dhcp", "the server's dnsmasq, which answered the machine's firmware"
    SERVER = "server", "the server's HTTP service, which was asked for a file"
    INITRD = "initrd", "storeboot's initrd, over HTTP with the key of its boot"
    AGENT = "agent", "the agent in the machine's memory, in the same way"
    NFS = "nfs", "the server's NFS service, of a machine in mode native"


class Stage(StrEnum):
    """A stage, in the order in which a boot passes them; those after SHUTDOWN come at any time.

    An initrd or agent posts it to `/boots/BOOT/events?source=…&stage=…&uptime=…` when it has passed
    it; the body is the detail. What it passed before its boot began, it says in the request that
    begins the boot.
    """

    meaning: str
    sources: tuple[Source, ...]

    def __new__(cls, word: str, meaning: str, *sources: Source) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        member.sources = sources
        return member

    ADDRESS = "address", "the firmware got an address or the name of a boot file", Source.DHCP
    FIRMWARE = "firmware", "the firmware fetched iPXE", Source.DHCP
    SCRIPT = "script", "the server sent the boot script", Source.SERVER
    KERNEL = "kernel", "the kernel was fetched", Source.SERVER
    INITRD = "initrd", "the initrd was fetched", Source.SERVER
    DRIVERS = "drivers", "the boot NIC was found", Source.INITRD
    NETWORK = "network", "the machine has an address", Source.INITRD
    BEGIN = "begin", "the boot has begun", Source.INITRD
    MOUNT = "mount", "the store is mounted", Source.INITRD, Source.NFS
    AWAIT_PACK = "await-pack", "the machine waits for its pack", Source.INITRD
    PACK = "pack", "the pack is mounted", Source.INITRD
    OVERLAY = "overlay", "the overlay is mounted; the store is writable", Source.INITRD
    PREPARE = "prepare", "stage 2 is prepared", Source.INITRD
    SWITCH_ROOT = "switch-root", "stage 2 starts", Source.INITRD
    STAGE_2 = "stage-2", "stage 2 reads the store", Source.NFS
    AGENT = "agent", "the agent is running", Source.AGENT
    WAITING = "waiting", "stage 2 waits for these units", Source.AGENT
    MULTI_USER = "multi-user", "the machine is up", Source.AGENT
    DEGRADED = "degraded", "the machine is up, but these units have failed", Source.AGENT
    SHUTDOWN = "shutdown", "the machine is shutting down", Source.AGENT
    FAILED = "failed", "the boot failed; the detail says why", Source.INITRD, Source.AGENT
    PLAIN = "plain", "the machine boots without its pack; the detail says why", Source.INITRD
    REFUSED = "refused", "the machine did not carry out an order; the detail says why", Source.AGENT
    SILENT = (
        "silent",
        "nothing has come from the machine for too long; the detail says what is missing",
        Source.NFS,
        Source.SERVER,
    )
    NO_STORE = "no-store", "NFS refused to mount the store; the detail says why", Source.NFS
    DOWNLOAD = "download", "a file is on its way; the detail says how far it is", Source.SERVER
    LOOP = "loop", "the boot begins again and again; the detail says how often", Source.SERVER


# Before the boot script.
OF_FIRMWARE = frozenset({Stage.ADDRESS, Stage.FIRMWARE})
# Remarks: the machine stays in the stage that it is in.
NOTES = frozenset({Stage.REFUSED, Stage.PLAIN})
# Their details are names of systemd's units.
OF_UNITS = frozenset({Stage.WAITING, Stage.DEGRADED})
# These decide something: a test, a lease, an order.
DECISIVE = frozenset({Stage.MULTI_USER, Stage.FAILED, Stage.SHUTDOWN, Stage.REFUSED})
# What the server concludes by itself.
CONCLUSIONS = frozenset({Stage.SILENT, Stage.NO_STORE, Stage.DOWNLOAD, Stage.LOOP})
# Their details say all that there is to say of them.
EXPLAINED = frozenset({Stage.SILENT, Stage.DOWNLOAD, Stage.LOOP})
# Stages that a request may name.
SAYABLE = frozenset(Stage) - CONCLUSIONS
