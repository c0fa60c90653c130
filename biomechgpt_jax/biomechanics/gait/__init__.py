"""Gait: foot contacts, strides, spatiotemporal parameters, and indices against published norms."""

from biomechgpt_jax.biomechanics.gait.analysis import Gait, Turn, analyse, parameters, pelvis_heading, turns
from biomechgpt_jax.biomechanics.gait.contacts import detect_contacts

__all__ = ["Gait", "Turn", "analyse", "detect_contacts", "parameters", "pelvis_heading", "turns"]
