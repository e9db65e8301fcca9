"""The boot service over HTTP."""
