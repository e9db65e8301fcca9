"""Says what is wrong with a configuration in sentences of our own, each with its place and cure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from storeboot.config.fields import settings_of
from storeboot.config.section import Section

_SHOWN = 60  # characters of a value
_ALIKE = 0.7  # ratio of difflib from which two names count as a slip of the keyboard
_FEW = 12  # names that are listed where none is alike
_INTEGER, _TRUTH = "must be a whole number", "must be true or false"
_LIST, _TABLE = "must be a list in brackets", "must be a table, [NAME] on a line of its own"
# By the type of pydantic's error; {} is a limit of the schema.
_WORDS = {
    "string_type": "must be text in quotes",
    "path_type": "must be a path in quotes",
    "int_type": _INTEGER, "int_parsing": _INTEGER, "int_from_float": _INTEGER,
    "int_parsing_size": _INTEGER,
    "float_type": "must be a number", "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": _TRUTH, "bool_parsing": _TRUTH,
    "tuple_type": _LIST,
    "dict_type": _TABLE, "model_type": _TABLE, "model_attributes_type": _TABLE,
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}", "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}", "less_than": "must be less than {lt}",
    "too_long": "must have at most {max_length} values",
}  # fmt: skip


def faults(error: ValidationError, root: type[Section]) -> list[str]:
    """Return a sentence for each fault in a document whose schema is `root`."""
    details = error.errors(include_url=False)
    meant = {
        (*each["loc"][:-1], name)
        for each in details
        if each["type"] == "extra_forbidden"
        for name in _alike(each["loc"], root)
    }
    found = [
        _sentence(each, root)
        for each in details
        # It was given, under the name that another sentence is about.
        if not (each["type"] == "missing" and each["loc"] in meant)
    ]
    return list(dict.fromkeys(found))


def listed(what: str, sentences: Sequence[str]) -> str:
    """Return what is wrong with something: in one line, or with a line for each fault."""
    if len(sentences) == 1:
        return f"{what}: {sentences[0]}"
    return f"{what} has {len(sentences)} faults:" + "".join(f"\n  {each}" for each in sentences)


def _sentence(fault: ErrorDetails, root: type[Section]) -> str:
    place = fault["loc"]
    context = fault.get("ctx", {})
    if fault["type"] == "extra_forbidden":
        said = _no_such(fault, root)
    elif fault["type"] == "missing":
        said = _missing(fault, root)
    elif fault["type"] == "value_error":
        said = str(context["error"])
    elif fault["type"] in _WORDS:
        said = _WORDS[fault["type"]].format_map(context).replace("'", '"')
        said += _instead(fault["type"], place, fault["input"])
    else:
        said = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{_dotted(place)}: {said}" if place else said


def _instead(kind: str, place: tuple[int | str, ...], value: Any) -> str:
    """Return how a wrong value was meant or, if nobody can tell, what it is."""
    if kind == "tuple_type" and isinstance(value, str):
        return f": {place[-1]} = {_shown([value])}"
    return f", not {_shown(value)}"


def _no_such(fault: ErrorDetails, root: type[Section]) -> str:
    place = fault["loc"]
    thing = "section" if isinstance(fault["input"], dict) and len(place) == 1 else "setting"
    alike = _alike(place, root) or list(_elsewhere(str(place[-1]), root))
    if alike:
        return f"there is no such {thing}; did you mean {' or '.join(alike)}?"
    known = list(_fields(place[:-1], root))
    if len(known) > _FEW:
        return f"there is no such {thing}"
    return f"there is no such {thing}; there are {', '.join(known)}"


def _missing(fault: ErrorDetails, root: type[Section]) -> str:
    place = fault["loc"]
    whole = _section(place, root)
    if whole is not None:
        needed = [name for name, each in whole.model_fields.items() if each.is_required()]
        return f"the section is missing; it must set {', '.join(needed)}"
    section = _section(place[:-1], root)
    examples = settings_of(section)[str(place[-1])].examples if section is not None else ()
    if isinstance(place[-1], int):
        return f"must have {place[-1] + 1} values"
    return "it must be set" + (f", for example to {_shown(examples[0])}" if examples else "")


def _alike(place: tuple[int | str, ...], root: type[Section]) -> list[str]:
    """Return the setting or section that was probably meant by a name that does not exist."""
    name, known = _plain(str(place[-1])), {_plain(each): each for each in _fields(place[:-1], root)}
    return [known[each] for each in difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)]


def _elsewhere(name: str, root: type[Section]) -> Iterator[str]:
    """Yield the settings of this name in the sections of the file."""
    for section in settings_of(root):
        fields = {_plain(each): each for each in _fields((section,), root)}
        if _plain(name) in fields:
            yield f"{section}.{fields[_plain(name)]}"


def _plain(name: str) -> str:
    """Return a name without what people write differently: stateDirectory, state-directory."""
    return name.lower().replace("-", "").replace("_", "")


def _fields(place: tuple[int | str, ...], root: type[Section]) -> dict[str, Any]:
    section = _section(place, root)
    return dict(section.model_fields) if section is not None else {}


def _section(place: tuple[int | str, ...], root: type[Section]) -> type[Section] | None:
    """Return the schema of the table at a place, or None if no schema names its keys."""
    kind: Any = root
    for part in place:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif isinstance(kind, type) and issubclass(kind, Section) and part in kind.model_fields:
            kind = kind.model_fields[str(part)].annotation
        else:
            return None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _dotted(place: tuple[int | str, ...]) -> str:
    """Return a place as TOML spells it, without positions in lists: the sentence has the value."""
    return ".".join(part for part in place if isinstance(part, str))


def _shown(value: Any) -> str:
    """Return a value as TOML writes it, shortened."""
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
