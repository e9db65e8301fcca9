"""Defines what a machine reports about its own store when it is asked to."""

from __future__ import annotations

from storeboot.protocol.word import Word


class ReportPart(Word):
    """A part of a report, which the agent posts to `/boots/BOOT/reports/PART`."""

    MOUNTSTATS = "mountstats", "/proc/self/mountstats when multi-user was reached"
    HASHES = "hashes", "sha256sum's line for each file of the closure"
    ATTRIBUTES = "attributes", "stat's line for each path of it, of a machine with a pack"
    MOUNTSTATS_AFTER = "mountstats-after", "/proc/self/mountstats when all was read"
    AGENT_LOG = "agent-log", "the agent's own log"
    FAILED_UNITS = "failed-units", "the journal's last lines for each unit that failed"
    FACTS = "facts", "lines of name=value; sent last, so that the report is complete with it"


class ReportFact(Word):
    """A line of the part `facts`. Answers to a question are `yes` or `no`."""

    HOSTNAME = "hostname", "the host name it has"
    MACHINE_ID = "machine_id", "its /etc/machine-id"
    KERNEL = "kernel", "the release of its kernel"
    SSH_HOST_KEY = "ssh_host_key", "SHA-256 of its private ssh host key"
    SYSTEM = "system", "the toplevel that it runs"
    CLIENT_ID = "client_id", "how it identifies itself to an NFSv4 server"
    DELEGATION_WATERMARK = "delegation_watermark", "above so many it returns delegations"
    ADDRESS = "address", "its IPv4 addresses"
    STORE_FSTYPE = "store_fstype", "type of the file system at /nix/store"
    LOWER_FSTYPE = "lower_fstype", "type of the one below it"
    LOWER_SOURCE = "lower_source", "what that was mounted from"
    OVERLAY_UPPER_FSTYPE = "overlay_upper_fstype", "type of the one that takes what is written"
    PERSISTENT = "persistent", "directories that it keeps on a local disk"
    SWAP = "swap", "devices that it swaps to"
    KEXEC_LOADED = "kexec_loaded", "1 if a kernel is loaded for kexec"
    WRITE_OK = "write_ok", "whether it can write to its store"
    CLOSURE_VALID = "closure_valid", "whether its own Nix takes the closure as valid"
    FAILED_UNITS = "failed_units", "units of systemd that failed"
    CHANGES_HOT = "changes_hot", "whether a file that the pack has with its data can be changed"
    CHANGES_STUB = "changes_stub", "whether a file can be changed that it has without"
