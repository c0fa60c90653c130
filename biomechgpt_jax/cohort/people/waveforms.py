"""Joint waveforms from which walking is generated: the norms of `biomechanics.gait.norms` at the walker's speed."""

from biomechgpt_jax.biomechanics.gait.norms import FREE_SPREAD, curve, toe_off_phase

__all__ = ["SUBJECT_SD", "curve", "toe_off_phase"]

# Between-subject standard deviation in degrees at free speed of the waveforms that become coordinates; foot progression
# is left out because it follows from them.
SUBJECT_SD: dict[str, float] = {name: sd for name, sd in FREE_SPREAD.items() if name != "foot_progression"}
