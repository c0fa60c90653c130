"""The chain of joints in NumPy: the body of `kinematics`, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting import chain
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, SEGMENTS, Fractions

MARKERS = 25


def drawn_body(rng: np.random.Generator) -> chain.Body:
    at, turns = rng.integers(0, len(SEGMENTS), (2, MARKERS))
    sizes = np.array(FRACTIONS) * rng.uniform(0.8, 1.2, len(FRACTIONS))
    return chain.Body(at, turns, rng.normal(0, 0.1, (MARKERS, 3)), 1.6, sizes)


def predict(q_C, sizes, body: chain.Body, nominal):
    """Markers by `kinematics`; sizes are log stature, log lengths, and changes of the offsets."""
    grown, lengths = jnp.exp(sizes[0]), len(body.fractions)
    fractions = Fractions(*(body.fractions * jnp.exp(sizes[1 : 1 + lengths])))
    found = kinematics.segments(q_C, body.height_m * grown, fractions)
    origin = jnp.stack([found[name].origin for name in SEGMENTS])
    frame = jnp.stack([jnp.stack(found[name].frame, axis=-1) for name in SEGMENTS])
    offset = body.offset + nominal * body.height_m * (grown - 1) + sizes[1 + lengths :].reshape(MARKERS, 3)
    return origin[body.at] + jnp.einsum("mij,mj->mi", frame[body.turns], offset)


def test_markers_and_derivatives_are_those_of_the_kinematics() -> None:
    rng = np.random.default_rng(0)
    body, nominal = drawn_body(rng), rng.normal(0, 0.06, (MARKERS, 3))
    q = rng.normal(0, 0.6, (3, 40))
    zero = jnp.zeros(1 + len(FRACTIONS) + 3 * MARKERS)
    placed, by_coordinates = chain.with_derivatives(q, body)
    by_sizes = chain.by_sizes(q, body, nominal)
    both = jax.jit(jax.jacfwd(lambda q_C, sizes: predict(q_C, sizes, body, nominal), argnums=(0, 1)))
    for frame, q_C in enumerate(q.astype(np.float32)):
        expected = both(q_C, zero)
        np.testing.assert_allclose(placed[frame], predict(q_C, zero, body, nominal), atol=1e-6)
        np.testing.assert_allclose(by_coordinates[frame], expected[0], atol=1e-6)
        np.testing.assert_allclose(by_sizes[frame], expected[1], atol=1e-6)
    np.testing.assert_array_equal(chain.place(q, body), placed)
