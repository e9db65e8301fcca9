"""Why a rollout does not move, in one line."""

from __future__ import annotations

import pytest

from storeboot.deploy.following import Waiting, require_given, why_still
from storeboot.errors import StorebootError
from storeboot.hosts.boot import Boot
from storeboot.hosts.rollouts import Member, MemberStanding, Rollout
from storeboot.protocol.orders import Order

NOW = 10_000.0


def rollout(word: Order | None = Order.RESTART, batch: int = 2) -> Rollout:
    return Rollout(7, "room", "/nix/store/s", batch, 1, word, 600.0, 0.0)


def member(host: str, standing: MemberStanding = MemberStanding.WAITING, **more: object) -> Member:
    return Member(7, host, 0, standing, **more)  # type: ignore[arg-type]


def boot(seen_at: float = NOW) -> Boot:
    return Boot("b", "h", "v", "s", "n", "m", "a", 1.0, seen_at)


def why(*hosts: Waiting, word: Order | None = Order.RESTART, batch: int = 2) -> str:
    return why_still(rollout(word, batch), hosts, NOW, 20.0)


def test_all_are_held() -> None:
    hosts = [Waiting(member(f"pc{each}"), "an exam", boot()) for each in range(7)]
    assert why(*hosts) == "pc0, pc1, pc2, pc3, pc4 and 2 more: held (an exam)"


def test_each_reason_is_said_once_with_its_hosts() -> None:
    said = why(
        Waiting(member("a", MemberStanding.TRYING, since=NOW - 90), None, boot()),
        Waiting(member("b"), None, boot(NOW - 7200)),
        Waiting(member("c"), None, None),
        Waiting(member("d"), None, None),
        Waiting(member("e", asked="b", reason="systemctl reboot: inhibited"), None, boot()),
        Waiting(member("f"), None, boot()),
    )
    assert said == (
        "a: got the system 90 s ago, not up with it yet; "
        "b: due at the next boot; last seen 2 h ago; "
        "c, d: due at the next boot; never seen; "
        "e: due at the next boot; systemctl reboot: inhibited; f: to be asked"
    )


def test_a_full_batch_is_a_reason() -> None:
    trying = Waiting(member("a", MemberStanding.TRYING, since=NOW), None, boot())
    said = why(trying, Waiting(member("b"), None, boot()), batch=1)
    assert said.endswith("; b: to be asked after others (1 at a time)")


def test_without_an_order_machines_decide() -> None:
    said = why(Waiting(member("a"), None, boot()), word=None)
    assert said == "a: due at the next boot; running"


def test_words_of_machines_and_people_are_one_line() -> None:
    said = why(Waiting(member("a"), "x\x1b[31m\ny", None))
    assert said == "a: held (x\N{REPLACEMENT CHARACTER}y)"


def test_a_rollout_that_gave_nothing_is_an_error() -> None:
    left = [member(each, MemberStanding.LEFT, reason="removed") for each in ("a", "b")]
    with pytest.raises(StorebootError, match="no host: a: removed; b: removed"):
        require_given(rollout(), left)
    require_given(rollout(), [*left, member("c", MemberStanding.DONE)])
