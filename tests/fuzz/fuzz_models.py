"""Exported models that go wrong: damaged files, other graphs, metadata of other types."""

from __future__ import annotations

import copy
import functools
import json
import random
from typing import Any

from fuzz_bundles import NUMBERS, VALUES, _dumped, _places, _put
from fuzz_images import ODD_PATHS, Case, mutate

_OTHER = (b"", b"\x08\x07", b"this is a text", b"PK\x05\x06" + bytes(18), bytes(1000))


def export(model: str) -> bytes:
    """Returns a shipped model as ONNX, with its metadata."""
    from crnn_jax.bundle import open_model
    from crnn_jax.exporting.metadata import attach
    from crnn_jax.exporting.onnx_model import to_onnx

    bundle = open_model(model)
    made = to_onnx(bundle.recognizer())
    attach(made, bundle)
    return made.SerializeToString()


@functools.cache
def _parsed(base: bytes) -> Any:
    import onnx

    return onnx.load_from_string(base)


def model_case(rng: random.Random, base: bytes) -> Case:
    """Returns an input for the reader of exported models, made of a good one."""
    makers = {_damaged: 2, _metadata: 6, _graph: 4, _other: 1}
    kind, content = rng.choices(list(makers), list(makers.values()))[0](rng, base)
    return Case(kind, content, ".onnx")


def _damaged(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    return "damaged", mutate(base, rng)


def _metadata(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    model = type(_parsed(base))()
    model.CopyFrom(_parsed(base))
    entry = model.metadata_props[0]
    if rng.random() < 0.1:
        entry.value = mutate(entry.value.encode(), rng).decode("utf-8", "replace")
        return "metadata damaged", model.SerializeToString()
    value = json.loads(entry.value)
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice(("format", "charset", "preprocess", "preprocess", "frames", "temperature"))
        places = [(key, *place) for place in _places(value.get(key))]
        new = copy.deepcopy(rng.choice(NUMBERS if rng.random() < 0.6 else VALUES))
        if rng.random() < 0.15:
            value.pop(key, None)
        else:
            value = _put(value, rng.choice(places), lambda o, k, new=new: o.__setitem__(k, new))
    entry.value = _dumped(value, rng).decode("utf-8", "replace")
    return "metadata", model.SerializeToString()


def _graph(rng: random.Random, base: bytes) -> tuple[str, bytes]:
    model = type(_parsed(base))()
    model.CopyFrom(_parsed(base))
    graph, how = model.graph, rng.randrange(8)
    if how == 0:
        del graph.node[rng.randrange(len(graph.node))]
    elif how == 1:
        rng.choice(graph.node).op_type = rng.choice(("Relu", "Exp", "Nothing", "Transpose", "Loop"))
    elif how == 2:
        weights = rng.choice(graph.initializer)
        weights.raw_data = mutate(weights.raw_data, rng)
    elif how == 3:
        weights = rng.choice(graph.initializer)
        if weights.dims:
            weights.dims[rng.randrange(len(weights.dims))] = rng.choice((0, -1, 1, 2**31, 2**62))
    elif how == 4:
        rng.choice((*graph.input, *graph.output)).name = rng.choice(("", "x", "images", "logits"))
    elif how == 5:
        node = rng.choice([node for node in graph.node if node.attribute])
        entry = rng.choice(node.attribute)
        entry.i = rng.choice((0, -1, 3, 2**31, 2**62))
        if entry.ints:
            entry.ints[rng.randrange(len(entry.ints))] = rng.choice((0, -1, 3, 1000, 2**31))
    elif how == 6:
        weights = rng.choice(graph.initializer)
        weights.data_type = rng.choice((0, 1, 2, 6, 7, 10, 11, 99))
    else:
        node = rng.choice([node for node in graph.node if node.input])
        node.input[rng.randrange(len(node.input))] = rng.choice(("", "images", "widths", "x"))
    return "graph", model.SerializeToString()


def _other(rng: random.Random, base: bytes) -> tuple[str, Any]:
    if rng.random() < 0.5:
        return "odd path", rng.choice(ODD_PATHS)
    return "not a model", rng.choice(_OTHER)
