"""Draws have the frequencies that temperature, top-k and top-p give them; the mask is never left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import sampling

LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.25, 0.2]))
DRAWS = 20_000


def wanted(how: sampling.Sampling) -> np.ndarray:
    """Frequencies by the definitions, one token after another."""
    share = np.exp(LOGITS / how.temperature)
    share /= share.sum()
    order = np.argsort(-share)
    kept = order[: how.top_k or None]
    renewed = share[kept] / share[kept].sum()
    count = 1 + int(np.searchsorted(np.cumsum(renewed)[:-1], how.top_p))
    out = np.zeros_like(share)
    out[kept[:count]] = share[kept[:count]]
    return out / out.sum()


@pytest.mark.parametrize(
    "how",
    [
        sampling.Sampling(1.0),
        sampling.Sampling(0.5),
        sampling.Sampling(2.0, top_k=3),
        sampling.Sampling(1.0, top_p=0.6),
        sampling.Sampling(1.3, top_k=4, top_p=0.7),
    ],
)
@pytest.mark.parametrize("constrained", [False, True])
def test_frequencies(how, constrained):
    states = np.array([[-1, 0, 0, 0, 0, 0]] if constrained else np.zeros((0, 0)), np.int32)
    logits = np.broadcast_to(LOGITS.astype(np.float32), (DRAWS, 5))
    if constrained:  # a token that is not allowed, before the others
        logits = np.pad(logits, ((0, 0), (1, 0)), constant_values=9.0)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    choice = sampling.Choice(jnp.asarray(states), keys, jnp.float32(how.temperature), jnp.float32(how.top_p))
    drawn, led = sampling.choose(jnp.asarray(logits), jnp.zeros(DRAWS, jnp.int32), 0, choice, how.rule)
    found = np.bincount(np.asarray(drawn) - constrained, minlength=5) / DRAWS
    np.testing.assert_allclose(found, wanted(how), atol=4 * 0.5 / DRAWS**0.5)
    assert (found[wanted(how) == 0] == 0).all() and not np.any(led)


def test_what_has_no_share_is_never_drawn() -> None:
    """Also where rounding makes a cumulative sum rise at it, or end below its total."""
    share = jnp.asarray([[0.0, 0.3, 0.0, 0.7, 0.0]])
    drawn = {u: int(sampling._inverse(share, jnp.asarray([u]))[0]) for u in (0.0, 0.29, 0.31, 0.999, 1.0)}
    assert drawn == {0.0: 1, 0.29: 1, 0.31: 3, 0.999: 3, 1.0: 3}
    random = np.random.default_rng(0)
    ids = np.sort(random.choice(600, 12, replace=False))
    wide = np.zeros((20_000, 600), np.float32)
    wide[:, ids] = random.dirichlet(np.ones(12)).astype(np.float32)
    where = np.asarray(sampling._inverse(jnp.asarray(wide), jnp.asarray(random.random(20_000), jnp.float32)))
    assert np.isin(where, ids).all()


def test_impossible_settings_are_refused():
    for settings in ({"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(InputError, match="Sampling"):
            sampling.Sampling(**settings)
