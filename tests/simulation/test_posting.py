"""Letters posted anew from elsewhere: who holds no key leads nobody astray for long."""

import random

import pytest

from mesh.core.identity import Address
from mesh.sim.network import Loss
from tests.simulation.hunting import a_mesh, close
from tests.simulation.posting import (
    ELSEWHERE,
    Poster,
    doubted,
    posted_and_passed_on,
    posted_faster,
    run_and_watch,
    where_b_is,
)


def test_posted_faster_than_the_mail_b_stays_where_it_is(seeds: range) -> None:
    for seed in seeds:
        posted_faster(seed)


def test_a_postman_who_strikes_is_left_for_the_old_address(seeds: range) -> None:
    for seed in seeds:
        posted_and_passed_on(seed)


def test_on_a_lossy_network_a_good_postman_may_win_and_is_left_when_he_strikes() -> None:
    mesh = a_mesh(1)
    home, poster = where_b_is(mesh), Poster(mesh, passes_back=True)
    loss = Loss(random.Random(1), 0.2)
    mesh.world.add_rule(loss)
    run_and_watch(mesh, 30)
    assert where_b_is(mesh) == ELSEWHERE, "this seed is to show the way back"
    mesh.world.remove_rule(loss)
    poster.passes_back = False
    mesh.run_until(lambda: where_b_is(mesh) == home, 15)
    run_and_watch(mesh, 10)
    assert where_b_is(mesh) == home
    close(mesh)


def test_posted_slower_than_the_mail_nothing_is_sent_there() -> None:
    mesh = a_mesh(1)
    home, poster = where_b_is(mesh), Poster(mesh, late_s=0.05)
    run_and_watch(mesh, 15)
    assert (where_b_is(mesh), poster.got) == (home, 0)
    assert poster.posted > 0
    close(mesh)


@pytest.mark.parametrize("passes_back", [False, True])
def test_the_original_is_kept_for_a_while_then_the_way_is_free(passes_back: bool) -> None:
    mesh = a_mesh(2)
    home, poster = where_b_is(mesh), Poster(mesh, keeps=True, passes_back=passes_back)
    run_and_watch(mesh, 10)
    assert where_b_is(mesh) == home, "what is sent there arrives"
    assert passes_back or poster.most <= 0
    poster.stop()
    run_and_watch(mesh, 5)
    assert where_b_is(mesh) == home
    close(mesh)


def test_both_ways_cut_by_somebody_who_delivers_nothing_heals_when_he_goes() -> None:
    mesh = a_mesh(3)
    home, poster = where_b_is(mesh), Poster(mesh, keeps=True, cuts=True)
    mesh.run(s=10)
    assert where_b_is(mesh) == home
    assert poster.most <= 0
    poster.stop()
    mesh.run_until(lambda: not doubted(mesh), 15)
    close(mesh)


def test_a_machine_that_gets_another_address_is_followed_at_once() -> None:
    mesh = a_mesh(4)
    moved = Address("198.51.100.7", 40_000)
    mesh.world.move("b", moved)
    run_and_watch(mesh, 15)
    assert where_b_is(mesh) == moved
    assert ELSEWHERE not in mesh.world.by_address
    mesh["a"].submit("task")
    mesh.run(s=1)
    assert mesh["b"].view("task") is not None
