"""dnsmasq as a process: started, observed, probed and replaced."""
