"""Weight files: what is read, and that nothing else is, let alone executed."""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest
from torch_files import (
    MAGIC,
    as_safetensors,
    as_stream,
    as_zip,
    number,
    parameter,
    pickled,
    state_dict,
    tensor,
    text,
)

from crnn_jax.errors import UserError
from crnn_jax.pytorch.weights import read_weights

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)
COUNT = np.array(7, np.int64)
FORMATS = {"zip": as_zip, "stream": as_stream}
formats = pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)


@pytest.fixture
def read(tmp_path):
    def read(data):
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return read_weights(path)

    return read


@pytest.fixture
def refusal(read, tmp_path):
    """Reads bytes that have to be refused in one line; returns what follows the file's name."""

    def refusal(data):
        with pytest.raises(UserError) as caught:
            read(data)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / 'weights.pth'}: ")
        assert "\n" not in message
        assert len(message) < 400
        return message.partition(": ")[2]

    return refusal


def entries():
    return {
        "a.weight": tensor("0", MATRIX),
        "a.part": tensor("0", MATRIX, offset=5, shape=(2, 3), strides=(4, 1)),
        "a.turned": parameter(tensor("0", MATRIX, shape=(4, 3), strides=(1, 4))),
        "a.count": tensor("1", COUNT),
    }


STORED = {"0": MATRIX, "1": COUNT}


def check(weights):
    assert list(weights) == ["a.weight", "a.part", "a.turned", "a.count"]
    np.testing.assert_array_equal(weights["a.weight"], MATRIX)
    np.testing.assert_array_equal(weights["a.part"], MATRIX[1:, 1:])
    np.testing.assert_array_equal(weights["a.turned"], MATRIX.T)
    assert weights["a.weight"].dtype == np.float32
    assert weights["a.count"].dtype == np.int64
    assert weights["a.count"] == 7


@formats
def test_state_dicts_are_read(make, read):
    check(read(make(state_dict(entries()), STORED)))


@formats
@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model", "net"])
def test_state_dicts_within_checkpoints_are_read(make, read, name):
    tree = b"}(" + text("epoch") + number(3) + text(name) + state_dict(entries()) + b"u"
    check(read(make(tree, STORED)))


@formats
def test_other_storages_of_a_checkpoint_are_passed_over(make, read):
    other = np.zeros(5, np.float16)
    tree = b"}(" + text("optimizer") + b"](" + tensor("9", other) + b"e"
    tree += text("state_dict") + state_dict(entries()) + b"u"
    check(read(make(tree, {"9": other} | STORED)))


def test_numbers_of_all_precisions_are_read(read):
    values = {"f2": np.float16([1.5, -2]), "f8": np.float64([1e300]), "f4": np.float32([0.1])}
    weights = read(as_safetensors(values))
    for key, value in values.items():
        assert weights[key].dtype == value.dtype
        np.testing.assert_array_equal(weights[key], value)
    halves = {"b": np.float16([0, 0])}
    data = as_safetensors(halves, dtype="BF16")
    bits = np.array([0x3F80, 0xC040], "<u2").tobytes()  # 1 and -3
    assert read(data[:-4] + bits)["b"].tolist() == [1, -3]


def test_safetensors_are_read(read):
    weights = read(as_safetensors({"a.weight": MATRIX, "a.count": COUNT}))
    np.testing.assert_array_equal(weights["a.weight"], MATRIX)
    assert weights["a.count"].shape == ()


# Files that want to be more than numbers.


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"import pathlib; pathlib.Path({str(self.path)!r}).touch()",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("place", ["zip", "first", "state"])
def test_nothing_is_executed(refusal, tmp_path, protocol, place):
    proof = tmp_path / "executed"
    attack = pickle.dumps({"a.weight": Malicious(proof)}, protocol)
    pickle.loads(attack)
    assert proof.exists()  # it would work
    proof.unlink()
    if place == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", attack)
        data = buffer.getvalue()
    elif place == "first":
        data = attack
    else:
        data = MAGIC + pickled(b"M\xe9\x03") + pickled(b"}" + text("little_endian") + b"\x88s")
        data += attack
    message = refusal(data)
    assert re.match(r"its pickle asks for '(builtins|__builtin__)\.exec'; nothing was ex", message)
    assert not proof.exists()


@formats
@pytest.mark.parametrize(
    ("opcodes", "found"),
    [
        (b"cos\nsystem\n(" + text("true") + b"tR", "asks for 'os.system'"),
        (b"(" + text("true") + b"ios\nsystem\n", "the operation INST"),
        (b"ctorch._utils\n_rebuild_tensor_v3\n", "asks for 'torch._utils._rebuild_tensor_v3'"),
        (b"cmodel\nModel\n)\x81", "asks for 'model.Model'"),
        (b"ctorch\nnn.Linear\n", "asks for 'torch.nn.Linear'"),
        (b"ccollections\nOrderedDict\n)\x81", "the operation NEWOBJ"),
        (b"ccollections\nOrderedDict\n(((K\x01K\x01K\x01tttR", "is no key and value"),
        (b"\x82\x01", "the operation EXT1"),
        (text("x") + b")R", "a call of what is no function"),
        (b"](" + text("x") + b"u", "a list in a wrong place"),
        (b"}" + b"((t" + b"tK\x01s", "a tuple in a wrong place"),
        (b"h\x07", "damaged"),
        (b"u", "damaged"),
        (text("x") + b"Q", "a str in a wrong place"),
        (b"}" + text("epoch") + b"K\x01s", "no state_dict in it, but epoch; save"),
        (b"}", "no state_dict in it, but nothing"),
        (b"K\x07", "no state_dict in it, but int"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pickles_of_anything_else_are_refused(make, refusal, opcodes, found):
    assert found in refusal(make(opcodes, {}))


def test_other_files_are_refused(refusal):
    assert "no weights of PyTorch" in refusal(b"")
    assert "no weights of PyTorch" in refusal(b"\x89PNG\r\n\x1a\n" + bytes(50))
    assert "not one of torch.save" in refusal(pickle.dumps({"a": 1}, 2))
    script = as_zip(state_dict(entries()), STORED, extra=[("constants.pkl", b"")])
    assert "of TorchScript?" in refusal(script)
    assert "of TorchScript?" in refusal(as_zip(b"", {}, root="x").replace(b"data.pkl", b"none.pkl"))
    big = as_zip(state_dict(entries()), STORED, extra=[("byteorder", b"big")])
    assert "big-endian" in refusal(big)
    assert "big-endian" in refusal(as_stream(state_dict(entries()), STORED, little=b"\x89"))


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth: cannot be read \(No such file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path)


# Files that are damaged.


@pytest.mark.parametrize(
    "data",
    [
        as_zip(state_dict(entries()), STORED),
        as_stream(state_dict(entries()), STORED),
        as_safetensors({"a.weight": MATRIX, "a.count": COUNT}),
    ],
    ids=["zip", "stream", "safetensors"],
)
def test_files_cut_anywhere_are_refused(read, refusal, data):
    for length in range(9, len(data), 7):
        assert "damaged or cut short" in refusal(data[:length])
    # Other damage is refused or read, but nothing else happens.
    rng = np.random.default_rng(0)
    for _ in range(200):
        spoilt = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            spoilt[place] = rng.integers(256)
        with contextlib.suppress(UserError):
            read(bytes(spoilt))


@formats
@pytest.mark.parametrize(
    "view",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (3, 5)},
        {"shape": (2**31 - 1, 2**31 - 1), "strides": (0, 0)},
        {"shape": (1000, 1000), "strides": (0, 0)},
        {"shape": (-3, 4)},
        {"strides": (4, 2)},
        {"strides": (-4, 1)},
        {"strides": (4,)},
        {"shape": (1,) * 70, "strides": (1,) * 70},
        {"size": 11},
        {"size": 2**31 - 1},
        {"size": -1},
    ],
    ids=str,
)
def test_views_beyond_their_storage_are_refused(make, refusal, view):
    data = make(state_dict({"a.weight": tensor("0", MATRIX, **view)}), {"0": MATRIX})
    assert "damaged or cut short" in refusal(data)


def test_storages_described_in_two_ways_are_refused(refusal):
    two = {"a": tensor("0", MATRIX), "b": tensor("0", MATRIX.astype(np.float64))}
    assert "described in no known way" in refusal(as_zip(state_dict(two), {"0": MATRIX}))


def test_a_storage_whose_size_is_no_number_is_refused_at_once(refusal):
    opcodes = state_dict({"a.weight": tensor("0", MATRIX)})
    pairs = b")" + 60 * b"q\x00h\x00\x86"  # t = (t, t): as text, twice as long each time
    data = as_zip(opcodes.replace(number(MATRIX.size), pairs, 1), {"0": MATRIX})
    assert "described in no known way" in refusal(data)


def test_zip_files_that_grow_are_refused(refusal):
    zeros = np.zeros(1_000_000, np.float32)
    opcodes = state_dict({"a": tensor("0", zeros)})
    bomb = as_zip(opcodes, {"0": zeros}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    assert "larger than the file itself" in refusal(bomb)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"dtype": "F4"}, "of dtype 'F4'; valid: F64, F32"),
        ({"dtype": 4}, "of dtype 4"),
        ({"shape": [3, 5]}, "has 12 elements, not 15"),
        ({"shape": [-3, -4]}, "no proper shape"),
        ({"shape": [3.0, 4]}, "no proper shape"),
        ({"shape": [True, 12]}, "no proper shape"),
        ({"shape": 12}, "damaged"),
        ({"data_offsets": [0, 47]}, "damaged"),
        ({"data_offsets": [4, 60]}, "beyond the end"),
        ({"data_offsets": [48, 0]}, "beyond the end"),
        ({"data_offsets": [0]}, "damaged"),
        ({"data_offsets": [0, 2**70]}, "beyond the end"),
    ],
    ids=str,
)
def test_safetensors_that_do_not_add_up_are_refused(refusal, changes, found):
    assert found in refusal(as_safetensors({"a": MATRIX}, **changes))


@pytest.mark.parametrize("header", [b"{", b"{}x", b'{"a": 1}', b'{"a": {}}', b'{"a":' * 100_000])
def test_safetensors_with_another_header_are_refused(refusal, header):
    assert "damaged" in refusal(struct.pack("<Q", len(header)) + header)
    assert "a header of 9" in refusal(struct.pack("<Q", 9 * 10**18) + header)


# PyTorch's own files.


@pytest.mark.torch
@pytest.mark.parametrize("modern", [True, False], ids=["zip", "stream"])
def test_what_torch_saves_is_read(tmp_path, modern):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    base = torch.randn(6, 5)
    given = network.state_dict() | {
        "turned": base.T,
        "part": base[2:, 1:4],
        "half": base.half(),
        "brain": base.bfloat16(),
        "double": base.double(),
        "parameter": torch.nn.Parameter(base),
        "flags": base > 0,
        "empty": torch.zeros(0, 3),
    }
    for tree in (given, {"state_dict": given, "epoch": 3, "lr": 0.1, "name": "x", "none": None}):
        torch.save(tree, tmp_path / "w.pth", _use_new_zipfile_serialization=modern)
        weights = read_weights(tmp_path / "w.pth")
        assert list(weights) == list(given)
        for key, value in given.items():
            expected = value.detach().float().numpy()
            np.testing.assert_array_equal(weights[key].astype(np.float32), expected)


@pytest.mark.torch
def test_whole_modules_are_refused(refusal):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), buffer)
    message = refusal(buffer.getvalue())
    assert "asks for 'torch.nn.modules.linear.Linear'" in message
    assert "save the network's state_dict()" in message
