"""Hot lists, and what they say of another closure."""

from __future__ import annotations

from storeboot.pack.hot import FIRST, HotList

A, B, C = (letter * 32 for letter in (b"a", b"b", b"c"))
LIBC, NGINX, UNIT = A + b"-glibc-2.40/lib/libc.so.6", B + b"-nginx-1.26/bin/nginx", C + b"-unit"
LIST = HotList({LIBC: 0.5, NGINX: 0.25, UNIT: 0.125})


def test_what_is_read_becomes_hotter_and_all_else_colder() -> None:
    new = A + b"-new/file"
    more = LIST.with_boot([UNIT, new], held=[LIBC, NGINX], resident=[LIBC])
    assert more.files[LIBC] > LIST.files[LIBC]
    assert more.files[UNIT] > LIST.files[UNIT]
    assert more.files[NGINX] < LIST.files[NGINX]
    assert more.files[new] == FIRST


def test_what_is_read_no_more_is_forgotten_after_a_while() -> None:
    hot, boots = LIST.with_boot([LIBC], held=[NGINX], resident=[]), 1
    while NGINX in hot.files:
        hot, boots = hot.with_boot([LIBC], held=[NGINX], resident=[]), boots + 1
    assert boots == 7
    assert set(hot.files) == {LIBC}


def test_a_machine_that_cannot_tell_says_nothing_of_what_its_pack_held() -> None:
    hot = LIST.with_boot([UNIT], held=[LIBC, NGINX], resident=None)
    assert (hot.files[LIBC], hot.files[NGINX]) == (0.5, 0.25)
    assert hot.files[UNIT] > 0.125


def test_a_list_goes_over_to_an_update_by_the_paths_inside_packages() -> None:
    rebuilt, newer = b"1" * 32 + b"-glibc-2.40", b"2" * 32 + b"-nginx-1.27"
    assert LIST.for_closure([rebuilt, newer, UNIT]).files == {
        rebuilt + b"/lib/libc.so.6": 0.5, newer + b"/bin/nginx": 0.25, UNIT: 0.125,
    }  # fmt: skip


def test_the_same_name_goes_before_the_same_package() -> None:
    same, other = b"1" * 32 + b"-nginx-1.26", b"2" * 32 + b"-nginx-1.27"
    assert set(LIST.for_closure([same, other]).files) == {same + b"/bin/nginx"}


def test_what_another_closure_lacks_is_left_out() -> None:
    assert LIST.for_closure([b"1" * 32 + b"-bash-5"]).files == {}
