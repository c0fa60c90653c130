"""Joint waveforms that walking is generated from: the norms of `biomechanics.gait.norms` at the walker's speed."""

from biomechgpt_jax.biomechanics.gait.norms import FREE_SPREAD, curve, toe_off_phase

__all__ = ["SUBJECT_SD", "curve", "toe_off_phase"]

# Between-subject standard deviation at free speed, degrees, of the waveforms that become coordinates; the progression
# of the foot follows from those.
SUBJECT_SD: dict[str, float] = {name: sd for name, sd in FREE_SPREAD.items() if name != "foot_progression"}
