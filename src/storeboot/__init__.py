"""Boot diskless NixOS machines from one shared, read-only Nix store."""

__version__ = "0.1.0"
