"""What machines are answered, and what follows from what they do: no sockets, no clock."""
