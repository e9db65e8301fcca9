"""Makes host settings options of `storeboot host`, from the schema."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import click

from storeboot.cli.names import complete_groups
from storeboot.config import BootSettings, HostSection, Setting, settings_of
from storeboot.errors import StorebootError

# Not kept as a setting: a command that gets it deploys it.
_DEPLOYED = "system"


def setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting: matchers first, then how the machine boots."""
    settings = [each for each in settings_of(HostSection).values() if each.name != _DEPLOYED]
    settings.sort(key=lambda each: each.name in BootSettings.model_fields)
    for setting in reversed(settings):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[Callable[..., None]], Callable[..., None]]:
    name, text = f"--{setting.option}", setting.summary
    if setting.kind is bool:
        return click.option(f"{name}/--no-{setting.option}", setting.name, default=None, help=text)
    return click.option(
        name,
        setting.name,
        type=click.Choice(setting.choices) if setting.choices else str,
        shell_complete=complete_groups if setting.name == "group" else None,
        multiple=setting.several,
        help=f"{text} May be repeated." if setting.several else text,
    )


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a command was given; raise StorebootError if one of them is empty.

    An empty value is a variable of a shell that was not set more often than it is meant.
    """
    settings = settings_of(HostSection)
    for name, value in values.items():
        if value == "" or (isinstance(value, tuple) and "" in value):
            raise StorebootError(
                f"--{settings[name].option} is empty",
                "leave it out; storeboot host set NAME --unset takes a setting away",
            )
    return {name: value for name, value in values.items() if value not in (None, ())}


def named(words: Iterable[str]) -> set[str]:
    """Return the settings that `--unset` names, by option or by setting; raise StorebootError for
    others."""
    settings = settings_of(HostSection)
    options = {each.option: name for name, each in settings.items()}
    found = set()
    for word in words:
        name = options.get(word, word.replace("-", "_"))
        if name not in settings:
            alike = difflib.get_close_matches(word, options, n=1)
            known = ", ".join(sorted(options))
            raise StorebootError(
                f"there is no setting {word!r}",
                f"did you mean {alike[0]}?" if alike else f"there are {known}",
            )
        found.add(name)
    return found


def complete_settings(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the settings that `--unset` accepts."""
    names = (name.replace("_", "-") for name in settings_of(HostSection))
    return sorted(name for name in names if name.startswith(incomplete))
