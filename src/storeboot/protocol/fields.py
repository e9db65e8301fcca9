"""Defines the fields of messages that consist of lines of `name=value`."""

from __future__ import annotations

from storeboot.protocol.word import Word


class BeginField(Word):
    """What the initrd, or in mode native the agent, sends to `POST /boots` to begin a boot."""

    HOST = "host", "the host it was given as, by the kernel command line"
    VIEW = "view", "the view that it is to mount, 32 hexadecimal digits"
    TICKET = "ticket", "what proves that the server gave it this host's script"
    NONCE = "nonce", "32 hexadecimal digits; a request sent twice begins one boot"
    MAC = "mac", "of the NIC that it boots from"
    UUID = "uuid", "of the machine, by SMBIOS"
    SERIAL = "serial", "of the machine, by SMBIOS or the device tree"
    ADDRESS = "address", "its own; the server ignores it and takes the connection's"
    UPTIME = "uptime", "seconds since its kernel started"
    STAGE = "stage", "a stage passed before, a space, and its uptime then; any number of them"


class AnswerField(Word):
    """What the server answers to that.

    Besides, it tells the machine settings of its host, by their names in the configuration file.
    """

    BOOT = "boot", "the boot's id, 16 hexadecimal digits"
    KEY = "key", "the agent key, with which the machine speaks of this boot"
    TOKEN = "token", "the mount token: the machine mounts `/view/TOKEN`"
    TIME = "time", "seconds since 1970, for the machine's clock"
    HOSTNAME = "hostname", "the machine's host name"
    MACHINE_ID = "machine_id", "the host's machine-id(5)"
    NFS_SERVER = "nfs_server", "address of the NFS service on the machine's network"
    NFS_PORT = "nfs_port", "its port, which serves MOUNT as well"
    PACK = "pack", "name of the view's pack; left out where there is none"
    PACK_SHA256 = "pack_sha256", "its checksum"
    LEARN_SECONDS = "learn_seconds", "wait so long after multi-user before it is learned from"
    HEARTBEAT = "heartbeat", "seconds between heartbeats"


class NextField(Word):
    """What the server answers to an agent's `GET /boots/BOOT/next`, for kexec(8)."""

    KERNEL = "kernel", "path of the kernel below the server's URL"
    INITRD = "initrd", "path of the initrd"
    COMMAND_LINE = "command_line", "to which the agent adds BOOTIF and storeboot.lease"
