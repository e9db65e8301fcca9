"""docs/reference/storeboot.example.toml: every section and setting of the file, with comments."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from storeboot.config import Config, HostSection, SettingsSection

WIDTH = 100
# The tables by name: what the example calls its one.
NAMES = {"networks": "lab", "groups": "room", "hosts": "lab1"}
# What the example's one group and host set; for the rest [defaults] is the example.
GROUP = ("kernel_params",)
HOST = frozenset({*HostSection.model_fields.keys() - SettingsSection.model_fields.keys(), "system"})


def text() -> str:
    """The file: what has a default is set to it, what has none is a comment with an example."""
    lines = ["# Every setting. A setting without a default is commented out, with an example."]
    for name, field in Config.model_fields.items():
        lines += ["", *_section(name, field)]
    return "\n".join(lines) + "\n"


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    model = field.annotation
    if get_origin(model) is dict:
        model = get_args(model)[1]
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    if model is HostSection or name in NAMES:
        yield from _comment(field.description or "")
    else:
        yield from _comment((model.__doc__ or "").partition("\n\n")[0])
    yield f"[{name}.{NAMES[name]}]" if name in NAMES else f"[{name}]"
    for setting, inner in model.model_fields.items():
        if (name == "groups" and setting not in GROUP) or (name == "hosts" and setting not in HOST):
            continue
        yield from _setting(setting, inner, is_given=name in NAMES)


def _setting(name: str, field: FieldInfo, is_given: bool) -> Iterator[str]:
    yield from _comment(field.description or "")
    default = None if field.is_required() else field.get_default()
    if default not in (None, (), {}):
        yield f"{name} = {_toml(default)}"
        return
    example = (field.examples or [""])[0]
    hidden = "" if field.is_required() or is_given else "# "
    yield f"{hidden}{name} = {_toml(example)}"


def _comment(words: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(words.split()), WIDTH - 2, break_on_hyphens=False):
        yield f"# {line}"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, default=str, ensure_ascii=False)
