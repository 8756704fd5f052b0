"""Processes that read blocks, and die of what they read, or whatever they read."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest

from crnn_jax.bulk.inputs import Item
from crnn_jax.bulk.workers import Workers
from crnn_jax.errors import UserError


def make_fragile(argument):
    """A reader that ends its process at "bad"."""
    if argument == "mistake":
        raise UserError("no such model")
    if argument == "dies":
        os._exit(9)

    def read(items):
        for item in items:
            if item.name == "bad":
                os._exit(9)
            if item.name == "stop":
                os.kill(os.getpid(), signal.SIGTERM)
        return [(f"read {item.name}", False) for item in items]

    return read


def fragile(argument: str = "") -> Workers:
    return Workers(make_fragile, argument, 2, lambda item: f"lost {item.name}")


def blocks(*texts: str) -> list[list[Item]]:
    return [[Item(name, name) for name in text.split()] for text in texts]


@pytest.mark.slow
def test_an_image_that_kills_its_process_costs_one_row() -> None:
    pool = fragile()
    found = list(pool.read(blocks("a b", "c bad d", "e", "f", "g")))
    pool.close()
    assert [line for lines in found for line, _ in lines] == [
        "read a", "read b", "read c", "lost bad", "read d", "read e", "read f", "read g",
    ]  # fmt: skip
    assert found[1][1] == ("lost bad", True)


@pytest.mark.slow
def test_stopping_is_not_for_those_that_read() -> None:
    pool = fragile()  # a signal to the whole group would have each block read once more, one by one
    found = list(pool.read(blocks("a stop", "b")))
    pool.close()
    assert found == [[("read a", False), ("read stop", False)], [("read b", False)]]


@pytest.mark.slow
def test_processes_that_cannot_begin_are_told_of() -> None:
    pool = fragile("mistake")
    with pytest.raises(UserError, match="no such model"):
        next(pool.read(blocks("a")))
    pool.close()
    pool = fragile("dies")
    with pytest.raises(UserError, match=r"end before they begin.*give fewer with --jobs"):
        next(pool.read(blocks("a")))
    pool.close()


@pytest.mark.slow
def test_processes_that_always_die_when_they_read_are_told_of() -> None:
    pool = fragile()
    found = pool.read(blocks("bad bad bad bad bad"))
    with pytest.raises(UserError, match=r"end again and again, now at bad: give fewer"):
        list(found)
    pool.close()


@pytest.mark.slow
def test_processes_that_die_between_two_blocks_cost_nothing() -> None:
    pool = fragile()
    found = pool.read(blocks(*"abcdefg"))
    lines = next(found)
    for process in list(pool._pool._processes.values()):
        process.kill()
    while not pool._pool._broken:
        time.sleep(0.01)
    lines += itertools.chain.from_iterable(found)
    pool.close()
    assert lines == [(f"read {name}", False) for name in "abcdefg"]
