"""dnsmasq as a process: started, listened to, probed, replaced."""
