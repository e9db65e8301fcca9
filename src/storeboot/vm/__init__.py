"""Virtual machines without disks, and the systems to boot in them."""
