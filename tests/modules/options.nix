# Every option of storeboot's modules, as data for the reference.
let
  lib = import ./standin/lib.nix;
  pkgs = import ./standin/pkgs.nix;
  evaluated = lib.evalModules {
    modules = [
      (import ./standin/nixos.nix { stage1 = "systemd"; })
      ../../nix/modules/server
      ../../nix/modules/client
    ];
    specialArgs = { inherit pkgs; };
  };
  isOurs = each:
    !(each.option.internal or false)
    && (lib.hasPrefix "services.storeboot." (name each) || lib.hasPrefix "storeboot.client." (name each));
  name = each: lib.concatStringsSep "." each.loc;
  text = value: if value ? _type then value.text else value;
in
map (each: {
  name = name each;
  type = each.option.type.name;
  description = each.option.description or "";
} // lib.optionalAttrs (each.option ? default || each.option ? defaultText) {
  default = if each.option ? defaultText then text each.option.defaultText else builtins.toJSON each.option.default;
} // lib.optionalAttrs (each.option ? example) {
  example = if each.option.example ? _type then text each.option.example else builtins.toJSON each.option.example;
}) (lib.filter isOurs evaluated.options)
