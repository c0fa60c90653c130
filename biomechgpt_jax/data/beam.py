"""A synthetic cohort as a TFDS Beam dataset, simulated and written in parallel by the workers of a Beam runner.

Workers map groups of participants with `simulate.group_rounds`, a pure function, so the trials, their keys and the
digest equal those of `movements.write(simulate(cohort))` for every runner and number of workers.
"""

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort import simulate
from biomechgpt_jax.cohort.activities import protocol
from biomechgpt_jax.cohort.people import participants
from biomechgpt_jax.data import movements, splits, store
from biomechgpt_jax.errors import InputError

Row = tuple[str, store.Record]


def write(cohort: config.Cohort, directory: Path, facts: dict[str, Any], options: Sequence[str] = ()) -> str:
    """Simulate a cohort with Apache Beam and write its `movements` dataset atomically; returns the digest.

    Args:
        directory: destination of the dataset; every worker must be able to write to it.
        facts: stored beside the data; trials, participants, hours and splits are added to them.
        options: Beam pipeline options, such as "--runner=DirectRunner" (the default) and "--direct_num_workers=2".

    Raises:
        InputError: Beam is not installed, an option or runner is not known, or an activity does not exist.
    """
    beam, pipeline_options = _beam(options)
    import tensorflow_datasets as tfds

    protocol.select(cohort.activities)
    store.quiet()
    with store.beside(directory) as temporary:
        temporary.mkdir(parents=True)
        builder = _builder(beam, cohort, temporary / "entries")(data_dir=str(temporary), file_format="array_record")
        download = tfds.download.DownloadConfig(beam_options=pipeline_options)
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints notices to standard output
            builder.download_and_prepare(download_config=download)
        entries = [
            json.loads(line) for path in sorted(temporary.glob("entries-*")) for line in path.read_text().splitlines()
        ]
        _check(entries)
        digest = store.digest_of((entry["split"], entry["key"], entry["digest"]) for entry in entries)
        people = {entry["participant"] for entry in entries}
        counted = {
            "trials": len(entries),
            "participants": len(people),
            "splits": splits.count(people),
            "hours": round(sum(sorted(entry["seconds"] for entry in entries)) / 3600, 3),
        }
        store.install(Path(str(builder.data_dir)), directory, {"digest": digest, **facts, **counted})
    return digest


def _beam(options: Sequence[str]) -> tuple[Any, Any]:
    logging.disable(logging.WARNING)  # on import, Beam logs which of its extras are absent
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
        from apache_beam.runners.runner import create_runner
    except ImportError as error:
        raise InputError("--runner needs Apache Beam: pip install -c constraints.txt -e '.[beam]'") from error
    finally:
        logging.disable(logging.NOTSET)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # Beam warns about its own options
    try:
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            # Otherwise workers in separate processes would report every step on standard error.
            parsed = PipelineOptions(["--default_sdk_harness_log_level=WARNING", *options])
            unknown = _unknown(parsed, options)
            runner = parsed.view_as(StandardOptions).runner or "DirectRunner"
            create_runner(runner)
    except SystemExit as error:
        raise InputError(f"options of Beam: {complaint.getvalue().strip().rpartition('error: ')[2]}") from error
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--runner: {error}") from error
    if unknown:
        raise InputError(f"Beam knows no option {unknown[0]}; see https://beam.apache.org for those of the runner")
    parsed.view_as(StandardOptions).runner = runner
    return beam, parsed


def _unknown(parsed: Any, options: Sequence[str]) -> list[str]:
    """Options that no part of Beam understands."""
    known = parsed.get_all_options()
    names = [option[2:].partition("=")[0] for option in options if option.startswith("--")]
    return [f"--{name}" for name in names if name not in known and name.removeprefix("no_") not in known]


def _check(entries: Sequence[dict[str, Any]]) -> None:
    """Refuse two trials with the same key, and a participant or a latent severity that is in two splits."""
    keys: set[str] = set()
    split_of_fact: dict[tuple[str, Any], str] = {}
    for entry in entries:
        if entry["key"] in keys:
            raise InputError(f"two trials are called {entry['key']}; give each an id of its own")
        keys.add(entry["key"])
        identifying = [("participant", entry["participant"])]
        if 0.0 < entry["severity"] < 1.0:
            identifying.append(("latent severity", entry["severity"]))
        for fact in identifying:
            if split_of_fact.setdefault(fact, entry["split"]) != entry["split"]:
                raise InputError(f"leak: trial {entry['key']} ({entry['split']}): another split has the same {fact[0]}")


def _rows(begin: int, cohort: config.Cohort) -> Iterator[tuple[str, str, float, float, Row]]:
    """(split, participant, seconds, severity, (key, record)) for every trial of one group of participants."""
    for trial in simulate.group_rounds(cohort, begin):
        yield (*_facts(trial), (trial.trial_id, movements.record(trial)))


def _facts(trial: Trial) -> tuple[str, str, float, float]:
    return splits.split_of(trial.participant), trial.participant, trial.trajectory.seconds, trial.severity


def _entry(row: tuple[str, str, float, float, Row]) -> str:
    """One line of JSON that describes a written trial, without its movement."""
    split, participant, seconds, severity, (key, record) = row
    return json.dumps(
        {
            "split": split,
            "key": key,
            "digest": store.record_digest(record),
            "participant": participant,
            "seconds": seconds,
            "severity": float(severity),
        }
    )


def _is_in(row: tuple[Any, ...], split: str) -> bool:
    return row[0] == split


def _key_and_record(row: tuple[Any, ...]) -> Row:
    return row[-1]


def _builder(beam: Any, cohort: config.Cohort, entries: Path) -> Any:
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            """Trials of a cohort, simulated by the workers of a Beam pipeline."""

            name = "movements"
            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = Path(__file__).parent

            def _info(self) -> Any:
                features = tfds.features.FeaturesDict(store.kinds(movements.FEATURES))
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, dl_manager: Any, pipeline: Any) -> dict[str, Any]:
                rows = (
                    pipeline
                    | "groups" >> beam.Create(range(0, cohort.participants, simulate.GROUP))
                    | "spread" >> beam.Reshuffle()
                    | "simulate" >> beam.FlatMap(partial(_rows, cohort=cohort))
                )
                _ = rows | "describe" >> beam.Map(_entry) | "entries" >> beam.io.WriteToText(str(entries))
                # TFDS refuses an empty split; which participant is in which split is known beforehand.
                people = (participants.draw(index, cohort.seed).participant for index in range(cohort.participants))
                return {
                    split: rows
                    | f"{split} rows" >> beam.Filter(partial(_is_in, split=split))
                    | f"{split} records" >> beam.Map(_key_and_record)
                    for split in sorted({splits.split_of(person) for person in people})
                }

            def _generate_examples(self) -> None:
                """Generate nothing: the splits are collections of the pipeline."""

    return Builder
