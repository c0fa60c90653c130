"""The codec's report: its figures against ones computed here, and a page that stands alone."""

import dataclasses
import json
import re

import numpy as np
import pytest
from html_reader import Reader

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.features import start_pose
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.evaluation.codec import figures as codec_figures
from biomechgpt_jax.reports import codec_report
from biomechgpt_jax.tasks import codec as training

COHORT = config.Cohort(participants=6, hours=0.001, noise="none", activities=("walk_free", "chair_rise"))
ORIGIN = codec_report.Origin("toy <run>", True, "markerless", 8, 16)


@pytest.fixture(scope="module")
def trials():
    return list(simulate(COHORT))


@pytest.fixture(scope="module")
def codec(trials):
    cfg = config.Tokenizer(quantizer="vq", codebook_size=16, code_size=8, codebooks=2, width=16, depth=1, steps=20)
    shown = [(trial.trajectory.coordinates, trial.trajectory.observed) for trial in trials]
    return training.train(cfg, shown, lambda step, losses: None)


@pytest.fixture(scope="module")
def made(codec, trials, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    figures = codec_report.write(directory, codec, trials, ORIGIN, 50, 0, lambda done, whole: None)
    assert sorted(entry.name for entry in directory.iterdir()) == ["fidelity.json", "report.html"]
    assert json.loads((directory / "fidelity.json").read_text()) == figures
    return figures, (directory / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def decoded(codec, trials):
    """Codes and movements, one trial at a time."""
    pairs = []
    for trial in trials:
        (tokens,) = codec.encode([trial.trajectory.coordinates], [trial.trajectory.observed])
        (back,) = codec.decode([tokens], [np.asarray(start_pose(trial.trajectory.coordinates[:1]))])
        pairs.append((tokens, back))
    return pairs


def test_angles_are_those_of_a_plain_computation(made, trials, decoded):
    figures, _ = made
    assert {trial.diagnosis == "healthy" for trial in trials} == {True, False}, "the cohort has both"
    medians = {(name, state): [] for name in COORDINATES[6:] for state in (True, False)}
    for trial, (_, back) in zip(trials, decoded, strict=True):
        true = trial.trajectory.coordinates[: len(back)]
        for name in COORDINATES[6:]:
            column = INDEX[name]
            if trial.trajectory.observed[column] and np.degrees(true[:, column].std()) > 1.0:
                error = np.degrees(np.median(np.abs(true[:, column] - back[:, column])))
                medians[name, trial.diagnosis == "healthy"].append(error)
    for state, word in ((True, "healthy"), (False, "impaired")):
        pooled = [value for (_, health), values in medians.items() if health is state for value in values]
        assert figures[f"{word}_median_deg"] == pytest.approx(np.mean(pooled), rel=1e-3)
        knee = figures["coordinates"]["knee_angle_r"]
        assert knee[word]["median_deg"] == pytest.approx(np.mean(medians["knee_angle_r", state]), rel=1e-3)
    expected = figures["impaired_median_deg"] / figures["healthy_median_deg"]
    assert figures["impaired_over_healthy"]["ratio"]["value"] == pytest.approx(expected)
    low, high = figures["impaired_over_healthy"]["ratio"]["ci95"]
    assert low < expected < high


def test_codes_are_counted(made, trials, decoded, codec):
    figures, _ = made
    together = np.concatenate([tokens for tokens, _ in decoded])
    assert figures["tokens"] == len(together)
    for layer, row in enumerate(figures["layers"]):
        share = np.unique(together[:, layer], return_counts=True)[1] / len(together)
        assert row["used"] == len(share)
        assert row["perplexity"] == pytest.approx(2.0 ** -(share * np.log2(share)).sum())
    top = figures["first_layer"][0]
    values, counts = np.unique(together[:, 0], return_counts=True)
    assert (top["count"], top["code"]) == (counts.max(), values[counts.argmax()])
    walking = sum(
        int((tokens[:, 0] == top["code"]).sum())
        for trial, (tokens, _) in zip(trials, decoded, strict=True)
        if trial.trajectory.metadata.activity == "walking"
    )
    assert top["activities"].get("walking", 0.0) == pytest.approx(walking / top["count"])
    assert figures["bits_per_second"] == pytest.approx(30 / codec.stride * 2 * 4)


def test_a_code_looks_like_the_frames_it_stands_for(codec, trials, decoded):
    found = codec_figures.gather(codec, trials, lambda done, whole: None)
    code = int(found.counts[0].argmax())
    knee = INDEX["knee_angle_l"]
    parts = [
        back[at * codec.stride : (at + 1) * codec.stride, knee]
        for tokens, back in decoded
        for at in np.flatnonzero(tokens[:, 0] == code)
    ]
    np.testing.assert_allclose(found.movement[code, :, knee] / len(parts), np.mean(parts, axis=0), atol=1e-4)


def test_gait_and_root(made, trials, decoded):
    figures, _ = made
    errors, drifts, walks = [], [], 0
    for trial, (_, back) in zip(trials, decoded, strict=True):
        shown = dataclasses.replace(trial.trajectory, coordinates=trial.trajectory.coordinates[: len(back)])
        path = [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]
        drifts.append(100 * np.linalg.norm(back[:, path] - shown.coordinates[:, path], axis=1).mean())
        if shown.metadata.activity != "walking":
            continue
        before = gait.analyse(shown)
        strides = np.bincount(before.strides.foot, minlength=2)
        if strides.min() < 3:
            continue
        walks += 1
        after = gait.analyse(dataclasses.replace(shown, coordinates=back)).parameters
        if "cadence" in after:
            errors.append(abs(after["cadence"] - before.parameters["cadence"]))
    assert walks > 0 and figures["gait"]["walks"] == walks
    assert walks - len(errors) <= figures["gait"]["failures"] <= walks
    cadence = figures["gait"]["parameters"]["cadence"]
    assert cadence["walks"] == len(errors)
    assert cadence["mae"]["value"] == (pytest.approx(np.mean(errors), rel=1e-2) if errors else None)
    assert figures["root"]["whole_trial_cm"]["median"] == pytest.approx(np.median(drifts), rel=1e-2)


def test_the_page_stands_alone_and_says_what_was_measured(made, codec):
    figures, text = made
    assert not re.search(r"https?:|//cdn|@import|\bfetch\(|url\((?!#)", text)
    reader = Reader()
    reader.feed(text)
    assert not reader.open and len(reader.ids) == len(set(reader.ids))
    for words in (
        "residual vector quantization",
        "2 layers of 16 codes",
        "7.5 tokens per second (60 bits/s)",
        codec.digest,
        "toy &lt;run&gt;",
        "not a medical device",
        "Walking: healthy",
        f"{figures['healthy_median_deg']:.2f}°",
    ):
        assert words in text, words
    assert text.count("Mean movement of code") == len(figures["first_layer"]) > 0
    assert not re.search(r"\bnan\b", re.sub(r"<script>.*?</script>", "", text, flags=re.S), re.I)


def test_recordings_without_a_diagnosis_are_not_compared(codec, trials, tmp_path):
    plain = [dataclasses.replace(trial, diagnosis="") for trial in trials[:2]]
    origin = codec_report.Origin("mine", False, "", 1, 2)
    figures = codec_report.write(tmp_path, codec, plain, origin, 20, 0, lambda done, whole: None)
    assert figures["impaired_over_healthy"]["matched_ratio"]["value"] is None
    text = (tmp_path / "report.html").read_text()
    assert "imported recordings" in text and "cannot be compared" in text and "synthetic" not in text
    assert "noisy" not in text


def test_codes_without_frames_of_their_own_are_listed_but_not_drawn(codec, trials, tmp_path):
    class Uneven:
        """Every second code says nothing, as in a back end whose codes have no fixed length."""

        config, digest, codes, layers, stride = codec.config, codec.digest, codec.codes, codec.layers, codec.stride

        def encode(self, coordinates, observed):
            return [np.repeat(tokens, 2, axis=0) for tokens in codec.encode(coordinates, observed)]

        def decode(self, tokens, starts=None):
            return codec.decode([own[::2] for own in tokens], starts)

    figures = codec_report.write(tmp_path, Uneven(), trials[:2], ORIGIN, 20, 0, lambda done, whole: None)
    assert figures["tokens_per_second"] == pytest.approx(15.0)
    text = (tmp_path / "report.html").read_text()
    assert "Mean movement of code" not in text and "cannot be drawn" in text
    assert text.count("<h3>Code ") == len(figures["first_layer"]) > 0


def test_nothing_held_out_is_refused(codec, trials, tmp_path):
    short = dataclasses.replace(trials[0].trajectory, coordinates=trials[0].trajectory.coordinates[:3])
    for given in ([], [dataclasses.replace(trials[0], trajectory=short)]):
        with pytest.raises(InputError, match="as long as a token"):
            codec_report.write(tmp_path, codec, given, ORIGIN, 20, 0, lambda done, whole: None)
    assert not list(tmp_path.iterdir())
