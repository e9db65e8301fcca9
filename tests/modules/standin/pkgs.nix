# A small stand-in for nixpkgs' packages: names and places, nothing is built.
let
  lib = import ./lib.nix;
  package = name:
    let
      self = {
        type = "derivation";
        inherit name;
        pname = name;
        version = "2.30";
        outPath = "/nix/store/00000000000000000000000000000000-${name}";
        drvPath = "${self.outPath}.drv";
        meta = { };
        out = self;
        bin = self;
        man = self;
      };
    in
    self;
  toml = value:
    if lib.isList value then "[${lib.concatMapStringsSep ", " toml value}]"
    else if lib.isAttrs value then
      "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (name: each: "${builtins.toJSON name} = ${toml each}") value)} }"
    else builtins.toJSON value;
  names = [
    "busybox" "coreutils" "cpio" "dnsmasq" "dpkg" "e2fsprogs" "erofs-utils" "installShellFiles" "ipxe" "kmod"
    "libnfs" "nix" "openssh" "python3" "qemu" "shellcheck" "squashfs-tools-ng" "systemd" "util-linux" "uv" "xz" "zstd"
  ];
  pkgs = lib.genAttrs names package // {
    inherit lib package;
    pkgsStatic.busybox = package "busybox-static";
    stdenv.hostPlatform = { isx86_64 = true; system = "x86_64-linux"; };
    formats.toml = _: {
      generate = name: value: package name // {
        text = lib.concatStringsSep "" (lib.mapAttrsToList (key: each: "${key} = ${toml each}\n") value);
      };
    };
    linuxPackages = {
      kernel = package "linux" // {
        version = "6.12";
        config = lib.genAttrs [ "isDisabled" "isEnabled" "isModule" "isNo" "isSet" "isYes" ] (_: _: true);
        override = _: pkgs.linuxPackages.kernel;
      };
      extend = _: pkgs.linuxPackages;
    };
    # What would be built, for a test to look at.
    runCommand = name: arguments: script: package name // arguments // { inherit script; };
    writeShellScriptBin = name: text: package name // { inherit text; };
    mkShell = arguments: package "shell" // arguments;
    placeholder = output: "/placeholder-${output}";
    python3Packages = lib.genAttrs [
      "aiohttp" "alembic" "click" "hatchling" "psycopg" "pydantic" "pyelftools" "qemu-qmp"
      "sqlalchemy" "structlog" "typing-extensions" "uvloop" "zstandard"
    ] package // {
      buildPythonApplication = arguments: package arguments.pname // arguments;
    };
    callPackage = file: overrides:
      let f = import file; in
      f (builtins.intersectAttrs (builtins.functionArgs f) pkgs // overrides);
    testers.runNixOSTest = file: package "test" // { test = import file; };
  };
in
pkgs
