# storeboot with the programs that it runs.
{
  lib,
  python3Packages,
  dnsmasq,
  installShellFiles,
  nix,
  openssh,
  pkgsStatic,
  squashfs-tools-ng,
  staticBusybox ? pkgsStatic.busybox,
  util-linux,
  withDhcp ? true,
  withPostgresql ? true,
}:
let
  project = builtins.fromTOML (builtins.readFile ../pyproject.toml);
  # What the initrds of machines are made with; its other applets are nobody's business.
  busyboxAlone = "${placeholder "out"}/libexec/storeboot";
in
python3Packages.buildPythonApplication {
  pname = "storeboot";
  inherit (project.project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [ ../src ../systemd ../pyproject.toml ../README.md ../LICENSE ];
  };

  build-system = [ python3Packages.hatchling ];
  nativeBuildInputs = [ installShellFiles ];
  # A release of nixpkgs may lag behind what the lock was made with.
  pythonRelaxDeps = true;
  dependencies = with python3Packages; [
    aiohttp
    alembic
    click
    pydantic
    pyelftools
    qemu-qmp
    sqlalchemy
    structlog
    typing-extensions
    uvloop
    zstandard
  ]
  ++ lib.optional withPostgresql psycopg;

  postInstall = ''
    install -D ${staticBusybox}/bin/busybox $out/libexec/storeboot/busybox
  '';

  postFixup = ''
    for shell in bash zsh fish; do
      $out/bin/storeboot completion $shell >storeboot.$shell
      installShellCompletion --cmd storeboot --$shell storeboot.$shell
    done
  '';

  makeWrapperArgs = [
    "--suffix"
    "PATH"
    ":"
    "${lib.makeBinPath ([ nix openssh squashfs-tools-ng ] ++ lib.optionals withDhcp [ dnsmasq util-linux ])}:${busyboxAlone}"
  ];

  # The tests boot virtual machines made of Debian's packages; `make test` runs them.
  doCheck = false;
  pythonImportsCheck = [ "storeboot.cli.main" ];

  meta = {
    description = project.project.description;
    license = lib.licenses.mit;
    mainProgram = "storeboot";
    platforms = [ "x86_64-linux" "aarch64-linux" ];
  };
}
