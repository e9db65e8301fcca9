"""The configuration file and its schema."""

from storeboot.config.fields import Setting, settings_of, told
from storeboot.config.file import DEFAULT_PATH, Config, check_host, load
from storeboot.config.matchers import (
    LABEL,
    MAC,
    SERIAL,
    is_shared,
    normal_label,
    normal_mac,
    normal_serial,
    normal_uuid,
    spellings,
)
from storeboot.config.messages import faults, listed
from storeboot.config.sections import (
    AgentSection,
    BootsSection,
    DatabaseSection,
    DhcpSection,
    HttpSection,
    InitrdSection,
    MachinesSection,
    NetworkSection,
    NfsSection,
    PacksSection,
    ServerSection,
    StoreSection,
)
from storeboot.config.settings import (
    BootSettings,
    HostSection,
    Mode,
    NfsVersion,
    SettingsSection,
    merged,
)
from storeboot.config.text import read_text

__all__ = [
    "DEFAULT_PATH",
    "LABEL",
    "MAC",
    "SERIAL",
    "AgentSection",
    "BootSettings",
    "BootsSection",
    "Config",
    "DatabaseSection",
    "DhcpSection",
    "HostSection",
    "HttpSection",
    "InitrdSection",
    "MachinesSection",
    "Mode",
    "NetworkSection",
    "NfsSection",
    "NfsVersion",
    "PacksSection",
    "ServerSection",
    "Setting",
    "SettingsSection",
    "StoreSection",
    "check_host",
    "faults",
    "is_shared",
    "listed",
    "load",
    "merged",
    "normal_label",
    "normal_mac",
    "normal_serial",
    "normal_uuid",
    "read_text",
    "settings_of",
    "spellings",
    "told",
]
