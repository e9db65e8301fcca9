"""The settings of the configuration file as options of the NixOS module, as text."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from storeboot.config import BootSettings, Config, SettingsSection
from storeboot.process import run

MODULES = Path(__file__).parents[1] / "tests/modules/options.nix"
HEAD = """\
# Written by scripts/reference from src/storeboot/config: the settings of storeboot.toml.
{ lib }:
let
  inherit (lib) mkOption types;
"""
# What defaults, groups and hosts have in common is said once.
SHARED = "  bootSettings = "
# A system may be given as the package that it is, so that the server builds it with itself.
TYPES = {"system": "types.nullOr (types.either types.str types.package)"}
# What it makes a difference to say at all, besides the settings of a layer.
UNSAID = frozenset({"listen"})


def options() -> str:
    """nix/modules/server/options.nix."""
    shared = "\n".join(_sections(SettingsSection, "  "))
    return f"{HEAD}{SHARED}{shared.lstrip()};\nin\n" + "\n".join(_sections(Config, "")) + "\n"


def reference() -> str:
    """docs/reference/nixos.md, from the modules themselves."""
    words = ["nix-instantiate", "--eval", "--strict", "--json", str(MODULES)]
    found: list[dict[str, str]] = json.loads(run(words, hint="install Nix"))
    parts = ["# NixOS options", "", "The options of `services.storeboot` are the settings of the",
             "[configuration file](configuration.md), one by one. Null options are left out of it.",
             ""]  # fmt: skip
    for prefix, title in (
        ("services.storeboot.", "The server: `nixosModules.server`"),
        ("storeboot.client.", "Machines: `nixosModules.client`"),
    ):
        parts += [f"## {title}", ""]
        for option in sorted(found, key=lambda each: each["name"]):
            if option["name"].startswith(prefix):
                parts += _described(option)
    return "\n".join(parts)


def _described(option: dict[str, str]) -> list[str]:
    facts = [option["type"]]
    facts.append(f"default `{option['default']}`" if "default" in option else "required")
    if "example" in option:
        facts.append(f"for example `{option['example']}`")
    words = " ".join(option["description"].split())
    return [f"**`{option['name']}`**", f"({'; '.join(facts)})", "", words, ""]


def _sections(model: type[BaseModel], indent: str) -> Iterator[str]:
    own = model.model_fields
    start = "{"
    if model is not SettingsSection and issubclass(model, SettingsSection):
        own = {name: own[name] for name in own if name not in SettingsSection.model_fields}
        start = "bootSettings // {"
    yield indent + start
    for name, field in own.items():
        is_layers = issubclass(model, BootSettings) and name in BootSettings.model_fields
        yield from _option(name, _unset(field) if is_layers else field, indent + "  ")
    yield indent + "}"


def _unset(field: FieldInfo) -> FieldInfo:
    """A layer's setting, which null or an empty list leaves to the other layers."""
    value = field.get_default()
    if value in (None, ()):
        return field
    words = f"{field.description} If unset: `{json.dumps(value)}`."
    return FieldInfo.from_annotated_attribute(
        field.rebuild_annotation() | None, FieldInfo(default=None, description=words)
    )


def _option(name: str, field: FieldInfo, indent: str) -> Iterator[str]:
    section = _section(field.annotation)
    is_table = get_origin(field.annotation) is dict
    if section is SettingsSection and not is_table:
        yield f"{indent}{name} = bootSettings;"
        return
    if section is not None and get_origin(field.annotation) is not dict:
        lines = list(_sections(section, indent))
        yield f"{indent}{name} = {lines[0].strip()}"
        yield from lines[1:-1]
        yield lines[-1] + ";"
        return
    yield f"{indent}{name} = mkOption {{"
    if section is not None:
        yield f"{indent}  type = types.attrsOf (types.submodule {{"
        inner = list(_sections(section, indent + "    "))
        if section is SettingsSection:
            inner = ["bootSettings"]
        inner[0] = f"{indent}    options = {inner[0].strip()}"
        inner[-1] += ";"
        yield from inner
        yield f"{indent}  }});"
        yield f"{indent}  default = {{ }};"
    else:
        yield f"{indent}  type = {_type(name, field)};"
        default = _default(name, field)
        if default is not None:
            yield f"{indent}  default = {default};"
    yield f"{indent}  description = {_text(field.description or '')};"
    yield f"{indent}}};"


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, or of each value of a table of sections."""
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _type(name: str, field: FieldInfo) -> str:
    if name in TYPES:
        return TYPES[name]
    said = _of(field.annotation, field.metadata)
    return f"types.nullOr {_argument(said)}" if name in UNSAID else said


def _of(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        inner = next(each for each in arguments if each is not type(None))
        return f"types.nullOr {_argument(_of(inner, metadata))}"
    if hasattr(annotation, "__metadata__"):
        return _of(arguments[0], list(annotation.__metadata__))
    if origin is Literal:
        return f"types.enum [ {' '.join(json.dumps(each) for each in arguments)} ]"
    if origin is tuple:
        return f"types.listOf {_argument(_of(arguments[0], []))}"
    if origin is dict:
        return f"types.attrsOf {_argument(_of(arguments[1], []))}"
    if annotation is int:
        return _integer([*metadata, *_nested(metadata)])
    return {str: "types.str", bool: "types.bool", float: "types.number", Path: "types.path"}[
        annotation
    ]


def _nested(metadata: list[Any]) -> list[Any]:
    """Bounds inside a Field() that is itself metadata."""
    return [each for part in metadata if isinstance(part, FieldInfo) for each in part.metadata]


def _integer(metadata: list[Any]) -> str:
    low = next((each.ge for each in metadata if isinstance(each, Ge)), None)
    high = next((each.le for each in metadata if isinstance(each, Le)), None)
    if (low, high) == (1, 65535):
        return "types.port"
    return f"types.ints.between {low} {high}"


def _argument(text: str) -> str:
    return f"({text})" if " " in text else text


def _default(name: str, field: FieldInfo) -> str | None:
    value = field.get_default()
    if value is PydanticUndefined:
        return None
    if value is None or name in UNSAID:
        return "null"
    if value == () or value == {}:
        return "[ ]" if value == () else "{ }"
    return json.dumps(value, default=str)


def _text(words: str) -> str:
    return "''" + words.replace("''", "'''").replace("${", "''${") + "''"
