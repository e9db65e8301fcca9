"""The small initrd that storeboot provides for every system."""
