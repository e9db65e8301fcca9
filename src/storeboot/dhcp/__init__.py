"""What firmware is told before iPXE runs: addresses, file names, and the servers to ask."""
