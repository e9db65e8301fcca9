"""What hosts are given to boot: systems made ready, generations, garbage collection."""
