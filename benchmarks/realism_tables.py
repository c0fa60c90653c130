"""Published figures that `realism.py` compares with, and the real files that it reads or must leave out.

Sources in brackets: [S] read in the named publication, [M] measured on a named public file, [memory] recalled and not
verified; corrections belong here.
"""

# Etiology, measure of a free walk (degrees, m/s; on the affected side), lowest and highest mean, unit, source.
PUBLISHED: tuple[tuple[str, str, float, float, str, str], ...] = (
    ("healthy", "walking_speed", 1.10, 1.50, "m/s", "[S: Bohannon 1997, by age and sex]"),
    ("healthy", "double_support", 18, 27, "%", "[memory]"),
    ("healthy", "knee_swing_peak", 52.8, 65.4, "deg", "[S: Schwartz 2008, 1 SD; built the generator]"),
    ("healthy", "hip_range", 36.4, 48.6, "deg", "[S: Schwartz 2008, 1 SD; built the generator]"),
    ("healthy", "ankle_range", 26.3, 36.9, "deg", "[S: Schwartz 2008, 1 SD; built the generator]"),
    ("stroke", "walking_speed", 0.30, 0.90, "m/s", "[memory]"),
    ("stroke", "knee_swing_peak", 20, 50, "deg", "[memory; direction S: CIA 2017]"),
    ("stroke", "ankle_mid_swing", -15, 0, "deg", "[memory]"),
    ("Parkinson disease", "walking_speed", 0.8, 1.25, "m/s", "[direction S: Zanardi 2021; size memory]"),
    ("Parkinson disease", "hip_range", 25, 42, "deg", "[direction S: Zanardi 2021; size memory]"),
    ("cerebellar ataxia", "walking_speed", 0.6, 1.2, "m/s", "[direction S: Buckley; size memory]"),
    ("cerebral palsy", "walking_speed", 0.72, 1.20, "m/s", "[M: clinic table of 190 rows, mean 0.96, SD 0.24]"),
    ("cerebral palsy", "knee_stance_min", 15, 70, "deg", "[M: crouch gait files 25-70 at severity 1]"),
    ("cerebral palsy", "ankle_range", 10, 35, "deg", "[memory]"),
    ("transfemoral amputation", "walking_speed", 0.8, 1.1, "m/s", "[memory]"),
    ("transfemoral amputation", "knee_stance_min", -5, 5, "deg", "[memory]"),
    ("knee osteoarthritis", "walking_speed", 0.8, 1.25, "m/s", "[memory; top speed S: Wiik 2017]"),
    ("knee osteoarthritis", "knee_range", 35, 57, "deg", "[memory; direction S: Mills 2013]"),
    ("traumatic brain injury", "walking_speed", 0.80, 1.20, "m/s", "[S: PMC7286440, 0.96]"),
    ("multiple sclerosis", "walking_speed", 0.7, 1.2, "m/s", "[direction S: Comber 2017; size memory]"),
    ("incomplete spinal cord injury", "walking_speed", 0.38, 1.18, "m/s", "[M: table of 12 people]"),
    ("peripheral neuropathy", "walking_speed", 0.8, 1.25, "m/s", "[memory]"),
    ("peripheral neuropathy", "ankle_mid_swing", -20, 0, "deg", "[memory: -15..-20 at severity 1]"),
    ("transtibial amputation", "walking_speed", 0.9, 1.25, "m/s", "[memory: 1.1]"),
    ("transtibial amputation", "ankle_range", 8, 18, "deg", "[memory: 10-15]"),
    ("hip osteoarthritis", "hip_range", 18, 38, "deg", "[memory: clearly reduced]"),
    ("vestibular disorder", "walking_speed", 0.7, 1.2, "m/s", "[memory]"),
    ("frailty", "walking_speed", 0.5, 1.0, "m/s", "[memory]"),
)

# Groups of the public table of timed tests (scovitz/CS-230-NMD-OpenCap-Classification) and their names here.
TIMED_GROUPS = {"TYP": "healthy", "FSHD": "facioscapulohumeral dystrophy", "DM": "myotonic dystrophy"}

# Activities of the cohort, and the real files whose smoothness each is compared with.
_OPENCAP = "opencap_subject4/"
SPECTRA: dict[str, tuple[str, ...]] = {
    "walk_free": tuple(f"{_OPENCAP}{name}_ik.mot" for name in ("walking2", "walkingTI1", "walkingTO1", "walkingTS1")),
    "chair_rise": (f"{_OPENCAP}STSAsym1_ik.mot",),
}

# Real people's walking for the discriminator, as person and file.
DISCRIMINATED: tuple[tuple[str, str], ...] = (
    *(("opencap subject 4", name) for name in SPECTRA["walk_free"][:2]),
    ("opensim treadmill subject", "opensim_core/std_subject01_walk1_ik.mot"),
    ("opensim overground subject", "opensim_core/subject_walk_armless_coordinates.mot"),
    ("addbiomechanics subject", "addbiomechanics/results.b3d"),
)

# Real files that set a parameter of the generator or of a marker set, and the parameters that they set.
PARAMETERS_FROM: dict[str, str] = {
    "opencap_subject4/walking1_ik.mot": "pelvic-plane offset, lean of the trunk, amplitudes of arms and trunk; "
    "OpenCap marker set and wrists",
    "opencap_subject4/STS1_ik.mot": "period and joint angles of rising from a chair; noise of single frames",
    # The smoothness in row 4 was inspected while the markerless filter and frame noise were set: consistency there.
    **{
        name: "cut-off and frame noise of markerless angles: smoothness in row 4 is consistency, not evidence"
        for files in SPECTRA.values()
        for name in files
    },
    "opencap_subject4/squats1_ik.mot": "joint angles of the squat",
    "schwartz2008/schwartz2008_fourier6.json": "waveforms of walking: row 2 is consistency, not evidence",
    "timed_tests/class_info.csv": "timed tests by group: row 5 is consistency, not evidence",
    "cerebral_palsy_clinic/Fig2a-d.csv": "walking speed in cerebral palsy",
    "spinal_cord_injury/sample_data.csv": "walking speed and step width in spinal cord injury",
}

# Real files that a trained model is asked about, and the activity that each file's name states.
ACTIVITY_OF: dict[str, str] = {
    **dict.fromkeys(SPECTRA["walk_free"], "walking"),
    "opensim_core/subject_walk_armless_coordinates.mot": "walking",
    f"{_OPENCAP}STSAsym1_ik.mot": "five times sit to stand",
    f"{_OPENCAP}static1_ik.mot": "standing balance",
}
