"""A vector type for Numba: groups of 16 float32 lanes, written as LLVM vectors.

Numba's loops are vectorised when LLVM sees how; a scan over channels-last data with states in
registers is beyond it. So the vectors are explicit: `Lanes(G)` is G vectors <16 x float>, which
LLVM turns into AVX-512, AVX2 or NEON registers. In the kernels a lane is a channel and the G
vectors of a group are G states, so a line reads as the formula does:

    h = fma(exp2(d * a), h, x * b)      d, x: Lanes(1); a, h, b: Lanes(G)

A value of one vector meets a group by being repeated, a float by being spread over all lanes.
Where a function needs to know G, it takes a tuple of length G whose values do not matter.
Indices are tuples, arrays are C-contiguous and float32; nothing is checked.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.extending import models, overload, register_model

WIDTH = 16

intrinsic: Any = extending.intrinsic  # what it makes is called without the typing context

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
VECTOR = ir.VectorType(_F32, WIDTH)
INTEGERS = ir.VectorType(_I32, WIDTH)
_MASK = ir.VectorType(ir.IntType(1), WIDTH)


class Lanes(types.Type):
    """G vectors of 16 float32 values."""

    def __init__(self, groups: int):
        self.groups = groups
        super().__init__(name=f"Lanes({groups})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes):
        super().__init__(manager, kind, ir.ArrayType(VECTOR, kind.groups))


# --- values inside the code generators: a Lanes(G) is a Python list of G vectors ------------------


def constant(value: float) -> ir.Constant:
    return ir.Constant(VECTOR, [ir.Constant(_F32, float(np.float32(value)))] * WIDTH)


def integers(values: Any) -> ir.Constant:
    return ir.Constant(INTEGERS, [ir.Constant(_I32, int(value)) for value in values])


def _unpack(builder: Any, value: Any, kind: Any, groups: int) -> list:
    """The vectors of an operand, repeated or spread to fill `groups`."""
    if isinstance(kind, types.Float):
        scalar = builder.fptrunc(value, _F32) if kind.bitwidth == 64 else value
        return [_spread(builder, scalar)] * groups
    vectors = [builder.extract_value(value, i) for i in range(kind.groups)]
    return vectors * groups if kind.groups == 1 else vectors


def _pack(builder: Any, vectors: list) -> Any:
    value = ir.Constant(ir.ArrayType(VECTOR, len(vectors)), ir.Undefined)
    for i, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, i)
    return value


def _spread(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, integers([0] * WIDTH))


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c, fused where the CPU can; llvm.fma would call libm where it cannot."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v16f32")
    return builder.call(function, [a, b, c])


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    structure = context.make_array(array_type)(context, builder, array)
    indices = cgutils.unpack_tuple(builder, index)
    return cgutils.get_item_pointer(context, builder, array_type, structure, indices)


def _vector_pointer(builder: Any, pointer: Any, i: int) -> Any:
    vectors = builder.bitcast(pointer, VECTOR.as_pointer())
    return builder.gep(vectors, [ir.Constant(_I32, i)])


def _read(builder: Any, pointer: Any, i: int = 0) -> Any:
    value = builder.load(_vector_pointer(builder, pointer, i))
    value.align = 4
    return value


def _write(builder: Any, vector: Any, pointer: Any, i: int = 0) -> None:
    builder.store(vector, _vector_pointer(builder, pointer, i)).align = 4


def _widest(*kinds: types.Type) -> Lanes | None:
    """The type of an operation, or None if the operands are not its."""
    lanes = [kind for kind in kinds if isinstance(kind, Lanes)]
    if not lanes or any(not isinstance(kind, Lanes | types.Float) for kind in kinds):
        return None
    return max(lanes, key=lambda kind: kind.groups)


# --- memory -----------------------------------------------------------------------------------


@intrinsic
def load(typing, array, index, states):
    """len(states) vectors that lie one after the other from array[index] on."""
    result = Lanes(len(states))

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        return _pack(builder, [_read(builder, pointer, i) for i in range(result.groups)])

    return result(array, index, states), generate


@intrinsic
def store(typing, array, index, value):
    """The vectors of a value, one after the other, to array[index] and on."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        for i in range(value.groups):
            _write(builder, builder.extract_value(arguments[2], i), pointer, i)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


def _first_lanes(builder: Any, count: Any) -> Any:
    """A mask of the lanes below count."""
    count = builder.trunc(count, _I32)
    undefined = ir.Constant(INTEGERS, ir.Undefined)
    first = builder.insert_element(undefined, count, ir.Constant(_I32, 0))
    counts = builder.shuffle_vector(first, undefined, integers([0] * WIDTH))
    return builder.icmp_signed("<", integers(range(WIDTH)), counts)


@intrinsic
def load_some(typing, array, index, count):
    """The first `count` lanes from array[index] on; the others are 0 and not read."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        pointer = builder.bitcast(pointer, VECTOR.as_pointer())
        kind = ir.FunctionType(VECTOR, [pointer.type, _I32, _MASK, VECTOR])
        name = "llvm.masked.load.v16f32.p0"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        mask = _first_lanes(builder, arguments[2])
        aligned = ir.Constant(_I32, 4)
        return _pack(builder, [builder.call(function, [pointer, aligned, mask, constant(0.0)])])

    return Lanes(1)(array, index, types.intp), generate


@intrinsic
def store_some(typing, array, index, value, count):
    """The first `count` lanes of one vector to array[index] and on."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        pointer = builder.bitcast(pointer, VECTOR.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [VECTOR, pointer.type, _I32, _MASK])
        name = "llvm.masked.store.v16f32.p0"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        mask = _first_lanes(builder, arguments[3])
        vector = builder.extract_value(arguments[2], 0)
        builder.call(function, [vector, pointer, ir.Constant(_I32, 4), mask])
        return context.get_dummy_value()

    return types.void(array, index, value, types.intp), generate


@intrinsic
def spread(typing, array, index, states):
    """len(states) numbers from array[index] on, each spread over the lanes of its vector."""
    result = Lanes(len(states))

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        places = [builder.gep(pointer, [ir.Constant(_I32, i)]) for i in range(result.groups)]
        return _pack(builder, [_spread(builder, builder.load(place)) for place in places])

    return result(array, index, states), generate


@intrinsic
def copy(typing, target, place, source, index, states):
    """target[place …] = source[index …], len(states) numbers. (A loop would check for overlap.)"""
    few = ir.VectorType(_F32, len(states))

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        to = _pointer(context, builder, kinds[0], arguments[0], arguments[1])
        start = _pointer(context, builder, kinds[2], arguments[2], arguments[3])
        value = builder.load(builder.bitcast(start, few.as_pointer()))
        value.align = 4
        builder.store(value, builder.bitcast(to, few.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(target, place, source, index, states), generate


def _prefetch(array: Any, index: Any, write: int) -> Any:
    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        options = (ir.Constant(_I32, value) for value in (write, 3, 1))  # all caches, of data
        builder.call(function, [pointer, *options])
        return context.get_dummy_value()

    return types.void(array, index), generate


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of array[index], soon to be read."""
    return _prefetch(array, index, 0)


@intrinsic
def prefetch_to_write(typing, array, index):
    """Ask for the cache line of array[index] as one that will be written."""
    return _prefetch(array, index, 1)


@intrinsic
def zeros(typing, states):
    """len(states) vectors of 0."""
    result = Lanes(len(states))

    def generate(context, builder, signature, arguments):
        return _pack(builder, [constant(0.0)] * result.groups)

    return result(states), generate


# --- arithmetic -------------------------------------------------------------------------------


def lanewise(function: Any, *operands: types.Type) -> Any:
    """The typed code of an intrinsic: function(context, builder, vector, …) on each vector."""
    result = _widest(*operands)
    if result is None:
        return None

    def generate(context, builder, signature, arguments):
        columns = [
            _unpack(builder, value, kind, result.groups)
            for value, kind in zip(arguments, signature.args, strict=True)
        ]
        rows = zip(*columns, strict=True)
        return _pack(builder, [function(context, builder, *row) for row in rows])

    return result(*operands), generate


@intrinsic
def _plus(typing, a, b):
    return lanewise(lambda context, builder, *pair: builder.fadd(*pair), a, b)


@intrinsic
def _minus(typing, a, b):
    return lanewise(lambda context, builder, *pair: builder.fsub(*pair), a, b)


@intrinsic
def _times(typing, a, b):
    return lanewise(lambda context, builder, *pair: builder.fmul(*pair), a, b)


@overload(operator.add)
def _overload_add(a, b):
    return (lambda a, b: _plus(a, b)) if _widest(a, b) else None


@overload(operator.sub)
def _overload_sub(a, b):
    return (lambda a, b: _minus(a, b)) if _widest(a, b) else None


@overload(operator.mul)
def _overload_mul(a, b):
    return (lambda a, b: _times(a, b)) if _widest(a, b) else None


@intrinsic
def fma(typing, a, b, c):
    """a·b + c"""
    return lanewise(lambda context, builder, *abc: multiply_add(builder, *abc), a, b, c)


@intrinsic
def dot(typing, a, b, start):
    """start + Σ over the group of a·b: one vector."""

    def generate(context, builder, signature, arguments):
        groups = max(a.groups, b.groups)
        left, right = (_unpack(builder, arguments[i], (a, b)[i], groups) for i in (0, 1))
        total = builder.extract_value(arguments[2], 0)
        for pair in zip(left, right, strict=True):
            total = multiply_add(builder, *pair, total)
        return _pack(builder, [total])

    return Lanes(1)(a, b, start), generate


@intrinsic
def sum_rows(typing, rows, row, sums, place):
    """sums[place + i] = Σ over lanes of rows[row + i], for i in 0 … 15.

    Neighbouring halves of two rows are interleaved and added, four times: 15 additions in all.
    """

    def generate(context, builder, signature, arguments):
        array, first, out, start = arguments
        vectors = []
        for i in range(WIDTH):
            index = [builder.add(first, ir.Constant(first.type, i)), ir.Constant(first.type, 0)]
            packed = cgutils.pack_array(builder, index)
            vectors.append(
                _read(builder, _pointer(context, builder, signature.args[0], array, packed))
            )
        half = WIDTH // 2
        while len(vectors) > 1:
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [_add_halves(builder, a, b, half) for a, b in pairs]
            half //= 2
        packed = cgutils.pack_array(builder, [start])
        _write(builder, vectors[0], _pointer(context, builder, signature.args[2], out, packed))
        return context.get_dummy_value()

    return types.void(rows, types.intp, sums, types.intp), generate


def _add_halves(builder: Any, a: Any, b: Any, half: int) -> Any:
    """Blocks of 2·half lanes, a's and b's in turn, become blocks of half: first + second half."""
    blocks = range(0, WIDTH, 2 * half)
    first = [lane for block in blocks for lane in _lanes_of_both(block, half)]
    left = builder.shuffle_vector(a, b, integers(first))
    right = builder.shuffle_vector(a, b, integers(lane + half for lane in first))
    return builder.fadd(left, right)


def _lanes_of_both(block: int, half: int) -> list[int]:
    """The first halves of one block in a, and of the same block in b (numbered on after a)."""
    return [*range(block, block + half), *range(WIDTH + block, WIDTH + block + half)]


@intrinsic
def take_next(typing, counter):
    """counter[0] before one is added to it; no two threads get the same number."""

    def generate(context, builder, signature, arguments):
        structure = context.make_array(signature.args[0])(context, builder, arguments[0])
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", structure.data, one, "monotonic")

    return types.int64(counter), generate
