from __future__ import annotations

from pathlib import Path

import pytest

from storeboot.errors import StoreError
from storeboot.nix.store import PathInfo, Store, StorePath, parse_path_info, registration

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
PATH = f"/nix/store/{HASH}-hello-1.0"
SRI = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

OLD = f'[{{"path":"{PATH}","narHash":"{SRI}","narSize":120,"references":["{PATH}"],"valid":true}}]'
NEW = (
    f'{{"{PATH}":{{"ca":null,"deriver":null,"narHash":"{SRI}","narSize":120,'
    f'"references":["{PATH}"]}}}}'
)
NEWEST = (
    f'{{"info":{{"{HASH}-hello-1.0":{{"narHash":"{SRI}","narSize":120,'
    f'"references":["{HASH}-hello-1.0"]}}}},"storeDir":"/nix/store","version":2}}'
)


@pytest.mark.parametrize("text", [PATH + "/bin/sh", "/nix/store", "/nix/store/short-x", "hello",
                                  "/nix/store/" + "e" * 32 + "-x", PATH + "/.."])  # fmt: skip
def test_what_is_not_a_store_path_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="is not a store path"):
        StorePath.from_arg(text)


def test_a_slash_at_the_end_is_forgiven() -> None:
    assert StorePath.from_arg(PATH + "/") == StorePath(PATH)


@pytest.mark.parametrize("output", [OLD, NEW, NEWEST])
def test_every_shape_of_path_info_reads_the_same(output: str) -> None:
    expected = PathInfo(StorePath(PATH), SRI, 120, (StorePath(PATH),), "")
    assert parse_path_info(output) == [expected]


def test_an_invalid_path_is_an_error() -> None:
    with pytest.raises(StoreError, match="not valid"):
        parse_path_info(f'{{"{PATH}": null}}')


def test_registration_is_what_load_db_reads() -> None:
    assert registration(parse_path_info(OLD)) == (
        f"{PATH}\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
        f"120\n\n1\n{PATH}\n"
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    base = made.directory / f"{HASH}-hello-1.0"
    (base / "bin").mkdir(parents=True)
    (base / "bin" / "hello").write_text("hi")
    (base / "link").symlink_to(f"{PATH}/bin")
    (base / "up").symlink_to("../../../../etc")
    (base / "out").symlink_to("/etc/passwd")
    (base / "loop").symlink_to("loop")
    return made


def test_links_are_followed_inside_the_store(store: Store) -> None:
    found = store.follow(StorePath(PATH), "link/hello")
    assert found is not None
    assert found.read_text() == "hi"


@pytest.mark.parametrize("relative", ["out", "loop", "nothing", "bin/hello/x"])
def test_nothing_leads_out_of_the_store(store: Store, relative: str) -> None:
    assert store.follow(StorePath(PATH), relative) is None


@pytest.mark.parametrize(
    ("relative", "fault"),
    [
        ("out", "leads out of /nix/store, to /etc"),
        ("up", "leads out of /nix/etc"),
        ("loop", f"goes round in a circle, through {PATH}/loop"),
        ("nothing", "does not exist"),
        ("lost", "leads to /nix/store/lost, which does not exist"),
    ],
)
def test_what_leads_nowhere_says_why(store: Store, relative: str, fault: str) -> None:
    (store.physical(StorePath(PATH)) / "lost").symlink_to("../lost")
    found = store.trace(StorePath(PATH), relative)
    assert found.place is None
    assert found.fault.startswith(fault.replace("/nix/etc", "/nix/store, to /etc"))
    assert found.missing is (relative == "nothing")


@pytest.mark.parametrize(
    "typed",
    [PATH, PATH + "/", "prof", "./prof", "deep/../prof", "prof-1-link", "deep/up", "twice/self",
     "root/nix/store/" + PATH.rpartition("/")[2]],
)  # fmt: skip
def test_links_on_this_machine_are_followed_until_the_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prof").symlink_to("prof-1-link")
    (tmp_path / "prof-1-link").symlink_to(PATH)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/up").symlink_to("../prof")
    (tmp_path / "twice").symlink_to(f"{PATH}/twice")
    (tmp_path / "root").symlink_to(tmp_path)
    (store.physical(StorePath(PATH)) / "twice").mkdir()
    (store.physical(StorePath(PATH)) / "twice/self").symlink_to(PATH)
    if typed.startswith("root/"):
        typed = str(tmp_path / typed.removeprefix("root/"))
    assert store.named(typed) == StorePath(PATH)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("./loop", "goes round in a circle, through"),
        ("./lost", "leads to .*/nowhere, which does not exist"),
        ("./nothing", "does not exist"),
        ("./here", "leads to .*here, which is not in a store"),
        ("./inside", "which is a file inside a store path"),
        ("./out", "leads out of /nix/store, to /etc"),
        ("hello", "'hello' is not a store path"),
        ("/nix/store/hello", "is not a store path"),
        (f"{PATH}/bin/no", "does not exist"),
    ],
)
def test_what_is_no_store_path_is_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "here").mkdir()
    (tmp_path / "inside").symlink_to(f"{PATH}/bin/hello")
    (tmp_path / "out").symlink_to(f"{PATH}/out")
    with pytest.raises(StoreError, match=said) as caught:
        store.named(typed)
    assert caught.value.hint


def test_dot_dot_stops_at_the_store(store: Store) -> None:
    assert store.follow(StorePath(PATH), "up") is None


def test_a_typed_path_in_a_directory_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    absolute = f"/nix/store/{'0' * 32}-x"
    assert Store(tmp_path).named(absolute).text == absolute
    with pytest.raises(StoreError, match="directory that does not exist any more"):
        Store(tmp_path).named("./result")
