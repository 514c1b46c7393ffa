import numpy as np
import pytest

from fdsl_gpu.indices import Sharding, rank_and_world_size


def epoch(sharding, position=0):
    """All parts of one epoch from a position on, and where it ends."""
    parts, end = [], sharding.epoch_end(position)
    while (stop := sharding.stop(position, end)) is not None:
        parts.append(sharding.part(position, stop))
        position += sharding.global_batch_size
    return parts, end


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("num_samples", [12, 13, 100, 101])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_ranks_share_out_every_index_once(world_size, num_samples, drop_last):
    global_batch = 12
    ranks = []
    for rank in range(world_size):
        try:
            sharding = Sharding(
                global_batch // world_size, rank, world_size, num_samples, drop_last
            )
        except ValueError as error:
            assert "each rank gets one" in str(error)
            assert not drop_last and 0 < num_samples % global_batch < world_size
            return
        ranks.append(epoch(sharding, 7 * num_samples)[0])
        assert len(ranks[-1]) == sharding.num_steps
    # step by step, the ranks' parts in order are the global batch
    steps = [np.concatenate(parts) for parts in zip(*ranks, strict=True)]
    covered = num_samples - num_samples % global_batch if drop_last else num_samples
    expected = np.arange(7 * num_samples, 7 * num_samples + covered, dtype=np.uint64)
    np.testing.assert_array_equal(np.concatenate(steps), expected)
    assert all(len(step) == global_batch for step in steps[: num_samples // global_batch])


def test_endless_line_goes_on():
    sharding = Sharding(5, 1, 2)
    assert sharding.num_steps is None and sharding.epoch_end(10**15) is None
    assert sharding.part(10**15, sharding.stop(10**15, None)).tolist() == [
        10**15 + i for i in range(5, 10)
    ]


def test_ten_thousand_ranks_and_a_trillion_samples():
    world_size, batch_size, num_samples = 10_000, 128, 10**12
    shardings = [
        Sharding(batch_size, rank, world_size, num_samples) for rank in (0, 1, 5_000, 9_999)
    ]
    steps = num_samples // (world_size * batch_size)
    assert {sharding.num_steps for sharding in shardings} == {steps}
    position = (steps - 1) * world_size * batch_size
    for sharding in shardings:
        part = sharding.part(position, sharding.stop(position, num_samples))
        assert part[0] == position + sharding.rank * batch_size and len(part) == batch_size
        assert sharding.stop(position + world_size * batch_size, num_samples) is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0,), "batch_size must be at least 1, got 0"),
        ((4, 2, 2), r"rank must be in \[0, world_size\), got rank 2 of 2"),
        ((4, 0, 1, 0), "num_samples must be at least 1, got 0"),
        ((4, 0, 2, 7), "num_samples 7 is less than the global batch of 8"),
        ((4, 0, 2, 9, False), "the last step of an epoch has 1 samples for 2 ranks"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sharding(*arguments)


def test_rank_and_world_size_come_from_the_launcher(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert rank_and_world_size(None, None) == (3, 8)
    assert rank_and_world_size(0, 2) == (0, 2)
    with pytest.raises(ValueError, match="give both rank and world_size or neither"):
        rank_and_world_size(1, None)
