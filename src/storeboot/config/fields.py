"""Reads from the schema what a host setting is, for everything that is derived from it.

Options and CSV columns of the commands, the answer to a machine, the example file, the NixOS
options and the reference read the fields of `settings.py` through this.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from storeboot.config.section import Section


@dataclass(frozen=True, slots=True)
class Use:
    """Says how a setting is used; part of its field's annotation."""

    answered: bool = False  # the machine is told it when its boot begins, by the field's name
    joined: bool = False  # the layers' values follow each other; else the innermost one counts
    modules: str = ""  # what the initrd must have if it is set: a field of initrd.modules.Needs
    option: str = ""  # the command line's word for one of several values, if not the field's name


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of a section."""

    name: str
    kind: type  # of a value, or of each of several
    choices: tuple[str, ...]  # the only values; empty where others are taken
    several: bool  # a tuple of values, empty where nothing is set
    default: Any  # None if it has none
    examples: tuple[Any, ...]
    description: str
    use: Use

    @property
    def option(self) -> str:
        """Return its option on a command line, without the dashes in front."""
        return self.use.option or self.name.replace("_", "-")

    @property
    def summary(self) -> str:
        """Return the first sentence of its description."""
        return self.description.partition(". ")[0].rstrip(".") + "."


@cache
def settings_of(section: type[Section]) -> dict[str, Setting]:
    """Return a section's settings by name, in the order of its fields."""
    return {name: _setting(name, field) for name, field in section.model_fields.items()}


def _setting(name: str, field: FieldInfo) -> Setting:
    annotation = _bare(field.annotation)
    several = get_origin(annotation) is tuple
    if several:
        annotation = _bare(get_args(annotation)[0])
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    return Setting(
        name=name,
        kind=type(choices[0]) if choices else get_origin(annotation) or annotation,
        choices=choices,
        several=several,
        default=None if field.is_required() else field.get_default(),
        examples=tuple(field.examples or ()),
        description=field.description or "",
        use=next((each for each in field.metadata if isinstance(each, Use)), Use()),
    )


def _bare(annotation: Any) -> Any:
    """Return a type without None and without what only validation needs."""
    while True:
        if get_origin(annotation) in (Union, UnionType):
            annotation = next(each for each in get_args(annotation) if each is not type(None))
        elif hasattr(annotation, "__metadata__"):
            annotation = get_args(annotation)[0]
        else:
            return annotation


def told(value: object) -> str:
    """Return a setting as scripts read it: one word, "" for none, `:` between several values."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ":".join(map(told, value))
    return "" if value is None else str(value)
