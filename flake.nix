{
  description = "Boot diskless NixOS machines from one shared, read-only Nix store";

  inputs.nixpkgs.url = "nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forAll = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      overlays.default = import ./nix/overlay.nix;
      nixosModules.server = ./nix/modules/server;
      nixosModules.client = ./nix/modules/client;
      packages = forAll (pkgs: rec {
        storeboot = pkgs.callPackage ./nix/package.nix { };
        default = storeboot;
      });
      checks = forAll (pkgs: {
        inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) storeboot;
      } // nixpkgs.lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
        # Machines of other processors boot from UEFI firmware that QEMU has to be given.
        boot = pkgs.testers.runNixOSTest ./nix/tests/boot.nix;
      });
      devShells = forAll (pkgs: { default = import ./shell.nix { inherit pkgs; }; });
    };
}
