"""The report of a motion codec on people it was not trained on: one self-contained HTML file, and a file of figures."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.evaluation.codec import figures as codec_figures
from biomechgpt_jax.evaluation.codec import matching, reconstruction
from biomechgpt_jax.files import clean, write_json, write_text
from biomechgpt_jax.provenance import versions
from biomechgpt_jax.reports import codec_sections, page
from biomechgpt_jax.reports.codec_plots import Shown
from biomechgpt_jax.reports.origin import Origin

REPORT_FILE, FIGURES_FILE = "report.html", "fidelity.json"
MOST_CODES = 24
_SHOWN_S = 6.0
_BACK_ENDS = {
    "fsq": "finite scalar quantization (FSQ)",
    "vq": "vector quantization (VQ)",
    "dct": "cosine transform and byte pairs (DCT+BPE)",
}
_CODES_DRAWN = (
    "The most used codes of the first layer. Each body is the mean of all decoded movements with this code, seen from "
    "its right and moving to the right: the middle of the token in colour, its first frame in light grey, its last in "
    "dark grey. Further layers refine it: the spread is how much the joint angles still differ under one code "
    "(standard deviation, mean over the angles)."
)
_CODES_NOT_DRAWN = (
    "The most used codes, and the activities they occur in. A code of this back end does not stand for fixed frames, "
    "so it cannot be drawn."
)


def write(
    directory: Path,
    codec: MotionCodec,
    trials: Sequence[Trial],
    origin: Origin,
    resamples: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Measure a codec on trials of participants it was not trained on, and write `fidelity.json` and `report.html`.

    Returns:
        The figures, with None in place of NaN.

    Raises:
        InputError: no trial is as long as a token.
    """
    measured = codec_figures.gather(codec, trials, progress)
    if not measured.index:
        raise InputError(
            "nobody in the validation split has a trial as long as a token, so the codec cannot be reported on; "
            "simulate or import more participants (5 % are for validation), or give other people: --people DATASET"
        )
    figures = clean(codec_figures.figures(codec, measured, resamples, seed, MOST_CODES))
    figures["data"] |= {"synthetic": origin.synthetic, "noise": origin.noise}
    rows = figures["first_layer"] if measured.in_step else ()
    movements = {row["code"]: measured.movement[row["code"]] / row["count"] for row in rows}
    text = html(codec, figures, origin, examples(codec, trials, measured), movements)
    write_json(directory / FIGURES_FILE, figures)
    write_text(directory / REPORT_FILE, text)
    return figures


def examples(codec: MotionCodec, trials: Sequence[Trial], measured: codec_figures.Measurements) -> list[Shown]:
    """A healthy walk, an impaired walk and another activity: of each kind, the trial with the median error."""
    walks = [activity == codec_figures.WALKING for activity in measured.activity]
    healthy = [diagnosis == "healthy" for diagnosis in measured.diagnosis]
    kinds = (
        [walk and well for walk, well in zip(walks, healthy, strict=True)],
        [walk and bool(name) and name != "healthy" for walk, name in zip(walks, measured.diagnosis, strict=True)],
        [not walk for walk in walks],
    )
    errors = [reconstruction.mean([row], reconstruction.LOWER_LIMB) for row in measured.median]
    made = []
    for kind in kinds:
        members = sorted((error, i) for i, error in enumerate(errors) if kind[i] and np.isfinite(error))
        if members:
            made.append(_shown(codec, trials[measured.index[members[len(members) // 2][1]]]))
    return made


def _shown(codec: MotionCodec, trial: Trial) -> Shown:
    """The middle seconds of a trial, after decoding the whole trial."""
    true, seen = trial.true_coordinates, trial.trajectory.observed
    _, (back,) = reconstruction.encode_and_decode(codec, [trial.trajectory.coordinates], [seen])
    length = min(len(back), round(_SHOWN_S * CANONICAL_RATE_HZ))
    part = slice((len(back) - length) // 2, (len(back) - length) // 2 + length)
    meta = trial.trajectory.metadata
    title = f"{(meta.activity or 'movement').capitalize()}: {trial.diagnosis or 'diagnosis unknown'}"
    return Shown(title, true[part], back[part], seen, meta.height_m, part.start / CANONICAL_RATE_HZ)


def html(
    codec: MotionCodec,
    figures: Mapping[str, Any],
    origin: Origin,
    shown: Sequence[Shown],
    movements: Mapping[int, np.ndarray],
) -> str:
    """Build the page as text.

    Args:
        figures: the figures that `write` returns.
        shown: movements to draw.
        movements: mean decoded features f64[stride, 40] of each code in `figures["first_layer"]`; empty if codes
            do not stand for fixed frames.
    """
    ratio = figures["impaired_over_healthy"]
    parts = [
        page.Section(
            "angles",
            "Joint angles",
            "Absolute error after encoding and decoding: for each trial, the median (and the 95th percentile) over its "
            "frames, then the mean over the trials in which that angle moved by more than 1° (standard deviation).",
            codec_sections.angles(figures),
        ),
        page.Section(
            "movements",
            "Movements and their reconstruction",
            "For each kind, the trial whose hip, knee and ankle error is the median: neither the best nor the worst. "
            "The movement is wide and grey; the reconstruction is orange for the right side, blue for the "
            "left.",
            codec_sections.movements(shown),
        ),
        page.Section(
            "gait",
            "Gait parameters",
            "Gait parameters of the movement against those of its reconstruction, measured by the same code, for walks "
            "with at least 3 strides per side.",
            codec_sections.gait(figures["gait"]),
        ),
        page.Section(
            "root",
            "Where the body goes",
            "The path of the pelvis is integrated from decoded velocities, so its error grows with time.",
            codec_sections.root(figures["root"]),
        ),
        page.Section(
            "rates",
            "Velocity and acceleration",
            "Mean absolute error of the first and second differences between frames (30 per second), beside the mean "
            "absolute value in the movement itself: an error that large would be no better than standing still.",
            codec_sections.rates(figures["rates"]),
        ),
        page.Section(
            "layers",
            "Use of the codes",
            "On participants that the codec was not trained on. Perplexity is the number of codes that would be in use "
            "if all were used equally often.",
            codec_sections.layers(figures),
        ),
        page.Section(
            "codes",
            "What codes look like",
            _CODES_DRAWN if movements else _CODES_NOT_DRAWN,
            codec_sections.codes(figures["first_layer"], movements),
        ),
    ]
    return page.document(
        f"{origin.name}: the motion codec",
        "What the motion codec keeps",
        _head(codec, figures, origin),
        parts,
        _notes(origin, ratio),
        " · ".join(f"{name} {value}" for name, value in versions({"codec": codec.digest}).items()),
        codec_sections.tiles(figures),
    )


def _head(codec: MotionCodec, figures: Mapping[str, Any], origin: Origin) -> str:
    cfg, data = codec.config, figures["data"]
    name = _BACK_ENDS[cfg.quantizer]
    name = f"residual {name}" if cfg.quantizer == "vq" and codec.layers > 1 else name
    layers = (
        f"{codec.layers} layers of {codec.codes:,} codes" if codec.layers > 1 else f"one layer of {codec.codes:,} codes"
    )
    health = (
        f" ({data['healthy_participants']} healthy, {data['impaired_participants']} with an impairment)"
        if data["healthy_participants"] + data["impaired_participants"]
        else ""
    )
    noisy = (
        " The codec was given the movement with noise; every error is against the movement without noise. "
        f"The error of its input is {figures['input_median_deg']:.2f}° (mean of medians)."
        if figures["input_median_deg"]
        else ""
    )
    return (
        f"<p>Run “{escape(origin.name)}”: {name}, {layers}, {figures['tokens_per_second']:.3g} tokens per second "
        f"({figures['bits_per_second']:.0f} bits/s), digest {codec.digest[:12]}. Measured on {data['trials']:,} trials "
        f"({data['hours']:.2g} hours) of {data['participants']} participants{health} of {origin.kind}: "
        f"{origin.participants:,} participants and {origin.trials:,} trials in all.{noisy}</p>"
        f'<p class="small">{origin.participants_note}</p>'
    )


def _notes(origin: Origin, ratio: Mapping[str, Any]) -> list[str]:
    notes = [
        "Participants are split by a hash of their identity; the codec was trained on nobody in this report.",
        "The matched ratio compares like with like: trials are put into strata of one activity and one speed class "
        f"({matching.SPEED_CLASS_M_S:g} m/s wide, speed of the pelvis along its path), and a stratum with h errors of "
        "healthy and i of impaired participants counts h·i/(h + i) on both sides, so both have the same mix of "
        "activities and speeds. Strata that hold only one side have weight zero: "
        f"{ratio['trials_in_strata']:,} of {ratio['trials']:,} trials lie in the {ratio['strata']} shared strata.",
        "Intervals are 95 % percentile intervals of a bootstrap over participants.",
        "The heading and position of the pelvis are integrated from decoded rates, so they are not among the joint "
        "angles but under “Where the body goes”.",
        "A reconstruction begins where the movement begins; frames after the last whole token are left out.",
    ]
    return notes
