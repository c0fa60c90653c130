"""What the pack stage leaves on disk, read back row by row."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from packed_trials import WORDS, Codec, timed, walking

from biomechgpt_jax import config
from biomechgpt_jax.data import loader, movements, splits, store
from biomechgpt_jax.packing import sequences
from biomechgpt_jax.questions import registry
from biomechgpt_jax.questions.registry import QUESTIONS

L = 512
# A piece per character makes phrasings long.
CFG = dataclasses.replace(config.Experiment(), pack=config.Pack(row_length=L, crops_per_trial=4, questions_per_crop=5))


def quiet(*_: object) -> None:
    return None


@dataclasses.dataclass
class Packed:
    directory: Path
    text_only: Path
    codec: Codec
    report: dict


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Packed:
    root = tmp_path_factory.mktemp("pack")
    trials = [walking(i) for i in range(60)] + [timed(i) for i in range(60, 100)]
    movements.write(trials, root / "movements", {})
    codec = Codec()
    out, blind = root / "sequences", root / "text_only"
    report = sequences.pack(root / "movements", out, blind, codec, WORDS, CFG, quiet)
    return Packed(out, blind, codec, report)


def rows_of(directory: Path, split: str = "train") -> list[dict[str, np.ndarray]]:
    rows, _ = loader.open_rows(directory, split)
    return list(rows.__getitems__(list(range(len(rows)))))


def branches_of(row):
    """(segment, branch, tokens, positions, weights) of every branch, and trunks by segment."""
    trunks, branches = {}, []
    for segment in range(1, int(row["segments"].max()) + 1):
        mine = row["segments"] == segment
        trunk = mine & (row["branches"] == 0)
        trunks[segment] = (row["tokens"][trunk], row["positions"][trunk])
        assert not row["loss_weights"][trunk].any()
        for branch in range(1, int(row["branches"][mine].max()) + 1):
            here = mine & (row["branches"] == branch)
            assert here.any() and np.all(np.diff(np.flatnonzero(here)) == 1)
            branches.append((segment, branch, row["tokens"][here], row["positions"][here], row["loss_weights"][here]))
    return trunks, branches


def question_of(phrasing: str) -> registry.Question:
    """The question that has this template; each belongs to one question alone."""
    (question,) = (one for one in QUESTIONS.values() if phrasing in one.templates)
    return question


def said(tokens) -> tuple[str, str]:
    tokens = tokens.tolist()
    at = tokens.index(WORDS.answer)
    assert tokens[0] == WORDS.question and tokens[-1] == WORDS.end
    return WORDS.decode_text(tokens[1:at]), WORDS.decode_text(tokens[at + 1 : -1])


def test_every_row_keeps_the_layout(packed) -> None:
    for row in rows_of(packed.directory):
        assert all(row[key].shape == (L,) for key in loader.KEYS)
        assert all(row[key].dtype == np.int32 for key in loader.KEYS[:-1]) and row["loss_weights"].dtype == np.float32
        padding = row["segments"] == 0
        assert not np.any(np.diff(padding.astype(int)) < 0)  # only at the end
        assert np.all(row["tokens"][padding] == WORDS.pad) and not row["loss_weights"][padding].any()
        trunks, branches = branches_of(row)
        for tokens, positions in trunks.values():
            assert tokens[0] == WORDS.trunk and np.all(tokens[1:] >= WORDS.motion_offset)
            assert positions.tolist() == list(range(len(tokens)))
        assert {segment for segment, *_ in branches} == set(trunks)
        for segment, _, tokens, positions, weights in branches:
            start = len(trunks[segment][0])
            assert positions.tolist() == list(range(start, start + len(tokens)))
            answer = tokens.tolist().index(WORDS.answer)
            assert weights.tolist() == [0.0] * (answer + 1) + [1.0] * (len(tokens) - answer - 1)


def test_every_branch_is_a_question_with_an_answer(packed) -> None:
    asked: Counter[str] = Counter()
    for row in rows_of(packed.directory):
        _, branches = branches_of(row)
        by_segment: dict[int, list[str]] = {}
        for segment, _, tokens, _, _ in branches:
            phrasing, answer = said(tokens)
            question = question_of(phrasing)
            assert phrasing in question.templates and question.parse(answer) is not None
            by_segment.setdefault(segment, []).append(question.name)
            asked[question.name] += 1
        for names in by_segment.values():
            assert len(set(names)) == len(names) <= 5
    assert sum(asked.values()) == packed.report["questions"]["train"]
    # One trial in 2.5 is a timed test, and 60 % of its crops are placed around it.
    train_crops = 4 * len([i for i in range(60, 100) if splits.split_of(f"p{i:03d}") == "train"])
    assert asked["tug_time"] > 0.35 * train_crops and asked["fall_risk"] > 0.25 * train_crops
    gait = [name for name in QUESTIONS if QUESTIONS[name].family == "gait"]
    assert min(asked[name] for name in gait) > 0.4 * max(asked[name] for name in gait)


def test_every_question_says_of_which_family_it_is(packed) -> None:
    names = loader.families(packed.directory)
    assert list(names) == sorted(registry.FAMILIES) == list(loader.families(packed.text_only))
    for row in [*rows_of(packed.directory)[:20], *rows_of(packed.text_only)[:5]]:
        assert not row["families"][row["branches"] == 0].any()
        for segment in range(1, int(row["segments"].max()) + 1):
            for branch in range(1, int(row["branches"][row["segments"] == segment].max()) + 1):
                here = (row["segments"] == segment) & (row["branches"] == branch)
                question = question_of(said(row["tokens"][here])[0])
                assert set(row["families"][here]) == {1 + names.index(question.family)}


def test_answers_are_true_of_the_movement(packed) -> None:
    """Step times of the made-up walks are known: every cadence that is asked must be one of them."""
    cadences = {round(60.0 / (0.5 + 0.1 * np.random.default_rng(i).random())) for i in range(60)}
    found = set()
    for row in rows_of(packed.directory):
        for _, _, tokens, _, _ in branches_of(row)[1]:
            phrasing, answer = said(tokens)
            if phrasing in QUESTIONS["cadence"].templates:
                found.add(QUESTIONS["cadence"].parse(answer))
            if phrasing in QUESTIONS["tug_time"].templates:
                assert answer == "14.0 s"
    assert found and found <= cadences


def test_the_text_only_twin_has_the_same_branches_and_nothing_else(packed) -> None:
    def content(directory):
        return Counter(t.tobytes() for row in rows_of(directory) for _, _, t, _, _ in branches_of(row)[1])

    assert content(packed.text_only) == content(packed.directory)
    for row in rows_of(packed.text_only):
        assert not np.any(row["tokens"] >= WORDS.motion_offset) and not np.any(row["tokens"] == WORDS.trunk)
        for _, branch, tokens, positions, _ in branches_of(row)[1]:
            assert branch == 1 and positions.tolist() == list(range(len(tokens)))


def test_rows_are_full_and_the_metadata_says_how(packed) -> None:
    rows = rows_of(packed.directory)
    fill = np.mean([row["segments"] > 0 for row in rows])
    assert packed.report["fill"]["train"] == pytest.approx(fill, abs=1e-3)
    assert fill >= 0.9
    facts = store.metadata(packed.directory)
    assert facts["codec"] == "codec" and facts["vocabulary"] == WORDS.digest and facts["row_length"] == L
    assert facts["left_out"] == packed.report["left_out"]
    assert facts["rows"]["train"] == len(rows)


def test_mirrored_and_masked_crops_reach_the_codec(packed) -> None:
    hidden = [not observed.all() for _, observed in packed.codec.seen]
    assert 0.35 < np.mean(hidden) < 0.65
    assert all(len(coordinates) % 4 == 0 and len(coordinates) >= 36 for coordinates, _ in packed.codec.seen)


def test_the_same_seed_packs_the_same_rows(packed, tmp_path) -> None:
    source = packed.directory.with_name("movements")

    def digest(cfg, name):
        sequences.pack(source, tmp_path / name, tmp_path / f"{name}_blind", Codec(), WORDS, cfg, quiet)
        return store.metadata(tmp_path / name)["digest"]

    assert digest(CFG, "again") == store.metadata(packed.directory)["digest"]
    other = dataclasses.replace(CFG, pack=dataclasses.replace(CFG.pack, seed=1))
    assert digest(other, "other") != store.metadata(packed.directory)["digest"]


def test_questions_that_do_not_fit_are_left_out_and_counted(packed, tmp_path, monkeypatch) -> None:
    drawn: Counter[str] = Counter()
    choose = sequences.choose

    def counted(*drawing):
        chosen = choose(*drawing)
        drawn.update(QUESTIONS[name].family for name in chosen)
        return chosen

    monkeypatch.setattr(sequences, "choose", counted)
    small = dataclasses.replace(CFG, pack=dataclasses.replace(CFG.pack, row_length=128))
    source = packed.directory.with_name("movements")
    report = sequences.pack(source, tmp_path / "small", tmp_path / "blind", Codec(), WORDS, small, quiet)
    left_out = report["left_out"]
    assert set(left_out["questions_without_room"]) <= set(registry.FAMILIES)
    assert min(left_out["questions_without_room"].values()) > 0
    for row in rows_of(tmp_path / "small"):
        assert branches_of(row)[1]
    assert sum(report["questions"].values()) + sum(left_out["questions_without_room"].values()) == drawn.total()
    assert all(count <= drawn[family] for family, count in left_out["questions_without_room"].items())
    words = sequences.left_out_words(left_out)
    assert f"{sum(left_out['questions_without_room'].values())} questions without room in a row (" in words
    nothing = {"questions_without_room": {}, "crops_without_truth": 0, "crops_without_room": 0}
    assert sequences.left_out_words(nothing) == ""


def test_trials_are_packed_the_same_however_many_are_in_memory(packed, tmp_path, monkeypatch) -> None:
    source = packed.directory.with_name("movements")
    monkeypatch.setattr(sequences, "TRIALS_AT_ONCE", 7)
    sequences.pack(source, tmp_path / "few", tmp_path / "blind", Codec(), WORDS, CFG, quiet)
    assert store.metadata(tmp_path / "few")["digest"] == store.metadata(packed.directory)["digest"]
    assert loader.digest(tmp_path / "few") == loader.digest(packed.directory)


def test_every_crop_is_packed_or_counted(packed) -> None:
    crops = sum(len(set(map(int, row["segments"])) - {0}) for row in [*rows_of(packed.directory), *validation(packed)])
    left_out = packed.report["left_out"]
    assert crops + left_out["crops_without_room"] == len(packed.codec.seen)
    trials = sum(splits.split_of(f"p{i:03d}") != "test" for i in range(100))
    assert len(packed.codec.seen) + left_out["crops_without_truth"] == CFG.pack.crops_per_trial * trials


def validation(packed) -> list:
    return rows_of(packed.directory, "validation") if packed.report["rows"]["validation"] else []


def test_rare_questions_are_chosen_more_often() -> None:
    rng = np.random.default_rng(0)
    gait = [name for name in QUESTIONS if QUESTIONS[name].family == "gait"]
    names = ["activity", "diagnosis", "impairment", "tug_time", *gait]
    counts = Counter(name for _ in range(2000) for name in sequences.choose(names, 5, rng))
    assert counts["tug_time"] > counts["diagnosis"] > counts["impairment"] > counts["cadence"] > 400
    assert max(counts[name] for name in gait) < 1.2 * min(counts[name] for name in gait)
    assert sorted(sequences.choose(names, 99, rng)) == sorted(names)
