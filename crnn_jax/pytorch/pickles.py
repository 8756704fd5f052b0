"""The pickles of `torch.save`, interpreted opcode by opcode; nothing in them is ever executed.

`pickle.load` calls whatever a file names. Here a file may name a dozen things, and each stands for
plain data: an ordered dict, a parameter, a tensor, the type of a storage. Anything else is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

from crnn_jax.errors import UserError

# PyTorch's storage types, by the names that safetensors has for their elements.
STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_MARK = object()
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}


class Storage(NamedTuple):
    """Numbers in a row, kept outside the pickle."""

    kind: Any  # one of STORAGES' values
    key: Any  # str
    size: Any  # elements


class Tensor(NamedTuple):
    """A view of a storage; strides and offset count elements, and nothing of it is checked yet."""

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


def load(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle, up to its end.

    Returns:
      Dicts, lists, tuples, literals and `Tensor`s, nested as they were saved, and all storages that
      are named in it, by key.

    Raises:
      UserError: naming what the pickle asks for that weights do not need.
      ValueError, IndexError, KeyError, TypeError: when it is damaged.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(stream):
        machine.execute(opcode.name, argument)
    return machine.stack.pop(), machine.storages


class _Machine:
    """The stack and the memo of the pickle protocol."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.storages: dict[str, Storage] = {}
        self._memo: dict[int, Any] = {}

    def execute(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("TUPLE", "LIST", "DICT"):
            items = self._pop_to_mark()
            stack.append(_COLLECTED[name](items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._pop_to_mark()
            _of(list, stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._pop_to_mark()
            _of(dict, stack[-1]).update(_pairs(items))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                argument = f"{_of(str, stack.pop(-2))} {_of(str, stack.pop())}"
            stack.append(_meaning(argument))
        elif name == "REDUCE":
            arguments, function = _of(tuple, stack.pop()), stack.pop()
            if function not in (_ordered_dict, _tensor, _parameter):
                raise ValueError("a call of what is no function")
            stack.append(function(*arguments))
        elif name == "BUILD":
            stack.pop()  # attributes, as the versions that a state_dict notes beside its tensors
        elif name == "BINPERSID":
            stack.append(self._storage(*_of(tuple, stack.pop())))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise UserError(
                f"its pickle holds the operation {name}, which no weights need{_ADVICE}"
            )

    def _pop_to_mark(self) -> list[Any]:
        start = max(i for i, item in enumerate(self.stack) if item is _MARK)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _storage(self, what: Any, kind: Any, key: Any, _: Any, size: Any, view: Any = None) -> Any:
        storage = Storage(kind, key, size)
        fits = what == "storage" and kind in STORAGES.values()
        # The text of a nested tuple, as in a message, may take for ever.
        fits = fits and isinstance(key, str) and type(size) is int
        if not fits or view is not None or self.storages.setdefault(key, storage) != storage:
            raise ValueError("a storage that is described in no known way")
        return storage


_ADVICE = (
    "; nothing was executed: save the network's state_dict() alone, or write it as .safetensors"
)


def _meaning(name: str) -> Any:
    """Returns what a pickle's "module name" stands for here."""
    module, _, attribute = name.partition(" ")
    if module == "torch" and attribute in STORAGES:
        return STORAGES[attribute]
    if name not in _FUNCTIONS:
        raise UserError(f"its pickle asks for {f'{module}.{attribute}'[:80]!r}{_ADVICE}")
    return _FUNCTIONS[name]


def _ordered_dict(*pairs: Any) -> dict[Any, Any]:
    items: list[Any] = []
    for pair in pairs[0] if pairs else ():
        # Checked one by one: a small file may repeat a large list often enough to fill the memory.
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UserError(f"its pickle holds an entry that is no key and value{_ADVICE}")
        items += pair
    return _pairs(items)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return Tensor(_of(Storage, storage), offset, _of(tuple, shape), _of(tuple, strides))


def _parameter(data: Any, *_: Any) -> Tensor:
    return _of(Tensor, data)


_FUNCTIONS = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """Returns the dict of keys and values that follow one another."""
    keys = [_of((str, int), key) for key in items[::2]]  # a nested tuple's hash may take for ever
    return dict(zip(keys, items[1::2], strict=True))


_COLLECTED: dict[str, Callable[[list[Any]], Any]] = {"TUPLE": tuple, "LIST": list, "DICT": _pairs}


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} in a wrong place")
    return value
