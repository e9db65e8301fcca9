"""The small initrd that storeboot brings for every system."""
