"""The words of the protocol, held against all that speaks them besides Python.

Each comparison goes both ways: a word that shell uses must be defined, and one that is defined must
be used.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from storeboot.boot.state import NEVER, Condition
from storeboot.config import SettingsSection
from storeboot.process import run
from storeboot.protocol.fields import AnswerField, BeginField, NextField
from storeboot.protocol.mounting import Option, file_system, mount_options
from storeboot.protocol.orders import Order
from storeboot.protocol.parameters import LeaseField, Parameter
from storeboot.protocol.reports import ReportFact, ReportPart
from storeboot.protocol.stages import Source, Stage
from storeboot.protocol.units import DIRECTORY, UNITS, AgentEvent
from unit.initrd_scripts import (
    OF_AGENT,
    ROOT,
    SCRIPTS,
    cases,
    code,
    commands,
    facts,
    function,
    lines,
)

PACKAGE = ROOT / "src/storeboot"
# A migration keeps the words of its time.
WITHOUT = {*(PACKAGE / "protocol").iterdir(), *(PACKAGE / "hosts/migrations").rglob("*.py")}
PYTHON = sorted(set(PACKAGE.rglob("*.py")) - WITHOUT)
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
NIX = sorted((ROOT / "nix").rglob("*.nix"))
# Shell of tests and benchmarks that mounts as machines do.
GUESTS = ("tests/e2e/crowd.sh", "tests/e2e/linux_client.sh", "tests/systemd/reader.sh",
          "bench/nfs/guest.sh")  # fmt: skip


@pytest.mark.parametrize("source", [Source.INITRD, Source.AGENT])
def test_stages_that_shell_reports(source: Source) -> None:
    names = {path.name for path in SCRIPTS.iterdir()}
    text = code(*sorted(OF_AGENT if source is Source.AGENT else names - OF_AGENT))
    said = commands("report", text) | commands("step", text)
    assert said == {stage for stage in Stage if source in stage.sources}


def test_orders_that_the_agent_carries_out() -> None:
    assert cases(function("heartbeat", "agent.sh")) == set(Order)


def test_fields_of_the_answer_are_facts_that_shell_reads() -> None:
    """Besides settings of the host: tests/integration/test_http.py has those."""
    read, written = facts()
    assert read - written - set(SettingsSection.model_fields) == set(AnswerField) - written
    assert set(AnswerField) <= read
    # A machine that cannot use its pack forgets it; no other field takes the place of a fact.
    assert {*AnswerField, *SettingsSection.model_fields} & written == {AnswerField.PACK}


def test_an_answer_becomes_facts_whatever_its_fields_are(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text("boot=ab\nkey=x=y==\npack=\nnonsense\n=a\n../x=1\nB=1\n")
    script = (
        f"CONSOLE=''; . {SCRIPTS}/common.sh; . {SCRIPTS}/begin.sh; SB={tmp_path}; read_answer\n"
        "fact boot; fact key; fact pack"
    )
    assert run(["sh", "-c", script]) == "ab\nx=y==\n\n"
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"answer", "fact.boot", "fact.key", "fact.pack"}


def test_fields_that_begin_a_boot() -> None:
    said = lines(function("boot_request", "begin.sh")) | lines(function("report", "common.sh"))
    assert said == set(BeginField)


def test_fields_of_what_comes_next() -> None:
    assert commands("next", code("agent.sh")) == set(NextField)


def test_parts_and_facts_of_a_report() -> None:
    text = code("report.sh")
    assert commands("send", text) == set(ReportPart)
    assert lines(text) == set(ReportFact)


def test_parameters_that_shell_reads_or_writes() -> None:
    used = set(re.findall(r"(?<![-\w])storeboot\.[a-z]+|\bBOOTIF\b", code()))
    used |= {word for word in commands("param", code()) if word != "storeboot"}
    not_ours = {each for each in Parameter if each.startswith(("systemd.", "nfs."))}
    assert used == set(Parameter) - not_ours - {Parameter.INITRD}


def test_parameters_that_documents_and_modules_name() -> None:
    text = "".join(path.read_text() for path in (*PAGES, *NIX))
    named = set(re.findall(r"\bstoreboot\.[a-z]+(?==)", text))
    named |= set(re.findall(r'ConditionKernelCommandLine = "([^"]+)"', text))
    paragraph = re.search(r"\*\*Command line\*\*.*?\n\n", text, re.DOTALL)
    assert paragraph
    named |= set(re.findall(r"`(storeboot\.[a-z]+)", paragraph[0]))
    assert {Parameter.URL, Parameter.DEBUG} <= named <= set(Parameter)


def test_a_lease_that_the_agent_writes_is_the_one_that_the_initrd_reads() -> None:
    assert commands("lease", function("keep_address", "network.sh")) == set(LeaseField)
    assert commands("fact", function("lease_param", "agent.sh")) == set(LeaseField)


@pytest.mark.parametrize("version", ["3", "4.0", "4.1", "4.2"])
def test_mount_options(version: str) -> None:
    """As the initrd's own function says them."""
    script = (
        f"fact() {{ case $1 in nfs_server) echo 192.0.2.1 ;; nfs_port) echo 2050 ;; "
        f"nfs_version) echo {version} ;; ip) echo 192.0.2.9 ;; esac; }}\n"
        f". {SCRIPTS}/store.sh\nnfs_type\nnfs_options\n"
    )
    kind, options = run(["sh", "-c", script]).split()
    assert kind == file_system(version)
    assert options == ",".join(mount_options(version, "192.0.2.1", 2050, "192.0.2.9"))


@pytest.mark.parametrize("guest", GUESTS)
def test_mount_options_of_test_machines(guest: str) -> None:
    found = re.findall(r"\b(?:common=|options=|echo )\"(?:\$\w+,)?([^\"$]+=[^\"]+)\"",
                       (ROOT / guest).read_text())  # fmt: skip
    used = {option.partition("=")[0] for options in found for option in options.split(",")}
    names = {each.partition("=")[0] for version in ("3", "4.2")
             for each in mount_options(version, "", 0, "")}  # fmt: skip
    assert {"ro", "proto", "nolock", "clientaddr"} <= used
    assert used <= names | {"nconnect"}


def test_lines_that_the_agent_reads() -> None:
    assert {word.partition("\\")[0] for word in cases(function("reached", "agent.sh"))} == set(
        AgentEvent
    )
    assert f"SB={DIRECTORY}\n" in code("common.sh")


def test_a_machine_is_up_only_while_its_target_is_active() -> None:
    """An order alone is kept by a target that was never reached (systemd.unit(5), BindsTo)."""
    (unit,) = [each for each in UNITS if each.line == AgentEvent.MULTI_USER]
    assert {unit.relations["BindsTo"], unit.relations["After"]} == {unit.target}


def test_lines_that_are_written_for_the_agent() -> None:
    readers = [*SCRIPTS.iterdir(), *PAGES, *(PACKAGE / "vm/demo").rglob("*")]
    text = "".join(path.read_text() for path in readers if path.is_file() and path.suffix != ".c")
    written = set(re.findall(r"echo ([a-z-]+)[^>\n]*> ?[^ \n]*/events", text))
    written |= {unit.line.partition(" ")[0] for unit in UNITS}
    assert written == set(AgentEvent)


def test_the_initrds_shell_writes_no_unit_of_its_own() -> None:
    """But for dhcpcd's, whose command line is the system's."""
    assert code().count("[Service]") == 1


def test_stages_that_documents_and_the_machine_test_name() -> None:
    page = (ROOT / "docs/how-to/diagnose.md").read_text()
    rows = re.findall(r"^\| (`.*?`)", page, re.M)
    named = {word for row in rows for word in re.findall(r"`([^`]+)`", row)}
    assert {Stage.BEGIN, Stage.SILENT, *Condition} <= named <= {*Stage, *Condition, NEVER}
    awaited = re.findall(r'stage\\": \\"([^"\\]+)', (ROOT / "nix/tests/boot.nix").read_text())
    assert awaited
    assert set(awaited) <= set(Stage)


def test_python_uses_the_definitions() -> None:
    """No literal where a stage or its source is meant, nor one that can mean nothing else."""
    found = {
        str(path.relative_to(PACKAGE)): literals
        for path in PYTHON
        if (literals := list(_literals(ast.parse(path.read_text()))))
    }
    assert found == {}


def _literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    words = {*Stage, *ReportPart, *Parameter}
    plain = {word for word in words if "-" in word or "." in word}
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Attribute) and side.attr in ("stage", "source")
                   for side in sides):  # fmt: skip
                values = [each for side in sides for each in ast.walk(side)
                          if isinstance(each, ast.expr)]  # fmt: skip
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Event":
            values = node.args[1:3]
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.lineno, value.value
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (node.value in plain or re.search(r"\bstoreboot\.[a-z]+=", node.value))
        ):
            yield node.lineno, node.value


def test_options_have_no_white_space() -> None:
    """They go into one word of mount(8)."""
    assert not any(re.search(r"[\s,]", option) for option in Option)
