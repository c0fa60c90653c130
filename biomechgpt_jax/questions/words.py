"""The words in which people ask, sorted into classes: words that change nothing, negations, and concepts.

A concept is a set of words and phrases that mean the same to every question. The words of a phrase are joined by "_";
determiners may stand between them. Words have their base form (see `base_form`), save where an ending changes the
meaning: "seconds" is a unit and "second" an ordinal, and who is falling has not fallen yet. The concept "-name" is the
opposite of "name"; no question knows the concept "foreign". A word that stands nowhere here is unknown.

Verbs of saying, thinking and wishing change nothing in the first and second person alone: what a patient thinks is
another question.
"""

# Spellings and irregular forms -> the word that stands below.
SPELLINGS = {
    "feet": "foot",
    "spent": "spend",
    "stood": "stand",
    "took": "take",
    "taken": "take",
    "held": "hold",
    "kept": "keep",
    "shown": "show",
    "seen": "see",
    "worn": "wear",
    "prostheses": "prosthesis",
    "orthoses": "orthosis",
    "m": "metre",
    "meter": "metre",
    "meters": "metre",
    "cm": "centimetre",
    "centimeter": "centimetre",
    "centimeters": "centimetre",
    "min": "minute",
    "secs": "seconds",
    "sec": "seconds",
    "s": "seconds",
    "&": "and",
    "%": "percent",
    "aetiology": "etiology",
    "maneuver": "manoeuvre",
    "1": "one",
    "5": "five",
    "4": "four",
    "10": "ten",
    "12": "twelve",
}

_CONCEPTS = """
determiner    a an the this that these those his her their its our your my
function      am is are was were be been being do does did has have had having able
function      and if whether so then as
function      of in on at by for with to from into over within during while among about across through until around
function      i me we us it he she they him them there
function      person people patient pt subject participant client individual case
function      man woman lady gentleman boy girl adult child
function      seem appear make made got get_across go exist occur please thanks hello hi
function      report describe determine calculate compute assess provide state list estimate
function      tell_me tell_us give_me give_us let_me_know would_like_to_know want_to_know need_to_know i_wonder any_idea
function      do_you do_you_know do_you_think do_you_believe do_you_notice you_think in_your_opinion to_you
function      can_you can_you_tell can_you_say can_you_give could_you could_you_tell could_you_say
function      would_you would_you_say would_you_call would_you_consider be_consider be_call
function      please_give please_tell please_say more_like based_on according given how_about what_about
function      value figure measurement metric parameter clinical medical
function      overall really actually roughly approximately approx exact exactly precisely generally just also
function      actual specific particular respective visible noticeable apparent evident detectable
function      or or_not yes_or_no at_all in_any_way on_foot
not           not never no non none without free_of free_from

wh            what which name identify classify recognise recognize kind type sort
how           how
any           any some
thing         anything something everything
can           can could
would         would might
show          show reveal see display depict observe demonstrate exhibit watch view look look_at
record        in_recording in_video in_clip in_trial in_film in_footage in_data here today now current at_moment
record        at_present
clip          recording video clip trial film footage data motion_capture mocap
foreign       recording_time recording_length recording_duration trial_length trial_duration
gait          gait walk ambulation ambulate locomotion travel when_walk
movement      movement motion
manner        way manner pattern like quality ability
bodily        motor mobility physical locomotor functional
move          move transfer transport shift
carry         carry
perform       perform performing doing done execute conduct undertake carry_out happening going_on
perform       did_person_do did_patient_do did_subject_do did_he_do did_she_do did_they_do
perform       does_person_do does_patient_do does_subject_do does_he_do does_she_do
perform       ask_to_do try_to_do going_through go_through
perform       she_up_to he_up_to they_up_to person_up_to patient_up_to subject_up_to
activity      activity task exercise action manoeuvre motor_task motor_activity
test          test assessment examination
one           one single full whole entire
each          each every
per           per
average       average mean on_average
total         total in_total altogether in_all

long          long short
length_of     long_is long_are long_was long_were short_is short_are long_on_average_is long_on_average_are
long_for      long_do long_does long_did long_can long_could long_would long_will long_has long_have long_had
far           far
high_of       high_is high_are high_was how_high how_low
big           big large small size great strong
length        length
distance      distance
cover         cover cross traverse
time          time timing temporal timed duration period interval length_of_time
rhythm        rhythm tempo
seconds       seconds
per_minute    per_minute a_minute each_minute every_minute in_minute within_minute one_minute in_one_minute
per_minute    in_60_seconds per_60_seconds
metre         metre
centimetre    centimetre
speed_unit    metre_per_second metre_a_second metre_each_second metre_every_second metre_seconds
speed_unit    many_metre_per_second many_metre_a_second many_metre_seconds many_metre_each_second
metres_of     many_metre
many          many number count
much          much amount extent degree magnitude
share         share percent percentage proportion fraction part portion relative much_of_time
score         score result outcome performance
take          take need require spend complete completion finish accomplish take_up make_up
place         place put set
last          last
foreign       the_last if_not
recorded      record capture measure achieve obtain manage attain register log
foreign       how_many_time number_of_time

speed         speed fast velocity quick slow pace rapid swift
foreign       fast_walk slow_walk brisk_walk quick_walk fast_gait slow_gait fast_pace slow_pace
foreign       normally_walk normally_move typically
step          step footstep
steps_minute  step_minute
blocks_minute block_minute
stride        stride stride_to_stride one_stride_to_next stride_to_next
cycle         cycle gait_cycle walk_cycle cycle_to_cycle
width         width wide broad narrow breadth
base          base based base_of_support walk_base support_base
apart         apart
between       between
lateral       lateral mediolateral sideways_distance
foot          foot
cadence       cadence
rate          rate frequency
double        double_support double_limb_support double_leg_support double_stance double_limb_stance bipedal_support
double        bilateral_support bilateral_stance
both_feet     both_foot two_foot both_leg two_leg
together      same_time simultaneous
ground        ground floor contact touch down planted
stance        stance
stance_phase  stance_phase
phase         phase
asymmetry     asymmetry asymmetric asymmetrical uneven unequal
-asymmetry    symmetry symmetric symmetrical
unlike        unlike
-unlike       equal same similar identical alike
differ        differ difference different discrepancy imbalance mismatch
sides         left_and_right right_and_left left_right right_left left_versus_right left_from_right left_to_right
sides         right_to_left two_side both_side side_to_side left_vs_right bilateral interlimb
variability   variability variable vary variation fluctuate fluctuation irregular irregularity inconsistent
variability   inconsistency cv
variability   coefficient_of_variation
-variability  regular regularity consistent consistency constant uniform steady stable
unsteady_gait gait_variability variability_of_gait variability_of_walk

tug           tug timed_up_and_go timed_up_go timed_get_up_and_go get_up_and_go up_and_go tugt
five          five_time five_repetition five_rep five_x x_five
sit_to_stand  sit_to_stand sit_stand sts chair_stand chair_rise chair_raise stand_up get_up rise rise_from_chair
sit_to_stand  stand_from_chair get_up_from_chair get_out_of_chair
ftsst         ftsst ftsts five_xsts five_tsts five_sts five_sit_to_stand five_sit_stand five_chair_stand
ftsst         five_chair_rise five_chair_raise five_stand five_rise five_stand_up repeat_chair_stand
ftsst         repeat_chair_rise repeat_sit_to_stand
chair         chair seat from_chair sit_down
repetition    repetition rep
ten_metre     ten_metre
ten_mwt       ten_mwt
fsst          fsst four_square_step four_square square_step
one_leg       one_leg single_leg one_foot single_foot one_limb single_limb unipedal
sls           sls stork_stand
stand         stand
balance       balance
hold          hold maintain keep stay remain
position      position posture pose
tandem        tandem full_tandem heel_to_toe sharpened_romberg
reach         reach
reach_test    functional_reach functional_forward_reach frt
forward       forward forwards ahead in_front out
box_test      box_and_block box_block bbt
block         block

fall          fall fall_down
faller        faller
fallen        fallen fell fallen_down fell_down had_fall have_fall
falling       falling
past          past_year last_year previous_year prior_year past_twelve_month last_twelve_month previous_twelve_month
past          year_before year_prior preceding_year preceding_twelve_month the_last_year the_last_twelve_month
past          history previous previously prior ever recent recently past earlier before
suffer        experience suffer sustain
risk          risk likelihood chance probability prone danger liable will susceptible predisposed vulnerable odds
likely        likely probable plausible most_likely most_probable most_plausible best main primary principal
rating        low moderate medium high increased elevated raised significant level band category class group

impaired      impaired impairment abnormal abnormality pathological pathologic unhealthy disabled disability
impaired      dysfunctional dysfunction atypical anomalous anomaly deficit unusual odd strange anything_wrong
impaired      something_wrong
impaired      deviation deviate compromised affected altered disturbed disturbance
impaired      disordered deficient defective aberrant handicap handicapped ill sick diseased limited limitation
impaired      restricted restriction
-impaired     healthy normal normally unimpaired able_bodied typical unaffected intact nothing_wrong normal_limit
-impaired     natural healthy_control unremarkable asymptomatic normal_range
sign          sign evidence indication
disorder      condition disease disorder pathology illness syndrome problem health_condition
cause         etiology cause reason
diagnosis     diagnosis diagnose diagnostic dx
wrong         wrong matter suffer_from ail afflict
explain       explain suggest indicate fit consistent_with match present underlie underlying account responsible behind
affect        affect affecting
explain       most_consistent_with suspect presume imply reflect point hint
diseases      stroke parkinson parkinson_disease pd cerebellar_ataxia ataxia cerebral_palsy osteoarthritis oa
diseases      knee_osteoarthritis hip_osteoarthritis multiple_sclerosis traumatic_brain_injury brain_injury tbi
diseases      spinal_cord_injury incomplete_spinal_cord_injury neuropathy peripheral_neuropathy vestibular_disorder
diseases      frailty amputation transfemoral_amputation transtibial_amputation
diseases      facioscapulohumeral_dystrophy myotonic_dystrophy
aid           device aid assistive_device walk_aid walk_device gait_aid mobility_aid mobility_device assistive_aid
aid           ambulatory_aid walk_support equipment
use           use rely employ depend wear assist support
devices       cane stick walk_stick walker frame walk_frame zimmer_frame rollator crutch prosthesis prosthetic orthosis
devices       orthotic brace afo ankle_foot_orthosis unaided unassisted independently
exercises     squat tandem_walk backward_walk walk_backward heel_raise stair_ascent stair_descent finger_to_nose
exercises     stand_balance
"""


def _concepts() -> dict[tuple[str, ...], str]:
    concepts: dict[tuple[str, ...], str] = {}
    for line in filter(None, _CONCEPTS.splitlines()):
        concept, *phrases = line.split()
        concepts |= {tuple(phrase.split("_")): concept for phrase in phrases}
    return concepts


# The words of every phrase -> its concept.
PHRASES = _concepts()
NEGATION = "not"
DETERMINERS = frozenset(phrase[0] for phrase, concept in PHRASES.items() if concept == "determiner")
# Concepts of words that change nothing in what is asked.
EMPTY = frozenset({"determiner", "function"})

_KNOWN = frozenset(word for phrase in PHRASES for word in phrase)
# Endings, and what may stand in their place in the base form.
_ENDINGS = (
    ("'s", ("",)),
    ("ies", ("y",)),
    ("es", ("", "e")),
    ("s", ("",)),
    ("ing", ("", "e")),
    ("ied", ("y",)),
    ("ed", ("", "e")),
    ("ly", ("", "le")),
)


def base_form(word: str) -> str:
    """A word as it stands in `PHRASES`: "walked" is "walk", "stepping" is "step"; itself where it stands nowhere."""
    word = SPELLINGS.get(word, word)
    if word in _KNOWN:
        return word
    for ending, others in _ENDINGS:
        if not word.endswith(ending):
            continue
        stem = word[: -len(ending)]
        undoubled = [stem[:-1]] if stem[-2:-1] == stem[-1:] else []
        for candidate in (*(stem + other for other in others), *undoubled):
            candidate = SPELLINGS.get(candidate, candidate)
            if candidate in _KNOWN:
                return candidate
    return word
