"""The labels that closed questions offer; the cohort and label files use exactly these."""

ACTIVITIES = (
    "walking",
    "timed up and go",
    "five times sit to stand",
    "standing balance",
    "squat",
    "tandem walk",
    "backward walk",
    "sit to stand",
    "heel raise",
    "tandem stance",
    "single-leg stance",
    "stair ascent",
    "stair descent",
    "four square step",
    "functional reach",
    "finger to nose",
    "box and block",
)
DIAGNOSES = (
    "healthy",
    "stroke",
    "Parkinson disease",
    "cerebellar ataxia",
    "cerebral palsy",
    "transfemoral amputation",
    "knee osteoarthritis",
    "traumatic brain injury",
    "multiple sclerosis",
    "incomplete spinal cord injury",
    "peripheral neuropathy",
    "transtibial amputation",
    "hip osteoarthritis",
    "vestibular disorder",
    "frailty",
    "facioscapulohumeral dystrophy",
    "myotonic dystrophy",
)
DEVICES = ("none", "cane", "walker", "prosthesis", "crutches", "ankle-foot orthosis")
FALL_RISKS = ("low", "moderate", "high")
