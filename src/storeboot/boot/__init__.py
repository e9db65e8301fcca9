"""From a machine that asks to what it gets: plan, kernel command line, iPXE script, timeline."""
