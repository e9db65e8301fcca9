"""The asyncio shells around the cores: sockets, processes, threads and clocks."""
