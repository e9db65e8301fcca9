"""What hosts boot: prepared systems, generations, garbage collection."""
