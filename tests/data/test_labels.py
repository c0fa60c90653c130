"""Tables of labels as spreadsheets write them: separators, decimal commas, code pages, empty columns and lines."""

from pathlib import Path

import pytest

from biomechgpt_jax.data import labels
from biomechgpt_jax.errors import InputError

FIELD = Path(__file__).parents[3] / "shared" / "data" / "field"
ROWS = (("File", "Participant", "activity", "Height_M", "age"), ("Müller/gehen.mot", "P02", "walking", "1,75", "71"))


def _write(path: Path, separator: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    cells = ROWS if separator != "," else (ROWS[0], tuple(cell.replace(",", ".") for cell in ROWS[1]))
    path.write_bytes("".join(separator.join(row) + end for row in cells).encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_way_of_writing_a_table_gives_the_same_labels(
    tmp_path: Path, separator: str, encoding: str, end: str
) -> None:
    read = labels.read(_write(tmp_path / "labels.csv", separator, encoding, end))
    assert read == {"Müller/gehen.mot": labels.Labels("P02", "walking", height_m=1.75, age=71.0)}


def test_what_excel_adds_is_no_label(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("sep=;\nfile;age;;\na.mot;63;;\n;;;\n;;;\n")
    assert labels.read(table) == {"a.mot": labels.Labels(age=63.0)}


def test_a_comma_that_separates_is_no_decimal_mark(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,height_m\na.mot,1,75\n")
    with pytest.raises(InputError, match="more cells than there are columns; put a cell that contains a comma"):
        labels.read(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text('file,height_m\na.mot,"1,75"\n')
    with pytest.raises(InputError, match="height_m is '1,75'"):
        labels.read(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file;age\na.mot;1.234,5\n", "age is '1.234,5'"),
        (b"file;age;colour\na.mot;3;red\n", "column 'colour' is not known"),
        (b"File;file\na.mot;b.mot\n", "a column comes twice"),
        (b"file;age\n;3\n", "line 2: the column file is empty"),
        (b"file\n\x81\x8d\n", "no text in UTF-8, UTF-16 or Windows-1252"),
        (b"\xff\xfef", "no text in UTF-8, UTF-16 or Windows-1252"),
        (b'file\n"a.mot\n', "no table of cells"),
        (b"", "no column file"),
    ],
)
def test_tables_that_cannot_be_understood_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=words) as refused:
        labels.read(tmp_path / "labels.csv")
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(not FIELD.is_dir(), reason="the folder of field files is not beside the checkout")
def test_labels_of_a_european_spreadsheet() -> None:
    assert labels.read(FIELD / "l_semicolon.csv") == {
        "Patient 01/walk 1.MOT": labels.Labels("P01", "walking", age=63.0),
        "Müller/gehen.mot": labels.Labels("P02", "walking", age=71.0),
    }
