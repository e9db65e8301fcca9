# The two scripts of a scripted NixOS with what its modules put into them, for a test that boots them.
{ nixpkgs, module }:
let
  world = import ./nixpkgs.nix { inherit nixpkgs; stage1 = "scripted"; };
  inherit (world) lib;
  inherit (lib.evalModules {
    modules = world.base ++ [ module ];
    specialArgs = { inherit (world) pkgs; } // world.arguments;
  }) config;
  # Files as their text, lists and sets as words.
  words = value:
    if value == null then ""
    else if lib.isAttrs value && value ? text then { inherit (value) text; }
    else if lib.isDerivation value then "${value}"
    else if lib.isAttrs value then toString (lib.attrNames (lib.filterAttrs (_: each: each) value))
    else toString value;
  script = built: {
    source = "${toString built.src}";
    replacements = lib.mapAttrs (_: words) built.replacements;
  };
in
{
  stage1 = script config.system.build.bootStage1;
  stage2 = script config.system.build.bootStage2;
}
