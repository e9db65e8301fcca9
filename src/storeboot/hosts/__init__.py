"""Which host a machine is, which system it boots, and every boot that has begun."""
