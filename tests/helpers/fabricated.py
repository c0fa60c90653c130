"""Invented predictions, curves and movements with which the report is tested and looked at."""

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.evaluation import bars, metrics
from biomechgpt_jax.reports import sections, stick
from biomechgpt_jax.reports.origin import Origin

DIAGNOSES = (
    "healthy",
    "stroke",
    "Parkinson disease",
    "cerebellar ataxia",
    "cerebral palsy",
    "transfemoral amputation",
    "knee osteoarthritis",
)
ACTIVITIES = (
    "walking",
    "timed up and go",
    "five times sit to stand",
    "standing balance",
    "squat",
    "tandem walk",
)
CLOSED = {
    "activity": ("activity", "What is this person doing?", ACTIVITIES, 0.97),
    "impairment": ("impairment", "Does this person have a movement impairment?", ("yes", "no"), 0.88),
    "diagnosis": ("diagnosis", "Which condition does this person have?", DIAGNOSES, 0.62),
    "assistive_device": (
        "assistive_device",
        "Which device is used?",
        ("none", "cane", "walker", "prosthesis"),
        0.8,
    ),
    "fall_risk": ("outcome_scores", "How high is the risk of falling?", ("low", "moderate", "high"), 0.85),
}
NUMBERS = {
    "tug_time": ("outcome_scores", "How long did the timed up and go take?", "s", 12.0, 3.5, 0.9),
    "five_times_sit_to_stand_time": (
        "outcome_scores",
        "How long did five chair stands take?",
        "s",
        13.0,
        3.0,
        1.1,
    ),
    "ten_metre_walk_time": ("outcome_scores", "How long would 10 metres take?", "s", 9.5, 2.5, 1.2),
    "walking_speed": ("gait", "How fast is this person walking?", "m/s", 1.05, 0.27, 0.07),
    "cadence": ("gait", "What is the cadence?", "steps/min", 106.0, 13.0, 4.0),
    "step_length": ("gait", "How long are the steps?", "m", 0.58, 0.11, 0.04),
    "stride_time": ("gait", "How long does a stride take?", "s", 1.15, 0.14, 0.05),
    "double_support": ("gait", "How much of the stride is double support?", "%", 25.0, 6.0, 3.0),
    "step_time_asymmetry": ("gait", "How asymmetric are the steps in time?", "%", 8.0, 5.0, 4.5),
}


def predictions(skill=1.0, participants=48, trials=4, seed=0):
    """Answers of a source with some skill (1: the model, 0: knows nothing)."""
    truths, generator = np.random.default_rng(7), np.random.default_rng(seed)
    rows = []
    for p in range(participants):
        person = DIAGNOSES[0] if p % 3 == 0 else DIAGNOSES[1 + p % 6]
        for t in range(trials):
            common = {
                "trial": f"p{p:03d}-{t}",
                "participant": f"p{p:03d}",
                "start_s": 0.0,
                "seconds": 6.0 + t,
            }
            known = {"diagnosis": person, "impairment": "no" if person == "healthy" else "yes"}
            for name, (family, phrasing, options, right) in CLOSED.items():
                truth = known.get(name, str(truths.choice(options)))
                likely = truth if generator.random() < right * skill + (1 - skill) / len(options) else None
                chosen = likely or str(generator.choice([o for o in options if o != truth]))
                logits = generator.normal(0, 0.5, len(options)) + 2.4 * (np.array(options) == chosen) * max(skill, 0.1)
                chance = np.exp(logits) / np.exp(logits).sum()
                answer = options[int(np.argmax(chance))]
                rows.append(
                    common
                    | {
                        "family": family,
                        "question": name,
                        "kind": "closed",
                        "phrasing": phrasing,
                        "truth": truth,
                    }
                    | {"answer": answer, "probability": float(chance.max()), "unit": ""}
                    | {"options": dict(zip(options, map(float, chance), strict=True))}
                )
            for name, (family, phrasing, unit, centre, spread, noise) in NUMBERS.items():
                truth = float(truths.normal(centre, spread))
                error = generator.normal(0, noise) + (1 - skill) * (centre - truth)
                answer = None if generator.random() < 0.01 else float(truth + error)
                rows.append(
                    common
                    | {
                        "family": family,
                        "question": name,
                        "kind": "number",
                        "phrasing": phrasing,
                        "truth": truth,
                    }
                    | {"answer": answer, "probability": float(generator.uniform(0.2, 0.9)), "unit": unit}
                )
    return rows


def walk(seconds=5.0, speed=1.2, rate=30.0):
    """A crude walk: sines at the hips, knees and arms; f32[T, 40]."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * 0.9 * time
    coordinates = np.zeros((len(time), COORDINATE_COUNT), np.float32)
    coordinates[:, INDEX["pelvis_tx"]] = speed * time
    coordinates[:, INDEX["pelvis_ty"]] = 0.97 + 0.02 * np.cos(2 * phase)
    for side, shift in (("r", 0.0), ("l", np.pi)):
        coordinates[:, INDEX[f"hip_flexion_{side}"]] = 0.12 + 0.42 * np.sin(phase + shift)
        coordinates[:, INDEX[f"knee_angle_{side}"]] = 0.45 + 0.45 * np.cos(phase + shift + 0.3)
        coordinates[:, INDEX[f"arm_flex_{side}"]] = -0.35 * np.sin(phase + shift)
        coordinates[:, INDEX[f"arm_add_{side}"]] = -0.12
        coordinates[:, INDEX[f"elbow_flex_{side}"]] = 0.4
    return coordinates


def material():
    """A whole report's worth."""
    skills = {"model": 1.0, "text_only": 0.0, "constant": 0.0, "label_prior": 0.0}
    skills |= {"speed_only": 0.35, "length_only": 0.1, "mean_pose": 0.55}
    said = {name: predictions(skill, seed=i) for i, (name, skill) in enumerate(skills.items())}
    said["mean_pose_tree"] = [row for row in predictions(0.4, seed=20) if row["question"] == "diagnosis"]
    families = {name: metrics.summarise(rows, 200, 0) for name, rows in said.items()}
    content = {
        "test_participants": 48,
        "families": families["model"],
        "controls": {name: found for name, found in families.items() if name != "model"},
        "wall_seconds": {
            "simulate": 71.2,
            "tokenizer": 164.0,
            "pack": 40.1,
            "train": 371.0,
            "evaluate": 78.4,
        },
        "bars": bars.check(families, said, 200, 0),
        "text_only_check": bars.check_text_only(families, said, 200, 0),
    }
    generator = np.random.default_rng(3)
    main = [
        {
            "step": s,
            "loss": 0.4 + 3.5 * np.exp(-s / 90) + generator.normal(0, 0.03),
            "learning_rate": 2e-3 * min(1.0, s / 50) * (0.5 + 0.5 * np.cos(np.pi * s / 700)),
            "grad_norm": float(generator.lognormal(0, 0.2)),
            "nonpadding_tokens_per_second": 2700 + generator.normal(0, 60),
        }
        for s in range(10, 701, 10)
    ]
    main += [{"step": s, "validation_loss": 0.5 + 3.5 * np.exp(-s / 90)} for s in range(100, 701, 100)]
    blind = [{"step": s, "loss": 0.9 + 3.0 * np.exp(-s / 40)} for s in range(10, 151, 10)]
    cohort = [
        {
            "diagnosis": name,
            "train": 90 if i == 0 else 38 - i,
            "validation": 3,
            "test": 26 if i == 0 else 9,
            "trials": 400,
            "hours": 0.9,
        }
        for i, name in enumerate(DIAGNOSES)
    ]
    fidelity = {
        "median_deg": 1.31,
        "p95_deg": 4.6,
        "healthy_median_deg": 1.22,
        "impaired_median_deg": 1.4,
        "codes_used": 873,
        "codes": 1000,
        "perplexity": 412.0,
        "tokens_per_second": 7.5,
        "by_group_deg": {
            "hip": 1.2,
            "knee": 1.5,
            "ankle and foot": 1.6,
            "lumbar": 0.8,
            "neck": 0.9,
            "arm": 2.2,
        },
    }
    first = [row for row in said["model"] if row["trial"] == "p001-0"]
    drawn = [
        stick.clip("Stroke, timed up and go <s>", walk(), 30.0, 1.7, first[:1] + first[3:9]),
        stick.clip("Healthy, walking", walk(4.0, 1.4), 30.0, float("nan"), first[:5]),
    ]
    return sections.Material(
        origin=Origin("quickstart", True, "markerless", 256, 2_013),
        metrics=content,
        predictions=said,
        curves={"main": main, "text only": blind},
        cohort=cohort,
        fidelity=fidelity,
        clips=drawn,
        orders={name: options for name, (_, _, options, _) in CLOSED.items()},
        made={"biomechgpt": "0.1.0", "jax": "0.10.2"},
    )
