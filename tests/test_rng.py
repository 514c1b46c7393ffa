import numpy as np
import pytest

from fdsl_gpu.rng import Purpose, below, mix, philox, uniform

# Random123's known answers for philox4x32-10: counter, key, result
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, result", KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter, key, result):
    words = philox(key[0] | key[1] << 32, counter[0] | counter[1] << 32, counter[2], counter[3])
    assert tuple(int(word) for word in words) == result


def test_philox_of_many_counters_is_that_of_each():
    indices = np.array([3, 2**40 + 1, 2**63 + 5], np.uint64)
    draws = np.arange(4)[:, None]
    together = philox(2**33 + 7, indices, draws, Purpose.WALK)
    assert together.shape == (4, 4, 3)
    for draw in range(4):
        for i, index in enumerate(indices):
            alone = philox(2**33 + 7, index, draw, Purpose.WALK)
            np.testing.assert_array_equal(together[:, draw, i], alone)


def test_below_covers_its_range_evenly():
    words = philox(0, np.arange(100_000), 0, Purpose.INSTANCE)[0]
    counts = np.bincount(below(words, 25), minlength=25)
    assert len(counts) == 25
    chi2 = ((counts - 4000) ** 2 / 4000).sum()
    assert chi2 < 51.2  # 99.9 % of chi2 with 24 degrees of freedom


def test_below_and_uniform_reach_their_ends_and_no_further():
    words = np.array([0, 2**32 - 1], np.uint32)
    assert below(words, 2**31).tolist() == [0, 2**31 - 1]
    assert uniform(words, -1, 1).tolist() == [-1, 1 - 2**-31]


def test_mix_gives_a_bijection_for_fixed_keys_with_even_bits():
    values = np.arange(2**16, dtype=np.uint32)
    hashes = mix(values, np.uint32(0x1234), np.uint32(0xABCD))
    assert len(np.unique(hashes)) == len(values)
    bits = (hashes[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    assert np.abs(bits.mean(0) - 0.5).max() < 4 * 0.5 / 2**8


def test_purposes_are_append_only():
    assert {purpose.name: purpose.value for purpose in Purpose}.items() >= {
        "LABEL_ORDER": 0,
        "INSTANCE": 1,
        "WALK": 2,
        "PATCH": 3,
        "AUGMENTATION": 4,
    }.items()
