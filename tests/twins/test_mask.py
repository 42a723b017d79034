"""The one rule: against a loop, against transformers, and np against pt."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minimistral import np as mn
from minimistral import pt as mp

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
windows = st.one_of(st.none(), st.integers(1, 40))


def loop(q_pos, k_pos, window):
    """The specification: one pair at a time."""
    mask = np.zeros((len(q_pos), len(k_pos)), dtype=bool)
    for t, i in enumerate(q_pos):
        for s, j in enumerate(k_pos):
            mask[t, s] = j >= 0 and 0 <= i - j and (window is None or i - j < window)
    return mask


def positions(size):
    return hnp.arrays(np.int64, size, elements=st.integers(-1, 60))


@TWINS
@given(q_pos=st.integers(0, 20).flatmap(positions), k_pos=st.integers(0, 20).flatmap(positions),
       window=windows)  # fmt: skip
def test_any_positions(mm, q_pos, k_pos, window):
    """Random T, S, order, offsets and empty slots."""
    np.testing.assert_array_equal(mm.window_mask(q_pos, k_pos, window), loop(q_pos, k_pos, window))


@TWINS
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), windows)
def test_batches_are_rows_side_by_side(mm, batch, n_queries, n_keys, seed, window):
    rng = np.random.default_rng(seed)
    q_pos = rng.integers(-1, 30, (batch, n_queries))
    k_pos = rng.integers(-1, 30, (batch, n_keys))
    found = mm.window_mask(q_pos, k_pos, window)
    assert tuple(found.shape) == (batch, n_queries, n_keys)
    for b in range(batch):
        np.testing.assert_array_equal(found[b], loop(q_pos[b], k_pos[b], window))


@TWINS
@given(n_tokens=st.integers(1, 30), window=st.integers(1, 40))
def test_every_row_sees_at_most_window_keys_itself_included(mm, n_tokens, window):
    row_sums = np.asarray(mm.window_mask(range(n_tokens), range(n_tokens), window)).sum(axis=1)
    np.testing.assert_array_equal(row_sums, np.minimum(np.arange(n_tokens) + 1, window))


@TWINS
def test_a_window_as_long_as_the_text_is_full_causal(mm):
    causal = np.tril(np.ones((9, 9), dtype=bool))
    for window in (9, 10, 10**12, None):
        np.testing.assert_array_equal(mm.window_mask(range(9), range(9), window), causal)
    assert not np.array_equal(mm.window_mask(range(9), range(9), 8), causal)


@TWINS
def test_small_and_unsigned_integers_do_not_wrap_around(mm):
    """0 - 5 in uint8 would be 251."""
    q_pos, k_pos = np.array([0, 200], np.uint8), np.array([5, 199], np.uint8)
    assert np.asarray(mm.window_mask(q_pos, k_pos, 300)).tolist() == [[0, 0], [1, 1]]


@TWINS
def test_slot_order_does_not_matter(mm):
    order = np.random.default_rng(0).permutation(12)
    straight = np.asarray(mm.window_mask(range(12), range(12), 5))
    np.testing.assert_array_equal(mm.window_mask(range(12), order, 5), straight[:, order])


def test_the_inputs_stay_as_they_are():
    q_pos = np.arange(4, dtype=np.int32)
    mn.window_mask(q_pos, q_pos, 2)
    assert q_pos.tolist() == [0, 1, 2, 3] and q_pos.dtype == np.int32


BAD = [
    (([0.0, 1.0], [0], 2), TypeError, "q_pos"),
    (([0], [0.5], 2), TypeError, "k_pos"),
    (([True], [0], 2), TypeError, "q_pos"),
    ((0, [0], 2), ValueError, "q_pos"),
    (([0], [[[0]]], 2), ValueError, "k_pos"),
    (([[0], [1]], [[0]], 2), ValueError, "q_pos and k_pos"),
    (([0], [[0]], 2), ValueError, "q_pos and k_pos"),
    (([0], [0], 0), ValueError, "window"),
    (([0], [0], -1), ValueError, "window"),
    (([0], [0], 2.0), TypeError, "window"),
    (([0], [0], True), TypeError, "window"),
    (([0], [0], "2"), TypeError, "window"),
]


@TWINS
@pytest.mark.parametrize(("arguments", "error", "named"), BAD)
def test_a_bad_argument_is_named(mm, arguments, error, named):
    with pytest.raises(error, match=named):
        mm.window_mask(*arguments)


def transformers_model(window, implementation):
    """transformers' Mistral with one layer and random weights."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, head_dim=4, sliding_window=window,
        attn_implementation=implementation,
    )  # fmt: skip
    torch.manual_seed(0)
    return MistralForCausalLM(config).eval()


WINDOWS = pytest.mark.parametrize("window", [1, 2, 5, 11, 12, 13, 30, None])


@WINDOWS
@torch.no_grad()
def test_transformers_gives_weight_to_the_same_keys(window):
    """Its eager path returns the weights of attention; hidden keys have weight 0."""
    model = transformers_model(window, "eager")
    (weights,) = model(torch.arange(12)[None], output_attentions=True).attentions
    for mm in (mn, mp):
        mask = np.asarray(mm.window_mask(range(12), range(12), window))
        for head in weights[0]:
            np.testing.assert_array_equal(mask, head > 0)


@WINDOWS
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@torch.no_grad()
def test_transformers_is_moved_by_the_same_keys(implementation, window):
    """Change one token: in one layer, exactly the queries that see it give other logits."""
    model = transformers_model(window, implementation)
    tokens = torch.arange(12)[None]
    before = model(tokens).logits[0]
    mask = mn.window_mask(range(12), range(12), window)
    for j in range(12):
        changed = tokens.clone()
        changed[0, j] = 39
        moved = (model(changed).logits[0] != before).any(dim=-1)
        np.testing.assert_array_equal(moved, mask[:, j])
