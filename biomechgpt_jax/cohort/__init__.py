"""The synthetic clinical cohort: participants, activities, impairments, devices and measurement artefacts."""
