# A small stand-in for nixpkgs' lib: its module system as far as storeboot's modules use it.
#
# What it does not cover: other types than these, options declared twice, freeform types, renamed and
# removed options, disabled modules, and everything that nixpkgs' own modules check. `make
# test-nixpkgs` evaluates the same modules with the real ones.
let
  inherit (builtins)
    all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl' hasAttr
    head isAttrs isBool isFloat isFunction isInt isList isPath isString length listToAttrs map match
    replaceStrings sort stringLength substring tail toJSON toString typeOf;

  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  filterAttrs = keep: set:
    listToAttrs (concatMap (name: if keep name set.${name} then [ (nameValuePair name set.${name}) ] else [ ]) (attrNames set));
  nameValuePair = name: value: { inherit name value; };
  unique = foldl' (seen: each: if elem each seen then seen else seen ++ [ each ]) [ ];
  showLoc = concatStringsSep ".";
  isType = type: value: isAttrs value && value._type or null == type;
  isDerivation = value: isAttrs value && value.type or null == "derivation";
  isPlainSet = value: isAttrs value && !(value ? _type) && !isDerivation value;

  # Properties, as nixpkgs' lib/modules.nix has them.
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkOrder = priority: content: { _type = "order"; inherit priority content; };
  plainPriority = 100;

  discharge = value:
    if isType "merge" value then concatMap discharge value.contents
    else if isType "if" value then (if value.condition then discharge value.content else [ ])
    else [ value ];

  pushDown = value:
    let through = wrap: inner: map (builtins.mapAttrs (_: wrap)) (pushDown inner); in
    if isType "merge" value then concatMap pushDown value.contents
    else if isType "if" value then through (mkIf value.condition) value.content
    else if isType "override" value then through (mkOverride value.priority) value.content
    else [ value ];

  # Definitions of the strongest priority, in order, without their properties.
  settled = values:
    let
      plain = concatMap discharge values;
      priority = value: if isType "override" value then value.priority else plainPriority;
      strongest = foldl' (least: value: if priority value < least then priority value else least) 9999 plain;
      kept = concatMap
        (value: if isType "override" value then discharge value.content else [ value ])
        (filter (value: priority value == strongest) plain);
      order = value: if isType "order" value then value.priority else 1000;
      sorted = sort (a: b: order a < order b) kept;
    in
    map (value: if isType "order" value then value.content else value) sorted;

  fail = loc: words: throw "The option `${showLoc loc}' ${words}";

  one = loc: values:
    if length (unique values) == 1 then head values
    else fail loc "has conflicting definition values";

  mkType = { name, check, merge ? one, ... }@type: { inherit name check merge; } // type;

  types = rec {
    bool = mkType { name = "boolean"; check = isBool; };
    int = mkType { name = "signed integer"; check = isInt; };
    float = mkType { name = "floating point number"; check = value: isFloat value || isInt value; };
    number = float;
    str = mkType { name = "string"; check = isString; };
    singleLineStr = mkType { name = "(optionally newline-terminated) single-line string"; check = value: isString value && match "[^\n]*\n?" value != null; };
    strMatching = pattern: mkType { name = "string matching the pattern ${pattern}"; check = value: isString value && match pattern value != null; };
    lines = mkType { name = "strings concatenated with \"\\n\""; check = isString; merge = _: concatStringsSep "\n"; };
    path = mkType { name = "absolute path"; check = value: isPath value || (isString value || isDerivation value) && substring 0 1 (toString value) == "/"; };
    package = mkType { name = "package"; check = isDerivation; };
    enum = values: mkType { name = "one of ${concatStringsSep ", " (map toJSON values)}"; check = value: elem value values; };
    ints = {
      between = low: high: mkType { name = "integer between ${toString low} and ${toString high} (both inclusive)"; check = value: isInt value && value >= low && value <= high; };
      unsigned = mkType { name = "unsigned integer, meaning >=0"; check = value: isInt value && value >= 0; };
      positive = mkType { name = "positive integer, meaning >0"; check = value: isInt value && value > 0; };
    };
    port = mkType { name = "16 bit unsigned integer; between 0 and 65535 (both inclusive)"; check = value: isInt value && value >= 0 && value < 65536; };
    nullOr = type: mkType {
      name = "null or ${type.name}";
      check = value: value == null || type.check value;
      merge = loc: values: if all (value: value == null) values then null else type.merge loc values;
    };
    either = first: second: mkType {
      name = "${first.name} or ${second.name}";
      check = value: first.check value || second.check value;
      merge = loc: values: (if all first.check values then first else second).merge loc values;
    };
    oneOf = all: foldl' either (head all) (tail all);
    listOf = type: mkType {
      name = "list of ${type.name}";
      check = isList;
      merge = loc: values: map (each: checked loc type [ each ]) (concatLists values);
    };
    attrsOf = type: mkType {
      name = "attribute set of ${type.name}";
      check = isPlainSet;
      merge = loc: values:
        let
          sets = concatMap pushDown values;
          defined = name: concatMap (set: if hasAttr name set then discharge set.${name} else [ ]) sets;
          names = filter (name: defined name != [ ]) (unique (concatMap attrNames sets));
        in
        listToAttrs (map (name: nameValuePair name (checked (loc ++ [ name ]) type (defined name))) names);
      getSubOptions = loc: if type ? getSubOptions then type.getSubOptions (loc ++ [ "<name>" ]) else [ ];
    };
    submodule = module: mkType {
      name = "submodule";
      check = value: isAttrs value || isFunction value;
      merge = loc: values: (evaluate loc { name = elemAt loc (length loc - 1); } ([ module ] ++ map (value: if isFunction value then value else { config = value; }) values)).config;
      getSubOptions = loc: declared loc (optionTrees (collect { name = "‹name›"; config = { }; } [ module ]));
    };
    # Sets are merged at every depth, lists are appended to each other.
    anything = mkType {
      name = "anything";
      check = _: true;
      merge = loc: values:
        if all isPlainSet values then (attrsOf anything).merge loc values
        else if all isList values then concatLists values
        else one loc values;
    };
    raw = mkType { name = "raw value"; check = _: true; merge = loc: values: if length values == 1 then head values else fail loc "is defined multiple times"; };
    attrs = anything;
    unspecified = anything;
  };

  checked = loc: type: definitions:
    let
      values = settled definitions;
      wrong = filter (value: !type.check value) values;
    in
    if wrong != [ ] then
      fail loc "is not of type `${type.name}': ${if isFunction (head wrong) then "a function" else toJSON (head wrong)}"
    else type.merge loc values;

  mkOption = { type ? types.unspecified, ... }@option: { _type = "option"; inherit type; } // option;

  # Modules as { file, options, config }, those that they import included.
  collect = args: concatMap (module:
    let
      loaded = if isPath module || isString module then import module else module;
      value = if isFunction loaded then loaded (given // builtins.intersectAttrs (builtins.functionArgs loaded) given) else loaded;
      given = { inherit lib; } // args;
      hasParts = value ? options || value ? config || value ? imports;
    in
    collect args (value.imports or [ ]) ++ [{
      options = value.options or { };
      config = if hasParts then value.config or { } else builtins.removeAttrs value [ "_file" "key" ];
    }]);

  optionTrees = modules: map (module: module.options) modules;

  # The options of some trees, in one list with their places.
  declared = loc: trees:
    concatMap (name:
      let found = map (tree: tree.${name}) (filter (hasAttr name) trees); in
      if isType "option" (head found)
      then [ { loc = loc ++ [ name ]; option = head found; } ]
        ++ (if (head found).type ? getSubOptions then (head found).type.getSubOptions (loc ++ [ name ]) else [ ])
      else declared (loc ++ [ name ]) found
    ) (unique (concatMap attrNames trees));

  evalTree = loc: trees: configs:
    let
      names = unique (concatMap attrNames trees);
      sets = concatMap pushDown configs;
      strange = filter (name: !elem name names) (unique (concatMap attrNames sets));
      each = name:
        let
          place = loc ++ [ name ];
          found = map (tree: tree.${name}) (filter (hasAttr name) trees);
          given = map (set: set.${name}) (filter (hasAttr name) sets);
          option = head found;
          definitions = concatMap discharge given;
          default = if option ? default then [ (mkOverride 1500 option.default) ] else [ ];
        in
        if !isType "option" option then evalTree place found given
        else if definitions ++ default == [ ] then fail place "is used but not defined"
        else (option.apply or (value: value)) (checked place option.type (definitions ++ default));
    in
    if strange != [ ] then fail (loc ++ [ (head strange) ]) "does not exist"
    else listToAttrs (map (name: nameValuePair name (each name)) names);

  evaluate = loc: specialArgs: modules:
    let
      found = collect (specialArgs // { inherit config; options = declared loc (optionTrees found); }) modules;
      config = evalTree loc (optionTrees found) (map (module: module.config) found);
    in
    { inherit config; options = declared loc (optionTrees found); };

  lib = {
    inherit types mkIf mkMerge mkOverride mkOption mapAttrsToList filterAttrs nameValuePair unique isDerivation;
    inherit (builtins) all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter
      hasAttr head length listToAttrs mapAttrs tail toJSON isAttrs isList isBool isString isInt;
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkOptionDefault = mkOverride 1500;
    mkBefore = mkOrder 500;
    mkAfter = mkOrder 1500;
    mkEnableOption = name: mkOption { type = types.bool; default = false; example = true; description = "Whether to enable ${name}."; };
    literalExpression = text: { _type = "literalExpression"; inherit text; };
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    concatMapStringsSep = separator: f: values: concatStringsSep separator (map f values);
    escapeShellArg = value: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString value)}'";
    splitString = separator: text: filter isString (builtins.split (replaceStrings [ "." ] [ "\\." ] separator) text);
    mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    getExe = package: "${package}/bin/${package.meta.mainProgram or package.pname or package.name}";
    getExe' = package: program: "${package}/bin/${program}";
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
    evalModules = { modules, specialArgs ? { } }: evaluate [ ] specialArgs modules;
    licenses = { mit.spdxId = "MIT"; };
    platforms = { linux = [ "x86_64-linux" "aarch64-linux" ]; };
    fileset = null;
    cleanSource = path: path;
    fakeHash = "";
  };
in
lib
