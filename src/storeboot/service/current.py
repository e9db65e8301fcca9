"""The configuration in use, with its hosts and systems. A reload replaces it as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError


@dataclass(frozen=True, slots=True)
class Assigned:
    """A configuration's hosts and systems, and the result of preparing them."""

    inventory: Inventory
    faults: Mapping[str, StorebootError] = field(default_factory=dict)  # by host that cannot boot
    is_declared: bool = False  # whether all that it declares was deployed
    failure: StorebootError | None = None  # why no host at all can boot


class Current:
    """The configuration in use. Code that needs several parts of it must read it only once."""

    def __init__(self, inventory: Inventory) -> None:
        self.assigned = Assigned(inventory)

    @property
    def inventory(self) -> Inventory:
        return self.assigned.inventory

    def use(self, assigned: Assigned) -> None:
        """Use another configuration from now on."""
        self.assigned = assigned

    def became(self, assigned: Assigned) -> None:
        """Store the result of preparing systems, unless a reload has replaced the configuration."""
        if assigned.inventory is self.inventory:
            self.assigned = assigned
