"""Which machine is which, which system it boots, and every boot it has begun."""
