"""The arithmetic of the plan; listing is tried with Spark, by whole runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from verger.catalog import ARROW_BYTES, ARROW_ROWS, TASK_BYTES, Counts, Plan


def counts(sizes: list[int]) -> Counts:
    return Counts(
        listed=len(sizes), new=len(sizes), embedded=0, failed=0, others=0, new_bytes=sum(sizes), largest=max(sizes)
    )


SIZES = st.lists(st.integers(1, 1 << 26), min_size=1, max_size=300)
SLOTS = st.integers(1, 64)


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


def test_large_images_make_tasks_small() -> None:
    sizes = [8 << 20] * 1000
    plan = Plan.of(counts(sizes), 2, None, None)
    assert plan.tasks >= sum(sizes) // TASK_BYTES
    assert plan.arrow_rows == 2


def test_partitions_can_be_given_but_not_beyond_the_images() -> None:
    assert Plan.of(counts([1] * 100), 2, None, 7).tasks == 7
    assert Plan.of(counts([1] * 3), 2, None, 7).tasks == 3
