"""The demo system: Debian packages built by Nix into a system like NixOS', and kernels for it."""
