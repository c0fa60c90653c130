"""How each question is asked: the concepts that make a text this question, and those that leave it this question.

A sense is one way to ask, in the concepts of `words`: "gait speed" wants one word of each of the two, "time/long" a
word of either, and "share?" may be named or not. `MAY` holds what may be named beside every sense of a question, and
`EVERYWHERE` beside every sense of all. Any other concept makes the text another question.

A word is added to its concept in `words`. A new question needs its senses and its `MAY` here, and phrasings in
tests/questions/friendly.txt and hostile.txt.
"""

EVERYWHERE = frozenset({"show"})

_TESTS = "tug fsst sit_to_stand tandem stance reach_test box_test"
_ASKED = "wh how any can record clip recorded"
_MEAN = f"{_ASKED} average one each gait"
_SECONDS = "time/long/length_of/long_for/seconds/score"
_TIMED = f"{_ASKED} would many much take total test perform {_SECONDS.replace('/', ' ')} last hold"

SENSES: dict[str, tuple[str, ...]] = {
    "activity": ("wh activity/test/movement perform?", "wh perform", "wh show", "activity perform"),
    "impairment": ("impaired", "disorder"),
    "diagnosis": (
        "diagnosis wh? likely? explain? would? diseases? clip?",
        "wh disorder likely? explain? would? can? affect? clip?",
        "wh cause likely? would? disorder?",
        "wh wrong",
        "diseases sign? explain?",
    ),
    "assistive_device": ("aid", "devices"),
    "tug_time": (f"tug {_SECONDS}", "tug how speed", "wh tug"),
    "five_times_sit_to_stand_time": (
        f"five sit_to_stand {_SECONDS}",
        "five sit_to_stand how speed",
        f"five stand {_SECONDS} chair?",
        f"ftsst {_SECONDS}",
        "ftsst how speed",
    ),
    "ten_metre_walk_time": (f"ten_metre gait/cover/take {_SECONDS} distance?", f"ten_mwt {_SECONDS}"),
    "four_square_step_time": (f"fsst {_SECONDS}", "fsst how speed"),
    "single_leg_stance_time": (
        f"one_leg stance/stand/balance/hold/position {_SECONDS}",
        "one_leg time/long_for/seconds",
        f"sls {_SECONDS}",
    ),
    "tandem_stance_time": (f"tandem stance/stand/balance/position/hold {_SECONDS}",),
    "functional_reach": ("reach_test", "reach far/distance/length/centimetre forward?", "reach forward wh/how/score"),
    "box_and_block": (
        "box_test score/many/rate/per_minute",
        "block many/score/rate",
        "block per_minute",
        "blocks_minute",
    ),
    "falls_history": ("fall/falling past", "fall any/suffer", "fallen", "faller"),
    "fall_risk": ("fall/falling risk/likely",),
    "walking_speed": ("gait speed", "gait how/wh speed_unit"),
    "cadence": ("cadence", "step rate", "step per_minute", "steps_minute"),
    "step_length": (
        "step long/big/far/distance per? much?",
        "step metres_of long? length_of?",
        "step length_of/length take?",
    ),
    "stride_time": (
        "stride/cycle time per?",
        "stride/cycle seconds many? long? long_for? length_of? last? per?",
        "stride/cycle how long/long_for/much take/last",
        "cycle long/length_of",
    ),
    "double_support": (
        "double phase? big?",
        "double share time? long? long_for? length_of? take? last?",
        "both_feet ground share stride/cycle/gait/time take? together?",
        "both_feet ground much stride/cycle/gait take? together?",
        "both_feet much/share stride/cycle take",
    ),
    "step_time_asymmetry": ("asymmetry step/gait", "unlike step time", "differ sides/both_feet step time"),
    "stride_length": (
        "stride long/big/far/distance per? much?",
        "stride metres_of long? length_of?",
        "stride length_of/length take?",
    ),
    "step_width": (
        "step/base/stride/gait width",
        "foot/both_feet apart/width gait/step/place far?",
        "foot/both_feet distance lateral/gait between?",
    ),
    "stance": (
        "stance/stance_phase share phase? time? long? long_for? length_of? last? take? big?",
        "stance/stance_phase much take?",
        "stance_phase big?",
        "foot ground share stride/cycle/gait/time take?",
        "foot ground much stride/cycle/gait take?",
    ),
    "stride_time_cv": ("variability stride/cycle", "variability gait rhythm", "unsteady_gait"),
}

MAY: dict[str, str] = {
    "activity": f"record clip recorded bodily perform movement test exercises {_TESTS}",
    "impairment": "any thing can would likely record sign explain gait movement move manner bodily recorded",
    "diagnosis": "any record gait movement move manner bodily",
    "assistive_device": "wh any record use hold carry devices aid gait movement",
    "tug_time": _TIMED,
    "five_times_sit_to_stand_time": f"{_TIMED} repetition chair stand",
    "ten_metre_walk_time": _TIMED,
    "four_square_step_time": _TIMED,
    "single_leg_stance_time": f"{_TIMED} position balance stand",
    "tandem_stance_time": f"{_TIMED} position balance stand foot",
    "functional_reach": f"{_ASKED} many much test perform score reach far distance length centimetre stand",
    "box_and_block": f"{_ASKED} many test per_minute move carry perform score rate box_test block",
    "falls_history": "any past suffer",
    "fall_risk": "wh how any high_of big much rating rate",
    "walking_speed": f"{_ASKED} high_of average gait much speed_unit",
    "cadence": f"{_MEAN} high_of many per_minute step steps_minute rate take",
    "step_length": f"{_MEAN} metre cover",
    "stride_time": f"{_MEAN} much cycle stride time take",
    "double_support": f"{_MEAN} high_of much share cycle stride phase",
    "step_time_asymmetry": f"{_ASKED} high_of average gait much share big step time sides both_feet differ between",
    "stride_length": f"{_MEAN} metre cover",
    "step_width": f"{_MEAN} metre base between step take place lateral foot",
    "stance": f"{_MEAN} much share cycle stride",
    "stride_time_cv": f"{_ASKED} share high_of each gait much big time stride cycle",
}

# Where a question was asked the other way round its answer is explained: what a yes or no question is about, and what
# the end of a scale means.
EVENTS = {"impairment": "impairment", "falls_history": "a fall in the past year"}
SCALES = {"step_time_asymmetry": "0 % is perfectly symmetric", "stride_time_cv": "0 % is perfectly regular"}
