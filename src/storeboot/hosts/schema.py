"""Tables: added hosts, origins of generations, boots that have begun, and events.

Change them through `migrations/`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

hosts = Table(
    "hosts",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("settings", Text, nullable=False),  # JSON, as [hosts.NAME] of the configuration
    Column("added_at", Float, nullable=False),  # seconds since 1970, UTC
)

matchers = Table(
    "matchers",
    metadata,
    Column("value", String(255), primary_key=True),  # a MAC address, UUID or serial number
    Column("host", String(63), ForeignKey("hosts.name", ondelete="CASCADE"), nullable=False),
    Index(None, "host"),
)

unknown = Table(
    "unknown",
    metadata,
    Column("mac", String(17), primary_key=True),
    Column("uuid", String(64), nullable=False),
    Column("serial", String(64), nullable=False),
    Column("address", String(45), nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
)

# The generations themselves are Nix profiles; this is what a symlink cannot express.
declarations = Table(
    "declarations",
    metadata,
    Column("host", String(63), primary_key=True),
    Column("system", String(255), nullable=False),  # the last one that the configuration declared
)

probations = Table(
    "probations",
    metadata,
    Column("host", String(63), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("previous", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("confirms", Boolean, nullable=False),
    Column("standing", String(16), nullable=False),
    Column("boot", String(16)),
    Column("began_at", Float),
    Column("reason", Text, nullable=False, server_default=""),
)

boots = Table(
    "boots",
    metadata,
    Column("id", String(16), primary_key=True),  # 8 random bytes, hexadecimal
    Column("host", String(63), nullable=False),
    Column("view", String(32), nullable=False),
    Column("system", String(255), nullable=False),
    Column("nonce", String(64), nullable=False, unique=True),
    Column("machine", Text, nullable=False),  # mac, uuid and serial as the machine sent them
    Column("address", String(45), nullable=False),
    Column("began_at", Float, nullable=False),  # seconds since 1970, UTC
    Column("seen_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", String(16)),  # "shutdown", or "boot": another boot of this host began
    # Whether the machine has carried on; then its first answer is not repeated.
    Column("spoken", Boolean, nullable=False, server_default=false()),
    Index(None, "host", "began_at"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("host", String(63), nullable=False),
    Column("boot", String(16), ForeignKey("boots.id", ondelete="CASCADE")),  # none before it began
    Column("source", String(16), nullable=False),  # server, initrd, agent
    Column("stage", String(32), nullable=False),
    Column("at", Float, nullable=False),  # seconds since 1970, UTC, by the server's clock
    Column("uptime", Float),  # seconds since the machine's kernel started
    Column("detail", Text, nullable=False, server_default=""),
    Index(None, "host", "at"),
    Index("ix_events_boot", "boot"),
    Index("ix_events_host_boot", "host", "boot", "id"),
)

# What the agent of a boot is told at its next heartbeat.
orders = Table(
    "orders",
    metadata,
    Column("boot", String(16), ForeignKey("boots.id", ondelete="CASCADE"), primary_key=True),
    Column("word", String(16), nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("host", String(63), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),  # seconds since 1970, UTC
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("target", String(63), nullable=False),
    Column("system", String(255), nullable=False),
    Column("batch", Integer, nullable=False),
    Column("max_failures", Integer, nullable=False),
    Column("word", String(16)),  # what running machines are asked to do, if anything
    Column("seconds", Float, nullable=False),
    Column("began_at", Float, nullable=False),  # seconds since 1970, UTC
    Column("standing", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
)

rollout_hosts = Table(
    "rollout_hosts",
    metadata,
    Column(
        "rollout", Integer, ForeignKey("rollouts.id", ondelete="CASCADE"), primary_key=True,
        autoincrement=False,
    ),
    Column("host", String(63), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("standing", String(16), nullable=False),
    Column("generation", Integer),  # the one that is tested
    Column("since", Float),  # when the host got it
    Column("asked", String(16)),  # the boot whose agent was asked
    Column("reason", Text, nullable=False, server_default=""),
    Index(None, "host"),
)  # fmt: skip
