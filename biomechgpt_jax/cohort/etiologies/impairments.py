"""How an etiology, its severity and a device change a participant's movement.

Directions of change follow the literature named beside each recipe; where no source is named, sizes are from memory.
Everything scales with severity, so that nobody differs at severity 0; only a prosthesis shows at any severity.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from biomechgpt_jax.cohort.etiologies import muscular, neurological, orthopaedic
from biomechgpt_jax.cohort.people import personal
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import ArmStyle, Style, by_side

_RECIPES: dict[str, Callable[[Style, float, str, np.random.Generator], Style]] = {
    "stroke": neurological.stroke,
    "Parkinson disease": neurological.parkinson,
    "cerebellar ataxia": neurological.ataxia,
    "cerebral palsy": neurological.cerebral_palsy,
    "traumatic brain injury": neurological.traumatic_brain_injury,
    "multiple sclerosis": neurological.multiple_sclerosis,
    "incomplete spinal cord injury": neurological.incomplete_spinal_cord_injury,
    "peripheral neuropathy": neurological.peripheral_neuropathy,
    "vestibular disorder": neurological.vestibular_disorder,
    "transfemoral amputation": orthopaedic.transfemoral_amputation,
    "transtibial amputation": orthopaedic.transtibial_amputation,
    "knee osteoarthritis": orthopaedic.knee_osteoarthritis,
    "hip osteoarthritis": orthopaedic.hip_osteoarthritis,
    "frailty": muscular.frailty,
    "facioscapulohumeral dystrophy": muscular.facioscapulohumeral_dystrophy,
    "myotonic dystrophy": muscular.myotonic_dystrophy,
}


def _add_device(style: Style, device: str, side: str) -> Style:
    if device == "cane":
        # The cane is held on the side opposite the affected leg and planted together with that leg.
        cane = ArmStyle(swing=0.35, shoulder_flexion=6, elbow=0, in_phase_with_other_leg=True)
        if side == "right":
            return replace(style, arm_left=cane, trunk_bend=style.trunk_bend - 2)
        return replace(style, arm_right=cane, trunk_bend=style.trunk_bend + 2)
    if device == "crutches":
        # Four-point gait: each crutch moves with the opposite leg, the arms nearly straight and slightly abducted.
        crutch = ArmStyle(0.55, shoulder_flexion=8, shoulder_adduction=-12, elbow=4, in_phase_with_other_leg=True)
        bent = style.trunk_flexion + 6
        return replace(style, arm_right=crutch, arm_left=crutch, trunk_flexion=bent, amplitude=style.amplitude * 0.9)
    if device == "ankle-foot orthosis":
        # The orthosis holds the dropped foot near neutral and removes most of the push-off.
        worn = "right" if side in ("right", "both") else "left"
        leg = style.right if worn == "right" else style.left
        braced = replace(leg, ankle_swing=max(leg.ankle_swing, -2.0), push_off=min(leg.push_off, 0.45))
        other = style.left if worn == "right" else style.right
        if side == "both":
            other = replace(other, ankle_swing=max(other.ankle_swing, -2.0), push_off=min(other.push_off, 0.45))
        right, left = by_side(worn, braced, other)
        return replace(style, right=right, left=left)
    if device == "walker":
        holding = ArmStyle(swing=0.08, shoulder_flexion=32, elbow=10)
        return replace(
            style,
            arm_right=holding,
            arm_left=holding,
            trunk_flexion=style.trunk_flexion + 10,
            amplitude=style.amplitude * 0.88,
        )
    return style


def style_of(person: Participant, rng: np.random.Generator) -> tuple[Style, Style]:
    """The participant's style without and with the device (used while walking)."""
    old = max(0.0, (person.age - 65) / 25)
    # A healthy sit-to-stand takes about 1.6 s per cycle, varies by 26 % between people and hardly depends on walking
    # speed (timed tests in 51 people); it slows with age.
    rise = 0.75 * float(np.exp(-0.02 * person.fitness - 0.22 * person.effort + 0.08 * rng.normal())) * (1 + 0.35 * old)
    style = Style(
        trunk_flexion=6 * old * rng.random(),
        sway=1 + 0.8 * old,
        stride_time_cv=0.018 + 0.006 * old,
        rise_s=rise,
        person=personal.draw(rng),
        arm_right=ArmStyle(swing=float(np.clip(rng.normal(1, 0.2), 0.4, 1.6))),
        arm_left=ArmStyle(swing=float(np.clip(rng.normal(1, 0.2), 0.4, 1.6))),
        cadence=float(np.exp(0.06 * rng.normal())),
        stance_share=0.010 * float(rng.normal()),
        step_asymmetry=0.012 * float(rng.normal()),
    )
    if person.etiology in _RECIPES:
        style = _RECIPES[person.etiology](style, person.severity, person.side, rng)
    visible_device = person.device if person.device_shows else "none"
    return style, _add_device(style, visible_device, person.side)
