"""Functions of Lanes: 2^z, softplus and its slope, by polynomials.

    exp2        10 operations with AVX-512's scaling of exponents, 13 without
    softplus    exp2 and 12 more
    slope       exp2 and 2 more
    sigmoid     exp2, 2 more and a division

Relative errors: exp2 below 2e-7; softplus and its slope below 1e-6 from x = -15 on, growing
with -x.
What is not a number stays so.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from bandweave.scan.cpu.lanes import (
    INTEGERS,
    VECTOR,
    WIDTH,
    constant,
    integers,
    intrinsic,
    lanewise,
    multiply_add,
)

LARGEST = 127.49999  # the exponent; 2^127.5 times 0 is 0, infinity times 0 would be no number
# Adding it rounds a float32 to an integer n; its last bits are then n + 127, the exponent of 2^n.
ROUND = float((3 << 22) + 127)


def _chebyshev(low: float, high: float) -> np.ndarray:
    return low + (high - low) * (np.cos((np.arange(400) + 0.5) * np.pi / 400) + 1) / 2


def _fit(x: np.ndarray, y: np.ndarray, degree: int) -> list[float]:
    return list(np.polyfit(x, y, degree)[::-1])


_F = _chebyshev(-0.5, 0.5)
_POWER = _fit(_F, np.expm1(_F * np.log(2)) / _F, 5)  # 2^f = 1 + f·p(f) on [-½, ½]: error 2e-8
_Z = _chebyshev(0, 1)
_LOG1P = _fit(_Z, np.log1p(_Z) / _Z, 8)  # log(1+z) = z·p(z) on [0, 1]: error 2e-8, no division


def _polynomial(builder: Any, coefficients: list[float], x: Any) -> Any:
    value = constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = multiply_add(builder, value, x, constant(coefficient))
    return value


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    """The larger of both; b where either is not a number."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _minimum(builder: Any, a: Any, b: Any) -> Any:
    """The smaller of both; b where either is not a number."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _split(builder: Any, z: Any) -> tuple[Any, Any]:
    """2^n and f·p(f) with z = n + f, so that 2^z = 2^n (1 + f·p(f)) and f in [-½, ½]."""
    z = _maximum(builder, constant(-127.0), z)
    z = _minimum(builder, constant(LARGEST), z)
    rounded = builder.fadd(z, constant(ROUND))
    fraction = builder.fsub(z, builder.fsub(rounded, constant(ROUND)))
    bits = builder.shl(builder.bitcast(rounded, INTEGERS), integers([23] * WIDTH))
    part = builder.fmul(fraction, _polynomial(builder, _POWER, fraction))
    return builder.bitcast(bits, VECTOR), part


def _exp2_anywhere(builder: Any, z: Any) -> Any:
    power, part = _split(builder, z)
    return multiply_add(builder, power, part, power)


def _avx512(builder: Any, name: str, operands: list, types: list) -> Any:
    """One instruction of AVX-512, without its mask."""
    masks = [operands[0], ir.Constant(ir.IntType(16), 0xFFFF), ir.Constant(ir.IntType(32), 4)]
    kind = ir.FunctionType(VECTOR, [*types, VECTOR, ir.IntType(16), ir.IntType(32)])
    name = f"llvm.x86.avx512.mask.{name}.ps.512"
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, name), operands + masks
    )


def _exp2_avx512(builder: Any, z: Any) -> Any:
    """2^z from the nearest n, not the one below: near 0 the error must be small, not biased."""
    z = _minimum(builder, constant(LARGEST), z)
    nearest = ir.Constant(ir.IntType(32), 8)
    fraction = _avx512(builder, "reduce", [z, nearest], [VECTOR, nearest.type])
    part = multiply_add(builder, _polynomial(builder, _POWER, fraction), fraction, constant(1.0))
    return _avx512(builder, "scalef", [part, builder.fsub(z, fraction)], [VECTOR, VECTOR])


def _exp2(context: Any, builder: Any, z: Any) -> Any:
    if "+avx512dq" in context.codegen().magic_tuple()[2]:
        return _exp2_avx512(builder, z)
    return _exp2_anywhere(builder, z)


def _softplus(context: Any, builder: Any, x: Any) -> Any:
    """log(1 + e^x) = max(x, 0) + log(1 + z), z = e^-|x|."""
    zero = constant(0.0)
    negative = builder.fcmp_ordered("<", x, zero)
    size = builder.select(negative, builder.fsub(zero, x), x)
    z = _exp2(context, builder, builder.fmul(size, constant(-np.log2(np.e))))
    above = builder.select(negative, zero, x)
    return multiply_add(builder, z, _polynomial(builder, _LOG1P, z), above)


def _slope(builder: Any, d: Any) -> Any:
    """1 - e^-d: 2^n - 1 is exact, so nothing is lost where d is tiny."""
    power, part = _split(builder, builder.fmul(d, constant(-np.log2(np.e))))
    one = constant(1.0)
    return builder.fsub(builder.fsub(one, power), builder.fmul(power, part))


def _sigmoid(context: Any, builder: Any, x: Any) -> Any:
    """1 / (1 + e^-x), as z / (1 + z) with z = e^-|x| where x is below 0."""
    zero, one = constant(0.0), constant(1.0)
    negative = builder.fcmp_ordered("<", x, zero)
    size = builder.select(negative, builder.fsub(zero, x), x)
    z = _exp2(context, builder, builder.fmul(size, constant(-np.log2(np.e))))
    return builder.fdiv(builder.select(negative, z, one), builder.fadd(one, z))


@intrinsic
def exp2(typing, z):
    """2^z; saturates to 0 (below 2^-126 perhaps a denormal) and to 2^127.5."""
    return lanewise(_exp2, z)


@intrinsic
def exp2_anywhere(typing, z):
    """2^z like `exp2`, in instructions that every CPU has."""
    return lanewise(lambda context, builder, z: _exp2_anywhere(builder, z), z)


@intrinsic
def softplus(typing, x):
    """log(1 + e^x)"""
    return lanewise(_softplus, x)


@intrinsic
def softplus_slope(typing, d):
    """The derivative of softplus where its value is d: 1 - e^-d."""
    return lanewise(lambda context, builder, d: _slope(builder, d), d)


@intrinsic
def sigmoid(typing, x):
    """1 / (1 + e^-x)"""
    return lanewise(_sigmoid, x)
