"""Several people in one file: groups by name, the fullest one, none filled from another."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.fitting import people
from biomechgpt_jax.errors import InputError

BODY = (
    *(f"{s}{n}" for s in "RL" for n in ("ASI", "PSI", "THI", "KNE", "TIB", "ANK", "HEE", "TOE", "SHO")),
    "C7",
)


def _choose(names: tuple[str, ...], person: str = "", seen: dict[str, float] | None = None) -> people.Choice:
    share = np.array([(seen or {}).get(name, 1.0) for name in names])
    return people.choose(names, share, person)


def _of(prefix: str, without: tuple[str, ...] = (), sign: str = ":") -> tuple[str, ...]:
    return tuple(f"{prefix}{sign}{name}" for name in BODY if name not in without)


def _owners(names: tuple[str, ...]) -> set[str]:
    return {label.person for label in people.split(names)}


def test_a_file_of_one_person_keeps_every_marker() -> None:
    names = (*BODY, "CHAIR1", "LASIO")
    choice = _choose(names)
    assert choice.index == tuple(range(len(names))) and choice.names == names
    assert choice.person == "" and choice.flags == ()
    assert _choose(_of("Ann")).names == BODY and _choose(_of("Ann")).flags == ()


def test_the_fullest_person_is_read_alone() -> None:
    names = (*_of("Ann", ("RANK", "RHEE", "RTOE")), *_of("Ben"))
    choice = _choose(names)
    assert choice.person == "Ben" and choice.names == BODY
    assert all(names[i].startswith("Ben:") for i in choice.index)
    assert choice.flags == ("caution: several people in the file: of 2 people, Ben is read; left out: Ann",)
    assert people.without_names(("gap", *choice.flags)) == ("gap", "caution: several people in the file")
    ann = _choose(names, "ann")
    assert ann.person == "Ann" and "RANK" not in ann.names and ann.others == ("Ben",)


def test_two_whole_people_are_refused_until_one_is_named() -> None:
    names = (*_of("Ann"), *_of("Ben B"))
    with pytest.raises(InputError, match=r"2 whole people, Ann and Ben B; .*--person Ann"):
        _choose(names)
    assert _choose(names, "Ben B").names == BODY
    with pytest.raises(InputError, match=r"nobody named 'Carl'; it holds Ann, Ben B"):
        _choose(names, "Carl")
    with pytest.raises(InputError, match="--person Carl cannot be found; leave --person out"):
        _choose(BODY, "Carl")


def test_a_person_who_is_seen_for_a_moment_is_not_whole() -> None:
    names = (*_of("Ann"), *_of("Ben"))
    choice = _choose(names, seen={name: 0.1 for name in names if name.startswith("Ann")})
    assert choice.person == "Ben" and choice.others == ()
    short = _choose(BODY, seen=dict.fromkeys(BODY, 0.1))  # of one person in view for a while nothing is lost
    assert short.names == BODY


@pytest.mark.parametrize("prefix", ["Sub", "Q", "251112_KUO", "P_01"])
def test_a_prefix_may_end_in_an_underscore(prefix: str) -> None:
    names = (*_of(prefix, sign="_"), f"{prefix}_WAND")
    choice = _choose(names)
    assert choice.person == prefix and choice.names == (*BODY, "WAND")


def test_a_side_with_an_underscore_is_no_prefix() -> None:
    names = tuple(f"{s}_{n}" for s in ("R", "L", "right") for n in ("C7", "HJC", "KNE", "ASI", "PSI", "ANK"))
    assert _owners(names) == {""}
    assert _owners(("L_HJC", "R_HJC", "r_shank_antsup", "r_knee", "L_5meta")) == {""}
    assert _owners(("Foo_C7", "Foo_T10")) == {""}  # two labels make no group


def test_objects_are_left_out_without_a_word_of_people() -> None:
    names = (*_of("Ann"), "Chair:A", "Chair:B", "Chair:C", "wand1")
    choice = _choose(names)
    assert choice.names == BODY and choice.flags == ()
    virtual = tuple(f"V_{s}.{n}" for s in "RL" for n in ("Knee.Medial", "Ankle.Medial", "MT2", "Heel"))
    assert _choose((*BODY, *virtual)).flags == ()  # points without a pelvis are no second person


def test_labels_added_without_a_prefix_belong_to_the_only_person_who_lacks_them() -> None:
    names = (*_of("Ann", ("RKNE", "LKNE")), "RKNE", "LKNE")
    assert set(_choose(names).names) == set(BODY)
    twice = (*_of("Ann", ("RKNE",)), "RKNE", "LKNE")  # LKNE stands twice: two people
    assert "RKNE" not in _choose(twice).names


def test_of_a_repeated_label_the_first_that_is_seen_is_kept() -> None:
    names = (*BODY, "C7", "RTOE")
    choice = people.choose(names, np.array([1.0] * (len(names) - 3) + [0.0, 1.0, 1.0]))
    assert choice.names == (*BODY[:-1], "C7") and choice.index[-1] == len(BODY)


def test_a_file_without_any_known_label_is_kept_whole() -> None:
    names = ("Foo:a", "Foo:b", "Bar:c")
    assert _choose(names).names == ("a", "b", "c")
    assert _choose(names, "bar").names == ("c",)
    assert _choose(("a", "b")).names == ("a", "b")


def _behind(name: str, sign: str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(f"{label}{sign}{name}" for label in BODY if label not in without)


@pytest.mark.parametrize("sign", ["_", ":", "", " "])
def test_a_name_may_stand_behind_the_label(sign: str) -> None:
    lacking = ("RANK", "RHEE", "RTOE")
    names = tuple(name for pair in zip(_behind("1", sign), _behind("2", sign), strict=True) for name in pair)
    names = tuple(name for name in names if name not in _behind("1", sign, ()) or name[: -len(sign) - 1] not in lacking)
    choice = _choose(names)
    assert choice.person == "2" and choice.names == BODY and choice.others == ("1",)
    assert all(names[i].endswith("2") for i in choice.index)
    assert "RANK" not in _choose(names, "1").names and "RPSI" in _choose(names, "1").names


def test_two_whole_people_named_behind_the_label_are_refused_until_one_is_chosen() -> None:
    with pytest.raises(InputError, match=r"2 whole people, Ann and Ben; .*--person Ann"):
        _choose((*_behind("Ann", "_"), *_behind("Ben", "_")))
    second = _choose((*BODY, *_behind("2", "_")), "2")
    assert second.names == BODY and set(second.index) == set(range(len(BODY), 2 * len(BODY)))


def test_numbers_of_a_cluster_and_what_is_measured_twice_are_no_people() -> None:
    clusters = tuple(f"{s}{part}_{i}" for s in "RL" for part in ("THI", "TIB") for i in (1, 2, 3))
    body = tuple(name for name in BODY if name not in ("RTHI", "LTHI", "RTIB", "LTIB"))
    assert _owners((*body, *clusters)) == {""}
    assert _owners((*body, *(name.replace("_", "") for name in clusters))) == {""}
    assert _owners((*(f"{name}1" for name in BODY[:-1]), "C7")) == {""}, "C7 bears no digit but its own"
    assert _owners(("RKNE_MED", "LKNE_MED", "RANK_MED", "LANK_MED", *BODY)) == {""}


def test_joint_angles_go_with_the_person_of_their_name() -> None:
    assert people.bare("RKneeAngles_2", "2") == people.bare("2:RKneeAngles", "2") == "RKneeAngles"
    assert people.bare("RKneeAngles", "2") == "RKneeAngles" and people.bare("Ann:RKneeAngles", "Ben") is None
