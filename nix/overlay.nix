final: _prev: {
  storeboot = final.callPackage ./package.nix { };
}
