"""Files of tensors: what is written is read back, in parts too, with no byte more than the part has."""

import json
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import safetensors
from biomechgpt_jax.pretrained.safetensors import Reader, Writer, read_header

_ONE = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "a.matrix": rng.normal(size=(6, 10)).astype(np.float32),
        "a.half": rng.normal(size=(4, 3)).astype(np.float16),
        "brain": rng.normal(size=(5, 2, 3)).astype(jnp.bfloat16),
        "norm": rng.normal(size=7).astype(np.float32),
        "one": np.float32(3.0).reshape(()),
    }


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    kinds = {dtype: name for name, dtype in safetensors.DTYPES.items()}
    with Writer(path, {name: (kinds[x.dtype], x.shape) for name, x in tensors.items()}, {"format": "pt"}) as writer:
        for name in reversed(tensors):  # any order
            writer.write(name, tensors[name])


def test_round_trip(tmp_path, tensors) -> None:
    write(tmp_path / "x.safetensors", tensors)
    header = read_header(tmp_path / "x.safetensors")
    assert header.metadata == {"format": "pt"} and list(header.tensors) == list(tensors)
    with Reader() as reader:
        for name, want in tensors.items():
            got = reader.read(header.tensors[name])
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)
        assert reader.bytes_read == sum(x.nbytes for x in tensors.values())


@pytest.mark.parametrize("index", [np.s_[2:4, 3:7], np.s_[:, 1:2], np.s_[5:, :], np.s_[0:0, :], np.s_[:, :]])
def test_parts_cost_their_own_bytes(tmp_path, tensors, index) -> None:
    write(tmp_path / "x.safetensors", tensors)
    tensor = read_header(tmp_path / "x.safetensors").tensors["a.matrix"]
    with Reader() as reader:
        got = reader.read(tensor, index)
        want = tensors["a.matrix"][index]
        np.testing.assert_array_equal(got, want)
        assert reader.bytes_read == want.nbytes


def test_parts_of_three_axes(tmp_path, tensors) -> None:
    write(tmp_path / "x.safetensors", tensors)
    tensor = read_header(tmp_path / "x.safetensors").tensors["brain"]
    for index in (np.s_[1:3, :, :], np.s_[:, 1:, 1:2], np.s_[2:3, 0:1, 2:]):
        with Reader() as reader:
            np.testing.assert_array_equal(reader.read(tensor, index), tensors["brain"][index])


def test_a_file_that_shrinks_after_its_header_was_read_is_refused(tmp_path, tensors) -> None:
    path = tmp_path / "x.safetensors"
    write(path, tensors)
    tensor = read_header(path).tensors["norm"]
    path.write_bytes(path.read_bytes()[: tensor.offset + 4])
    with Reader() as reader, pytest.raises(InputError, match="ends within tensor 'norm'"):
        reader.read(tensor)


def test_nothing_is_left_of_a_file_that_lacks_a_tensor(tmp_path, tensors) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="norm"), Writer(path, {"norm": ("F32", (7,))}):
        pass
    with pytest.raises(ValueError, match="declared as"), Writer(path, {"norm": ("F32", (7,))}) as writer:
        writer.write("norm", np.zeros(8))
    assert not list(tmp_path.iterdir())


def test_values_are_rounded_once_to_the_declared_type(tmp_path) -> None:
    values = np.array([1.00390625, 1.01171875, -3.3], np.float32)  # two ties of bfloat16: to even
    with Writer(tmp_path / "x", {"w": ("BF16", (3,))}) as writer:
        writer.write("w", values)
    with Reader() as reader:
        got = reader.read(read_header(tmp_path / "x").tensors["w"])
    np.testing.assert_array_equal(got.astype(np.float32)[:2], [1.0, 1.015625])


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ('{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', "unquantised"),
        (f'{{"a":{_ONE},"a":{_ONE}}}', "twice"),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}', "begins at byte 1"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "4 bytes instead of 8"),
        ('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', "has the shape"),
        ('{"line\\nbreak\\ud800":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}', r"line\\nbreak\\ud800"),
    ],
)  # fmt: skip
def test_headers_that_lie_are_refused_in_one_line(tmp_path, entries, words) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(entries)) + entries.encode() + bytes(4))
    with pytest.raises(InputError, match=words) as caught:
        read_header(path)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parity
def test_the_library_reads_ours_and_we_read_its(tmp_path, tensors) -> None:
    library = pytest.importorskip("safetensors.numpy")
    write(tmp_path / "ours", tensors)
    for name, x in library.load_file(tmp_path / "ours").items():
        assert x.dtype == tensors[name].dtype
        np.testing.assert_array_equal(x, tensors[name])
    library.save_file(tensors, tmp_path / "theirs", {"format": "pt"})
    header = read_header(tmp_path / "theirs")
    with Reader() as reader:
        for name, tensor in header.tensors.items():
            np.testing.assert_array_equal(reader.read(tensor), tensors[name])
    assert json.loads(json.dumps(header.metadata)) == {"format": "pt"}
