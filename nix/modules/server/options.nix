# Written by scripts/reference from src/storeboot/config: the settings of storeboot.toml.
{ lib }:
let
  inherit (lib) mkOption types;
  bootSettings = {
    kernel_params = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Kernel parameters to add after the system's own. Those of the defaults, the group and the host are all added, in this order.'';
    };
    console = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Consoles of the kernel, instead of those in the system's own kernel parameters (`boot.kernelParams`). The last one is /dev/console, unless kernel_params have another, which is added after it.'';
    };
    mode = mkOption {
      type = types.nullOr (types.enum [ "plain" "pack" "native" ]);
      default = null;
      description = ''How the machine gets its store: over NFS with a pack of names and hot files above it (pack), over NFS only (plain), or mounted by the system's own initrd (native). native needs nfs.alias and the host's address. If unset: `"pack"`.'';
    };
    overlay_size = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Size of the overlay's tmpfs, as in tmpfs(5). If unset: `"50%"`.'';
    };
    overlay_label = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Disk label of a local file system that holds the store's overlay instead of memory. Overlays of earlier boots are removed; the file system is never formatted.'';
    };
    persist_label = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Disk label of a local file system that keeps persist_directories across boots. It is never formatted.'';
    };
    persist_directories = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Directories to keep on the file system persist_label, such as /var/lib. Those of the defaults, the group and the host are all kept.'';
    };
    zram = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Size of swap in compressed memory (zram), in the same form as overlay_size. If unset: no swap.'';
    };
    nix_store = mkOption {
      type = types.nullOr (types.enum [ "local" "local-overlay" ]);
      default = null;
      description = ''Kind of store that the machine's Nix uses: one whose database contains the server's paths (local), or a local-overlay store whose lower store contains them (local-overlay). If unset: `"local"`.'';
    };
    drivers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Network drivers to include in the initrd, instead of initrd.drivers.'';
    };
    nfs_version = mkOption {
      type = types.nullOr (types.enum [ "3" "4.1" "4.2" ]);
      default = null;
      description = ''NFS version to mount the store with. If unset: nfs.version.'';
    };
    ssh_host_key = mkOption {
      type = types.nullOr types.bool;
      default = null;
      description = ''Whether the server keeps the machine's ssh host key (ed25519) and gives it to every boot. Anyone who can begin a boot in the host's name can obtain the key. If unset: `true`.'';
    };
    specialisation = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Specialisation of the system to boot. If unset: the system itself.'';
    };
    menu = mkOption {
      type = types.nullOr types.bool;
      default = null;
      description = ''Whether to show a menu of the newest generations and their specialisations at every boot. If unset: show it if m is pressed within a second. false: never show it.'';
    };
    system = mkOption {
      type = types.nullOr (types.either types.str types.package);
      default = null;
      description = ''System to boot, a toplevel in the store. It is deployed when this setting changes. If unset, the host boots what you deploy with `storeboot deploy`.'';
    };
  };
in
{
  server = {
    address = mkOption {
      type = types.str;
      description = ''IPv4 address at which machines reach this server.'';
    };
    state_directory = mkOption {
      type = types.path;
      default = "/var/lib/storeboot";
      description = ''Directory for the database, keys, initrds, packs, views and reports.'';
    };
  };
  store = {
    root = mkOption {
      type = types.path;
      default = "/";
      description = ''Root of the Nix store, as for `nix --store`.'';
    };
  };
  database = {
    url = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''SQLAlchemy URL of the database, such as `postgresql+psycopg://user@host/storeboot`. If unset: SQLite in the state directory.'';
    };
  };
  http = {
    listen = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Address to listen on. If unset and there are [networks]: the addresses of these networks plus server.address, and no others.'';
    };
    port = mkOption {
      type = types.port;
      default = 8080;
      description = ''TCP port for HTTP.'';
    };
  };
  nfs = {
    listen = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Address to listen on. If unset and there are [networks]: the addresses of these networks plus server.address, and no others.'';
    };
    port = mkOption {
      type = types.port;
      default = 2049;
      description = ''TCP port for NFS and MOUNT.'';
    };
    version = mkOption {
      type = types.enum [ "3" "4.1" "4.2" ];
      default = "3";
      description = ''NFS version that machines mount with.'';
    };
    workers = mkOption {
      type = types.nullOr (types.ints.between 0 64);
      default = null;
      description = ''Number of worker processes that answer NFS calls. If unset: one per processor. 0: the main process answers.'';
    };
    lease = mkOption {
      type = types.ints.between 10 86400;
      default = 3600;
      description = ''NFS lease (NFSv4 only), in seconds. A short lease makes idle machines return delegations that save round trips.'';
    };
    reply_memory = mkOption {
      type = types.ints.between 1 4096;
      default = 16;
      description = ''MiB of cached replies in each process.'';
    };
    alias = mkOption {
      type = types.bool;
      default = false;
      description = ''Serve each host's view under the name `nixstore`, on port 2049 in addition to nfs.port, to the addresses in hosts.NAME.address. For systems whose own initrd mounts the store.'';
    };
  };
  dhcp = {
    mode = mkOption {
      type = types.enum [ "off" "tftp" "proxy" "full" ];
      default = "off";
      description = ''What dnsmasq does on the interfaces of [networks]. off: nothing. tftp: serve iPXE over TFTP, for a DHCP server that names it (`storeboot dhcp-snippet`). proxy: also name it, alongside a DHCP server that gives out addresses (proxyDHCP). full: also give out addresses.'';
    };
    lease = mkOption {
      type = types.ints.between 120 31536000;
      default = 3600;
      description = ''Duration of a DHCP lease in seconds (dhcp.mode full).'';
    };
    port = mkOption {
      type = types.port;
      default = 67;
      description = ''UDP port of the DHCP server. The clients' port is one higher.'';
    };
    dnsmasq = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''The dnsmasq program. If unset: the one on PATH.'';
    };
    user = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''User that runs dnsmasq if the server runs as root and no unit runs dnsmasq. If unset: dnsmasq, or nobody if there is no such user.'';
    };
    raspberry_firmware = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''Directory with the firmware of Raspberry Pis: start4.elf, fixup4.dat and so on, and a config.txt whose lines come before storeboot's. If set, each host whose serial is that of a board gets a TFTP directory.'';
    };
    raspberry_prefixes = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''First three bytes of the MAC addresses of Raspberry Pis, in addition to those that storeboot knows. Boards are also recognised by option 97, and by the serial and MAC address of their host.'';
    };
    ipxe = mkOption {
      type = types.attrsOf types.path;
      default = { };
      description = ''iPXE programs by kind of firmware (bios, x64, ia32, arm64, riscv64), to use instead of the distribution's.'';
    };
  };
  networks = mkOption {
    type = types.attrsOf (types.submodule {
      options = {
        interface = mkOption {
          type = types.str;
          description = ''The server's network interface on this network.'';
        };
        address = mkOption {
          type = types.str;
          description = ''The server's IPv4 address on this network, with prefix length: 10.1.0.1/24. Machines on this network use this address.'';
        };
        range = mkOption {
          type = types.nullOr (types.listOf types.str);
          default = null;
          description = ''First and last address to give out to machines (dhcp.mode full).'';
        };
        router = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = ''Router to announce to machines (dhcp.mode full).'';
        };
        dns = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''Name servers to announce to machines (dhcp.mode full).'';
        };
      };
    });
    default = { };
    description = ''Networks that machines are on. Each machine uses the server's address on its own network; machines on other networks use server.address.'';
  };
  initrd = {
    busybox = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''A static busybox. If unset: the one on PATH.'';
    };
    busyboxes = mkOption {
      type = types.attrsOf types.path;
      default = { };
      description = ''Static busyboxes for machines whose processor differs from the server's, by the name of the processor: aarch64, x86_64.'';
    };
    drivers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Network drivers to include. If empty: all drivers of wired NICs.'';
    };
  };
  agent = {
    heartbeat = mkOption {
      type = types.ints.between 1 3600;
      default = 20;
      description = ''Seconds between two heartbeats of a machine's agent.'';
    };
  };
  boots = {
    lease_days = mkOption {
      type = types.number;
      default = 7;
      description = ''Duration of a boot lease in days: how long garbage collection spares what a machine runs after the server last heard of it.'';
    };
    at_once = mkOption {
      type = types.ints.between 1 100000;
      default = 32;
      description = ''Maximum number of machines that boot at the same time, from boot script to multi-user. Further machines wait in iPXE, for example after a power cut.'';
    };
  };
  packs = {
    hot_size = mkOption {
      type = types.ints.between 0 65536;
      default = 256;
      description = ''Maximum MiB of file data in one pack, before compression.'';
    };
    learn_seconds = mkOption {
      type = types.ints.between 0 3600;
      default = 30;
      description = ''How long after multi-user, in seconds, the server still counts a machine's reads as part of its boot when it learns which files are hot.'';
    };
  };
  machines = {
    unknown = mkOption {
      type = types.enum [ "ignore" "register" "menu" "default" ];
      default = "ignore";
      description = ''What to do with an unknown machine, one that matches no host. ignore: let its firmware carry on. register: also record it for `storeboot host list --unknown`. menu: let somebody choose at its console which host it boots like. default: boot it like the host machines.default.'';
    };
    default = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''The host that unknown machines boot like. Each gets a name of its own.'';
    };
  };
  defaults = bootSettings;
  groups = mkOption {
    type = types.attrsOf (types.submodule {
      options = bootSettings;
    });
    default = { };
    description = ''Settings that hosts share.'';
  };
  hosts = mkOption {
    type = types.attrsOf (types.submodule {
      options = bootSettings // {
        mac = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''MAC addresses of the machine's boot NICs, with `:`, `-`, `.` or no separator.'';
        };
        uuid = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''SMBIOS UUIDs. Braces, dashes and upper or lower case do not matter, and neither does the byte order of the first three fields.'';
        };
        serial = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''SMBIOS serial numbers. Blanks around them and upper or lower case do not matter.'';
        };
        label = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''Host labels: other strings that iPXE can send, as NAME=VALUE: `asset=LAB-7`. NAME is a setting of iPXE, such as asset, product or board-serial.'';
        };
        address = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''IPv4 addresses that may mount this host's view through nfs.alias. With dhcp.mode full, the first one inside a network is the host's address there.'';
        };
        group = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = ''Group whose settings the host inherits.'';
        };
        hostname = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = ''Host name. If unset: NAME in [hosts.NAME].'';
        };
      };
    });
    default = { };
    description = ''Machines by name. Each needs a mac, uuid, serial or label, and shares none.'';
  };
}
