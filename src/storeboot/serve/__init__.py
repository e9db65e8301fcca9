"""The asyncio shells: sockets, files and clocks around the cores."""
