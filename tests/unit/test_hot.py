"""Hot lists, and what they say of another closure."""

from __future__ import annotations

from storeboot.pack.hot import HotList

A, B, C = (letter * 32 for letter in (b"a", b"b", b"c"))
LIST = HotList(
    {A + b"-glibc-2.40/lib/libc.so.6": 3, B + b"-nginx-1.26/bin/nginx": 1, C + b"-unit": 2}
)


def test_each_boot_counts_once() -> None:
    more = LIST.with_boot([C + b"-unit", A + b"-new/file"])
    assert more.files[C + b"-unit"] == 3
    assert more.files[A + b"-new/file"] == 1
    assert LIST.files[C + b"-unit"] == 2


def test_a_list_goes_over_to_an_update_by_the_paths_inside_packages() -> None:
    rebuilt, newer = b"1" * 32 + b"-glibc-2.40", b"2" * 32 + b"-nginx-1.27"
    assert LIST.for_closure([rebuilt, newer, C + b"-unit"]).files == {
        rebuilt + b"/lib/libc.so.6": 3, newer + b"/bin/nginx": 1, C + b"-unit": 2,
    }  # fmt: skip


def test_the_same_name_goes_before_the_same_package() -> None:
    same, other = b"1" * 32 + b"-nginx-1.26", b"2" * 32 + b"-nginx-1.27"
    assert set(LIST.for_closure([same, other]).files) == {same + b"/bin/nginx"}


def test_what_another_closure_lacks_is_left_out() -> None:
    assert LIST.for_closure([b"1" * 32 + b"-bash-5"]).files == {}
