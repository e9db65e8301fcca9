"""What the server goes by at the moment; a reload exchanges it as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError


@dataclass(frozen=True, slots=True)
class Assigned:
    """A configuration's hosts and systems, and what came of making these ready."""

    inventory: Inventory
    faults: Mapping[str, StorebootError] = field(default_factory=dict)  # by host that cannot boot
    is_declared: bool = False  # what the configuration declares was deployed
    failure: StorebootError | None = None  # why no host can boot


class Current:
    """The one that is in use. Whoever needs more than one thing of it takes it once."""

    def __init__(self, inventory: Inventory) -> None:
        self.assigned = Assigned(inventory)

    @property
    def inventory(self) -> Inventory:
        return self.assigned.inventory

    def use(self, assigned: Assigned) -> None:
        """Go by another one from here on."""
        self.assigned = assigned

    def became(self, assigned: Assigned) -> None:
        """Note what came of making systems ready, unless another configuration came meanwhile."""
        if assigned.inventory is self.inventory:
            self.assigned = assigned
