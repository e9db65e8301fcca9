"""What Nix knows (asked through its command line), and what a NixOS system contains."""
