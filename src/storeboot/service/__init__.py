"""Decides how machines are answered and what follows from what they do. No sockets, no clock."""
