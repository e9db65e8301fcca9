"""What a machine gets when it asks: plan, kernel command line, iPXE script, timeline."""
