"""The arithmetic of the plan, with Spark's own packing of files written out; listing is tried with Spark."""

from __future__ import annotations

import heapq
from math import ceil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from verger.catalog import ARROW_BYTES, ARROW_ROWS, TASK_BYTES, Counts, Plan


def counts(sizes: list[int]) -> Counts:
    return Counts(
        listed=len(sizes), new=len(sizes), embedded=0, failed=0, others=0, new_bytes=sum(sizes), largest=max(sizes)
    )


def packed(sizes: list[int], plan: Plan) -> list[list[int]]:
    """Tasks as Spark's FilePartition.getFilePartitions makes them: largest first, next fit."""
    cost = sum(sizes) + len(sizes) * plan.image_cost
    limit = min(plan.task_cost, max(plan.image_cost, cost))
    tasks: list[list[int]] = [[]]
    filled = 0
    for size in sorted(sizes, reverse=True):
        if filled + size > limit and tasks[-1]:
            tasks.append([])
            filled = 0
        tasks[-1].append(size)
        filled += size + plan.image_cost
    return tasks


SIZES = st.lists(st.integers(1, 1 << 26), min_size=1, max_size=300)
SLOTS = st.integers(1, 64)


def busiest(tasks: list[list[int]], plan: Plan, slots: int) -> int:
    """The cost of the slot that has most to do, when each takes the next task as soon as it is free."""
    loads = [0] * slots
    for task in tasks:
        heapq.heapreplace(loads, loads[0] + sum(task) + len(task) * plan.image_cost)
    return max(loads)


@given(SIZES, SLOTS)
def test_uneven_images_make_about_the_planned_tasks_and_share_the_work(sizes: list[int], slots: int) -> None:
    plan = Plan.of(counts(sizes), slots, None, None)
    assume(plan.commits == 1)
    tasks = packed(sizes, plan)
    assert len(tasks) <= 2 * plan.tasks
    ideal = max((sum(sizes) + len(sizes) * plan.image_cost) / slots, max(sizes) + plan.image_cost)
    assert busiest(tasks, plan, slots) <= 3 * ideal


@given(st.integers(1, 10**7), st.integers(1, 1 << 20), SLOTS, st.integers(1, 10**6))
def test_a_commit_holds_no_more_images_than_asked(new: int, size: int, slots: int, commit_every: int) -> None:
    listing = Counts(new, new, 0, 0, 0, new * size, size)
    plan = Plan.of(listing, slots, commit_every, None)
    assert plan.commits == -(-new // commit_every)
    assert Plan.of(listing, slots, None, None).commits >= 1


@given(SIZES, SLOTS)
def test_tasks_are_as_many_for_each_slot_unless_there_are_fewer_images(sizes: list[int], slots: int) -> None:
    plan = Plan.of(counts(sizes), slots, None, None)
    assert 1 <= plan.tasks <= len(sizes)
    assert plan.tasks % slots == 0 or plan.tasks == len(sizes)


@given(SIZES)
def test_arrow_batches_are_bounded_by_bytes_and_rows(sizes: list[int]) -> None:
    plan = Plan.of(counts(sizes), 2, None, None)
    assert 1 <= plan.arrow_rows <= ARROW_ROWS
    assert plan.arrow_rows == 1 or plan.arrow_rows * max(sizes) <= ARROW_BYTES
    assert plan.settings()["spark__sql__execution__arrow__maxRecordsPerBatch"] == plan.arrow_rows


@pytest.mark.parametrize(("images", "slots"), [(4, 2), (64, 2), (64, 16), (200, 64), (4207, 2), (4207, 16)])
def test_equal_images_are_spread_equally(images: int, slots: int) -> None:
    sizes = [5000] * images
    plan = Plan.of(counts(sizes), slots, None, None)
    assert max(map(len, packed(sizes, plan))) == ceil(images / plan.tasks)


def test_large_images_make_tasks_small() -> None:
    sizes = [8 << 20] * 1000
    plan = Plan.of(counts(sizes), 2, None, None)
    assert plan.tasks >= sum(sizes) // TASK_BYTES
    assert plan.arrow_rows == 2


def test_partitions_can_be_given_but_not_beyond_the_images() -> None:
    assert Plan.of(counts([1] * 100), 2, None, 7).tasks == 7
    assert Plan.of(counts([1] * 3), 2, None, 7).tasks == 3
