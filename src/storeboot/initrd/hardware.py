"""Which modules drive wired NICs and what those hang on: asked of the modules themselves.

A module names the devices that it drives (its aliases), and takes functions from the kernel (its
undefined symbols). A driver of an Ethernet card asks the kernel for an Ethernet device, a USB host
controller for a USB bus, whatever they are called and wherever their files are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from storeboot.initrd import elf
from storeboot.initrd.module_tree import ModuleTree, module_name

# Buses on which a wired NIC, or the bus that it hangs on, is found without help (Linux, scripts/
# mod/file2alias.c). A device on "platform" alone is made by another driver.
_BUSES = ("pci", "usb", "virtio", "vmbus", "xen", "of", "acpi", "tbsvc")
# include/linux/etherdevice.h, include/linux/usb/usbnet.h, drivers/net/ethernet/8390/8390.h
_ETHERNET = (b"alloc_etherdev_mqs", b"devm_alloc_etherdev_mqs", b"usbnet_probe",
             b"__alloc_ei_netdev", b"__alloc_eip_netdev")  # fmt: skip
# A radio, the RDMA side of a NIC, a modem, or a switch whose ports hang on another NIC:
# include/net/cfg80211.h, mac80211.h, iw_handler.h and dsa.h; rdma/ib_verbs.h; linux/usb/cdc-wdm.h.
_OTHERS = (
    b"wiphy_new_nm", b"ieee80211_alloc_hw_nm", b"wireless_send_event", b"iwe_stream_add_event",
    b"cfg80211_scan_done", b"alloc_ieee80211", b"alloc_libipw", b"lib80211_crypto_register",
    b"lib80211_get_crypto_ops", b"_ib_alloc_device", b"ib_register_device", b"usb_cdc_wdm_register",
    b"dsa_register_switch",
)  # fmt: skip
# What the driver of a bus asks for: include/linux/usb/hcd.h and usb/otg.h, linux/virtio.h,
# linux/pci.h and pci-ecam.h, drivers/pci/controller/dwc.
_MAKERS = {
    "usb": (b"usb_hcd_pci_probe", b"__usb_create_hcd", b"usb_create_hcd", b"usb_add_hcd",
            b"usb_get_dr_mode"),
    "virtio": (b"register_virtio_device",),
    "pci": (b"pci_host_probe", b"pci_scan_root_bus_bridge", b"pci_scan_root_bus",
            b"pci_create_root_bus", b"pci_host_common_probe", b"dw_pcie_host_init"),
    "mdio": (b"__mdiobus_register", b"__devm_mdiobus_register", b"of_mdiobus_register",
             b"__of_mdiobus_register", b"__devm_of_mdiobus_register", b"devm_of_mdiobus_register"),
}  # fmt: skip
# include/linux/phy.h and phylink.h: the card's transceiver has a driver of its own, on bus "mdio".
_PHYS = (
    b"phy_connect", b"phy_connect_direct", b"phy_attach_direct", b"phy_attached_info",
    b"of_phy_connect", b"of_phy_get_and_connect", b"phylink_create", b"phylink_of_phy_connect",
    b"phylink_connect_phy", b"phy_start", b"phy_find_first",
)  # fmt: skip
_ASKED = frozenset(
    (*_ETHERNET, *_OTHERS, *_PHYS, *(name for names in _MAKERS.values() for name in names))
)


@dataclass(frozen=True)
class Hardware:
    """The modules of a kernel, by what they drive. All modules are read once, when first asked."""

    tree: ModuleTree
    imports: dict[str, frozenset[bytes]] = field(default_factory=dict)  # file -> asked symbols

    @cached_property
    def buses(self) -> dict[str, frozenset[str]]:
        """Return the buses of the devices that each module drives, by the module's name."""
        found: dict[str, set[str]] = {}
        for pattern, name in self.tree.aliases:
            found.setdefault(name, set()).add(_bus(pattern))
        return {name: frozenset(buses) for name, buses in found.items()}

    def wired(self) -> list[str]:
        """Return the files of all drivers of wired NICs."""
        return [file for file in self.tree.dependencies if self._is_wired(file)]

    def _is_wired(self, file: str) -> bool:
        """Return whether a module drives a wired NIC, alone or with one that it depends on.

        The driver may leave the device to a module that is loaded by name (mlx4_en), or be only
        the glue between a bus and a driver (stmmac-pci).
        """
        drives = self._is_found(file)
        together = (file, *self.tree.dependencies[file])
        if not drives:
            if not any(map(self._is_found, together)) or not self._imports(file, _ETHERNET):
                return False
        elif not any(self._imports(each, _ETHERNET) for each in together):
            return False
        return not any(self._imports(each, _OTHERS) for each in together)

    def _is_found(self, file: str) -> bool:
        return not self._buses(file).isdisjoint(_BUSES)

    def with_buses(self, drivers: Iterable[str]) -> list[str]:
        """Return the drivers, those of the buses that they hang on, and of their transceivers."""
        found = dict.fromkeys(drivers)
        needed: list[str] = []
        for file in found:
            needed += self._hangs_on(file)
        done: set[str] = set()
        while needed:
            bus = needed.pop()
            if bus in done:
                continue
            done.add(bus)
            for maker in self._makers(bus):
                found.setdefault(maker)
                needed += self._hangs_on(maker)
            if bus == "mdio":
                found.update(dict.fromkeys(self._on("mdio")))
        return list(found)

    def _hangs_on(self, file: str) -> Iterator[str]:
        together = (file, *self.tree.dependencies.get(file, ()))
        for each in together:
            yield from (bus for bus in self._buses(each) if bus in _MAKERS)
            if self._imports(each, _PHYS):
                yield "mdio"

    def _makers(self, bus: str) -> Iterator[str]:
        """Yield the drivers of what makes a bus, which are found on another one.

        A driver that depends on one of them is a variant of it (xhci-pci-renesas).
        """
        made: set[str] = set()
        for file in sorted(self.tree.dependencies, key=lambda each: len(self._needs(each))):
            elsewhere = self._buses(file) & {*_BUSES} - {bus}
            own = self._imports(file, _MAKERS[bus]) or not made.isdisjoint(self._needs(file))
            if elsewhere and own and not self._imports(file, (*_ETHERNET, *_OTHERS)):
                made.add(file)
                yield file

    def _on(self, bus: str) -> Iterator[str]:
        return (file for file in self.tree.dependencies if bus in self._buses(file))

    def driving(self, devices: Iterable[str]) -> list[str]:
        """Return the files of the modules for devices, which are given by their modalias."""
        wanted = list(devices)
        names = {
            name
            for pattern, name in self.tree.aliases
            if any(fnmatchcase(device, pattern) for device in wanted)
        }
        return [self.tree.by_name[name] for name in sorted(names) if name in self.tree.by_name]

    def is_network(self, file: str) -> bool:
        """Return whether a module makes an Ethernet device."""
        return any(self._imports(each, _ETHERNET) for each in (file, *self.tree.dependencies[file]))

    def _needs(self, file: str) -> tuple[str, ...]:
        return self.tree.dependencies[file]

    def _buses(self, file: str) -> frozenset[str]:
        return self.buses.get(module_name(file), frozenset())

    def _imports(self, file: str, names: Iterable[bytes]) -> bool:
        if file not in self.imports:
            self.imports[file] = _asked(self.tree.load(file))
        return not self.imports[file].isdisjoint(names)


def _bus(pattern: str) -> str:
    """Return the bus of an alias; `acpi*:PNP0D10:*` has a star in its name."""
    return pattern.partition(":")[0].rstrip("*")


def _asked(module: bytes) -> frozenset[bytes]:
    """Return which of the symbols that matter here a module takes."""
    return elf.imports(module) & _ASKED
