"""The order of batches: from the seed alone, whole, and different in each epoch."""

from __future__ import annotations

import numpy as np

from fwcompare.data.batches import Feed, permutation


def test_a_permutation_is_fixed_for_ever():
    # Written down once: another release of NumPy or of this code must give the same order.
    assert permutation(10, 0, "epoch/1").tolist() == [6, 2, 8, 7, 4, 0, 9, 3, 5, 1]


def test_a_permutation_is_whole_and_depends_on_everything():
    one = permutation(1000, 1, "epoch/1")
    assert sorted(one.tolist()) == list(range(1000))
    for other in (permutation(1000, 2, "epoch/1"), permutation(1000, 1, "epoch/2")):
        assert (one != other).any()


def test_a_permutation_has_no_memory_of_the_order():
    # Spearman's correlation of a random order with the identity has a deviation of 1/sqrt(n - 1).
    ranks = permutation(10_000, 5, "epoch/1")
    assert abs(np.corrcoef(ranks, np.arange(10_000))[0, 1]) < 0.04


def test_feed_drops_or_keeps_the_last_batch():
    dropping = Feed(100, 32, 2, seed=0, drop_last=True)
    assert dropping.steps_per_epoch == 3 and dropping.batch_sizes(1) == [32, 32, 32]
    keeping = Feed(100, 32, 2, seed=0, drop_last=False)
    assert keeping.batch_sizes(2) == [32, 32, 32, 4]
    assert sorted(np.concatenate(keeping.batches(1)).tolist()) == list(range(100))


def test_feed_ends_at_max_steps():
    feed = Feed(100, 32, 5, seed=0, drop_last=True, max_steps=7)
    assert list(feed.epochs) == [1, 2, 3]
    assert [feed.steps(epoch) for epoch in feed.epochs] == [3, 3, 1]
    assert len(list(feed.all_batches())) == feed.total_steps == 7
    assert len(feed.order(3)) == 32


def test_feed_of_nothing():
    assert list(Feed(100, 32, 0, seed=0, drop_last=True).epochs) == []
    assert list(Feed(10, 32, 3, seed=0, drop_last=True).epochs) == []


def test_digests_tell_epochs_and_seeds_apart():
    digests = Feed(100, 32, 3, seed=0, drop_last=True).digests()
    assert len(set(digests)) == 3
    assert digests == Feed(100, 32, 3, seed=0, drop_last=True).digests()
    assert digests != Feed(100, 32, 3, seed=1, drop_last=True).digests()


def test_parts_make_the_whole():
    feed = Feed(100, 32, 4, seed=0, drop_last=True)
    parts = [feed.part(0, 1), feed.part(1, 5), feed.part(5, 12)]
    assert [list(part.epochs) for part in parts] == [[1], [1, 2], [2, 3, 4]]
    assert [part.total_steps - part.first_step for part in parts] == [1, 4, 7]
    joined = [ids.tolist() for part in parts for ids in part.all_batches()]
    assert joined == [ids.tolist() for ids in feed.all_batches()]
