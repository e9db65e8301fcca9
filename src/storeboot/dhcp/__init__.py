"""What firmware is told until iPXE runs: addresses, file names, and the servers to ask."""
