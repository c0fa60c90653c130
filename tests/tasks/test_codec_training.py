"""Training the codec: losses, windows, scaling."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_codecs import SMALL_FSQ, SMALL_RESIDUAL, SMALL_VQ, smooth

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.features import FORWARD, HEIGHT, RATES, feature_mask, start_pose
from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    INDEX,
    MIRROR_PERMUTATION,
    mirror,
    observed_without,
)
from biomechgpt_jax.codec import loss, network, quantizers, windows
from biomechgpt_jax.codec.batching import features_of
from biomechgpt_jax.codec.scaling import Scaling, fit_scaling
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tasks import codec as training

ALL = np.ones(COORDINATE_COUNT, bool)
PLAIN_ARRAYS = np.zeros(COORDINATE_COUNT, np.float32), np.ones(COORDINATE_COUNT, np.float32)
PLAIN = Scaling(*PLAIN_ARRAYS)


@pytest.mark.parametrize("cfg", [SMALL_FSQ, SMALL_VQ, SMALL_RESIDUAL], ids=["fsq", "vq", "residual"])
def test_training_reduces_the_loss_and_repeats(cfg: config.Tokenizer) -> None:
    cfg = dataclasses.replace(cfg, steps=200, batch_size=8, window_frames=32, learning_rate=4e-3)
    trials = [(smooth(length, seed), ALL) for seed, length in enumerate((150, 90, 30, 200))]
    losses: list[float] = []
    every_step = config.Loop(log_every=1)
    codec = training.train(cfg, trials, lambda step, values: losses.append(values["loss"]), every_step)
    assert len(losses) == 200
    # It starts from principal components, which hold most of these sines.
    assert np.mean(losses[-20:]) < 0.97 * np.mean(losses[:20])
    found = codec.encode([movement for movement, _ in trials], [seen for _, seen in trials])
    assert [one.shape for one in found] == [(len(movement) // 4, cfg.layers) for movement, _ in trials]
    if cfg.quantizer == "fsq":
        assert training.train(cfg, trials, lambda step, losses: None).digest == codec.digest


def one_device(_: tuple[int, ...]) -> jax.sharding.Sharding:
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def drawn(held: windows.Windows, rows: int) -> windows.Batch:
    batch = windows.Draws(held, rows, 0, one_device).device_batch(0)
    return jax.jit(windows.augment, static_argnums=1)(batch, held.stride, jax.random.key(0))


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(InputError, match="no frame"):
        training.train(SMALL_FSQ, [], lambda step, losses: None)
    with pytest.raises(InputError, match="shorter than 4 frames"):
        training.train(SMALL_FSQ, [(smooth(3, 0), ALL)], lambda step, losses: None)


def test_smooth_l1_is_square_within_beta_and_absolute_outside() -> None:
    found = loss.smooth_l1(np.array([0.1, -0.5, 2.0]), 0.5)
    np.testing.assert_allclose(found, [0.1**2 / 1.0, 0.25, 2.0 - 0.25], rtol=1e-6)


def test_scaling_is_robust_floored_and_the_same_for_left_and_right() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(2.0, 0.5, (5000, COORDINATE_COUNT)).astype(np.float32)
    raw[:20] = 1e4  # a few wild frames
    raw[:, INDEX["mtp_angle_r"]] = raw[:, INDEX["mtp_angle_l"]] = 0.1  # held still
    hidden = observed_without(("elbow_flex_r", "elbow_flex_l"))
    scaling = fit_scaling([raw], [hidden])
    knee, toe, elbow = INDEX["knee_angle_r"], INDEX["mtp_angle_r"], INDEX["elbow_flex_r"]
    assert scaling.center[knee] == pytest.approx(2.0, abs=0.05) and scaling.spread[knee] == pytest.approx(0.5, abs=0.05)
    assert scaling.spread[toe] > np.radians(1) and scaling.center[toe] == pytest.approx(0.1)
    assert scaling.center[elbow] == 0 and scaling.spread[elbow] > 0
    np.testing.assert_array_equal(scaling.spread, scaling.spread[MIRROR_PERMUTATION])
    np.testing.assert_allclose(mirror(scaling.center), scaling.center, atol=1e-7)


def test_windows_are_parts_of_the_movements_or_of_their_mirror_images() -> None:
    movements = [smooth(100, 0), smooth(26, 1)]
    masks = [ALL, observed_without(("pelvis_tx", "knee_angle_r"))]
    raw = features_of(movements, masks)
    held = windows.gather(raw, masks, PLAIN, window=64, stride=4)
    batch = jax.tree.map(np.asarray, drawn(held, 256))
    assert set(batch.lengths_B) >= {24, 64} and (batch.lengths_B % 4 == 0).all() and (batch.lengths_B >= 16).all()
    images = [image for f in raw for image in (f, mirror(f))]
    image_masks = [image for m in masks for image in (feature_mask(m), feature_mask(m[MIRROR_PERMUTATION]))]
    lower, upper = slice(0, windows.UPPER_BODY.start), windows.UPPER_BODY

    def places(row: int, body: slice) -> set[tuple[int, int]]:
        length = batch.lengths_B[row]
        part, known = batch.scaled_BTC[row, :length, body], batch.known_BTC[row, :length, body]
        return {
            (number, first)
            for number, (image, mask) in enumerate(zip(images, image_masks, strict=True))
            for first in range(len(image) - length + 1)
            if (known == mask[body]).all()
            and np.allclose(np.where(mask, image[first : first + length], 0)[:, body], part, atol=1e-6)
        }

    of_one = []
    for row in range(64):
        assert places(row, lower) and places(row, upper)
        of_one.append(bool(places(row, lower) & places(row, upper)))
        length = batch.lengths_B[row]
        assert not batch.scaled_BTC[row, length:].any() and not batch.known_BTC[row, length:].any()
    assert 0.25 < np.mean(of_one) < 0.75  # the others have the trunk and arms of another window
    assert not (batch.shown_BTC & ~batch.known_BTC).any()
    hidden = 1 - batch.shown_BTC.sum((0, 1)) / np.maximum(batch.known_BTC.sum((0, 1)), 1)
    assert hidden[INDEX["neck_bending"]] > 0.25 and 0.05 < hidden[FORWARD] < 0.4
    assert hidden[INDEX["knee_angle_l"]] < 0.08


def test_draws_follow_from_seed_step_and_row_and_reach_every_frame() -> None:
    lengths = (100, 3, 26, 64, 70)
    movements, masks = [smooth(length, seed) for seed, length in enumerate(lengths)], [ALL] * len(lengths)
    raw = features_of(movements, masks)
    held = windows.gather(raw, masks, PLAIN, window=64, stride=4)
    assert len(held) == 37 + 1 + 1 + 5  # the second holds no token, the third is shorter than a window, 68 of 70 count
    movement, starts = held.starts(np.arange(len(held)))
    assert movement.tolist() == [0] * 37 + [1] + [2] + [3] * 5
    assert starts.tolist() == [*range(37), 103, 129, *range(193, 198)]

    legs = slice(0, windows.UPPER_BODY.start)  # the trunk and arms may be those of another window
    draws = windows.Draws(held, 12, 5, one_device)
    whole = draws.rows(7, np.arange(12))
    some = windows.Draws(held, 12, 5, one_device).rows(7, np.array([2, 9]))
    for name, rows in whole.items():
        np.testing.assert_array_equal(rows[[2, 9]], some[name])
    assert not np.array_equal(whole["scaled"], draws.rows(8, np.arange(12))["scaled"])
    assert not np.array_equal(whole["scaled"], windows.Draws(held, 12, 6, one_device).rows(7, np.arange(12))["scaled"])
    for row, frames in enumerate(whole["frames"]):
        part = whole["scaled"][row, :frames, legs]
        assert any((part == f[i : i + frames, legs]).all() for f in raw for i in range(len(f) - frames + 1))
    firsts = {row.tobytes() for step in range(100) for row in draws.rows(step, np.arange(12))["scaled"][:, 0, legs]}
    assert len(firsts) == len(held)


def test_targets_are_augmented_like_their_windows() -> None:
    """Mirrored, cut, and with the trunk and arms of another window."""
    movements, masks = [smooth(100, 0), smooth(80, 1)], [ALL, observed_without(("pelvis_tx", "knee_angle_r"))]
    raw = features_of(movements, masks)
    held = windows.gather(raw, masks, PLAIN, 64, 4, [2 * one for one in raw])
    batch = drawn(held, 64)
    assert np.abs(batch.scaled_BTC).max() > 0.1
    np.testing.assert_allclose(batch.target_BTC, 2 * batch.scaled_BTC, atol=1e-6)
    scale = loss.Scale(*PLAIN_ARRAYS)
    assert float(loss.reconstruction(SMALL_FSQ, batch, batch.target_BTC, scale)[0]) == pytest.approx(0.0, abs=1e-6)
    assert float(loss.reconstruction(SMALL_FSQ, batch, batch.scaled_BTC, scale)[0]) > 0.1


def test_the_augmentation_of_a_row_does_not_depend_on_the_others() -> None:
    held = windows.gather(features_of([smooth(120, 0)], [ALL]), [ALL], PLAIN, 64, 4)
    rows = {name: np.asarray(array) for name, array in windows.Draws(held, 16, 0, one_device).device_batch(0).items()}
    few = {name: array[:4] for name, array in rows.items()}
    key = jax.random.key(3)
    for one, other in zip(windows.augment(few, 4, key), windows.augment(rows, 4, key), strict=True):
        np.testing.assert_array_equal(one, np.asarray(other)[:4])


def test_varied_windows_are_other_postures_and_ranges_of_the_same_movement() -> None:
    movement = features_of([smooth(120, 0)], [ALL])
    held = windows.gather(movement, [ALL], PLAIN, 64, 4, [1.5 * one for one in movement])
    rows = windows.Draws(held, 16, 0, one_device).device_batch(0)
    plain, varied = (windows.augment(rows, 4, jax.random.key(3), share) for share in (0.0, 1.0))
    np.testing.assert_array_equal(plain.shown_BTC, varied.shown_BTC)
    root = [*RATES, HEIGHT]
    np.testing.assert_array_equal(plain.scaled_BTC[..., root], varied.scaled_BTC[..., root])
    row, angle = int(np.argmax(plain.lengths_B)), 9
    before, after = (
        np.concatenate([batch.scaled_BTC[row, :, angle], batch.target_BTC[row, :, angle]]) for batch in (plain, varied)
    )
    (gain, shift), *_ = np.linalg.lstsq(np.stack([before, np.ones_like(before)], axis=1), after)
    np.testing.assert_allclose(after, gain * before + shift, atol=1e-5)
    assert 0.3 < gain < 3.0 and abs(gain - 1.0) > 0.01 and abs(shift) > 0.01
    # Which windows are varied has nothing to do with which are cut short.
    many = {name: jnp.repeat(array[:1], 2000, axis=0) for name, array in rows.items()}
    plain, some = (windows.augment(many, 4, jax.random.key(4), share) for share in (0.0, 0.3))
    short_B = plain.lengths_B < 64
    changed_B = (plain.scaled_BTC != some.scaled_BTC).any(axis=(1, 2))
    for part_B in (changed_B[short_B], changed_B[~short_B]):
        assert float(part_B.mean()) == pytest.approx(0.3, abs=0.08)
    with pytest.raises(InputError, match=r"tokenizer\.varied"):
        config.Tokenizer(varied=1.5)


def test_the_loss_looks_only_at_what_is_known() -> None:
    cfg = dataclasses.replace(SMALL_FSQ, batch_size=4)
    held = windows.gather(features_of([smooth(120, 0)], [ALL]), [ALL], PLAIN, cfg.window_frames, cfg.stride)
    params = network.initial_parameters(cfg, 0)
    judged = jax.jit(training.loss, static_argnums=2)
    kept = np.full(cfg.batch_size, cfg.layers)
    batch = drawn(held, 4)
    known_BTC, shown_BTC = (mask.at[..., 8].set(False) for mask in (batch.known_BTC, batch.shown_BTC))
    batch = batch._replace(known_BTC=known_BTC, shown_BTC=shown_BTC)
    other = batch._replace(scaled_BTC=batch.scaled_BTC.at[..., 8].set(99.0))
    values = [judged(params, None, cfg, one, loss.Scale(*PLAIN_ARRAYS), kept)[0] for one in (batch, other)]
    assert values[0] == values[1]
    assert list(RATES) == [0, 1, 5]


@pytest.mark.parametrize("quantizer", ["fsq", "vq"])
def test_training_starts_from_the_principal_components(quantizer: str) -> None:
    """Untrained, the network is the projection on them, and with FSQ the best linear way back from their levels."""
    cfg = config.Tokenizer(quantizer=quantizer, code_size=12, levels=("x".join("5" * 12),), width=16, depth=1)
    movements = [smooth(200, seed) for seed in range(4)]
    held = windows.gather(features_of(movements, [ALL] * 4), [ALL] * 4, PLAIN, 64, 4)
    patches = windows.patches(held, seed=0)
    weights = np.linspace(0.2, 1.0, COORDINATE_COUNT)
    params = network.from_components(cfg, network.initial_parameters(cfg, 0), patches, weights)
    encoder, decoder = network.networks(cfg)
    lengths = np.full(len(patches), 4)
    latent = encoder.apply({"params": params["encoder"]}, patches, np.ones_like(patches), lengths)
    if quantizer == "fsq":
        latent = quantizers.fsq_quantize(latent, cfg.grid[0])
    back = np.asarray(decoder.apply({"params": params["decoder"]}, latent, lengths))

    flat = (patches * np.sqrt(weights)).reshape(len(patches), -1)
    centred = flat - flat.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:12]
    if quantizer == "fsq":
        levels = np.asarray(latent)[:, 0]
        found = np.linalg.lstsq(levels, centred, rcond=None)[0]
        wanted = ((levels @ found + flat.mean(0)).reshape(patches.shape)) / np.sqrt(weights)
        share = np.mean((back - patches) ** 2) / np.mean((patches - patches.mean(0)) ** 2)
        assert share < 0.2
    else:
        wanted = (centred @ axes.T @ axes + flat.mean(0)).reshape(patches.shape) / np.sqrt(weights)
    np.testing.assert_allclose(back, wanted, atol=2e-3)


def test_feet_in_the_loss_are_those_of_the_body_and_move_over_the_floor() -> None:
    """Places and velocities agree with forward kinematics of the coordinates in the world, seen from the pelvis."""
    q = smooth(60, 3)
    q[:, 3:6] *= 0.2
    features = jax.numpy.asarray(features_of([q], [ALL])[0])[None]
    points = np.asarray(loss.foot_points(features))[0]
    body = np.asarray(kinematics.points(q))
    names = [kinematics.POINT_INDEX[name] for name in ("heel_r", "ball_r", "heel_l", "ball_l")]
    world = body[:, names]
    below = world - q[:, None, [0, 2, 1]] * [1, 0, 1]  # coordinates are x, z, height
    heading = np.asarray(start_pose(q[:, None]))[:, 2]
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), np.linalg.norm(below, axis=-1), atol=1e-5)
    velocity = np.asarray(loss.foot_velocity(jax.numpy.asarray(points)[None], features))[0]
    moved = np.diff(world, axis=0) * 30
    cos, sin = np.cos(heading[:-1, None]), np.sin(heading[:-1, None])
    seen = [cos * moved[..., 0] - sin * moved[..., 2], moved[..., 1], sin * moved[..., 0] + cos * moved[..., 2]]
    # The pelvis turns within a frame, so differences in its frame are not quite those in the world.
    np.testing.assert_allclose(velocity, np.stack(seen, axis=-1), atol=0.1)
