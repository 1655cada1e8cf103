"""The selective scan's backward kernels for a GPU, in Triton. Formula and symbols: reference.py.

Programs, lanes and forms are the forward's (forward.py), the steps run from last to first.
The adjoint g of the state, with y's gradient dy:

    g ← g + C[s] · dy[s]                   now g = ∂/∂h after this step
    dC[s] = Σₑ dy[s] · h                   dB[s] = Σₑ g · d · u[s]
    du[s] += d Σₙ g · B[s] + D · dy[s]     dd = u[s] Σₙ g · B[s] + Σₙ g · h' · a · A
    dA += g · h' · a · delta[s]            g ← a · g, to the step before

where h' is the state before the step. With the second pair the two decays give the two halves of
dA and dA2. The states of a tile are computed again, forwards, from the one saved at its start, and
stay in registers; so do the decays, so that this costs no second exponential.

    whole     one program walks a whole sequence
    chunked   1. `chunk_adjoints`: each chunk from g = 0: what leaves it, product of decays
              2. `carry` of the forward, reversed: what enters each chunk
              3. `scan_backward`: each chunk, from what enters it

There are no atomics: sums over channels are taken within the program, and each program stores its
part of dB, dC (blocks, B, K, T, N), of dA, dD, biases and weights (B, chunks, K, ·), which are
added in a fixed order later.

Cost, float32, in bytes of device memory per (sequence, channel, step): scan_backward: u 4,
delta 4, dy 4, ddelta 4, du 4, saved states 4 N / TILE, dB and dC 8 N / (EA · EB) and as much to
add them; the sum of du over K: 4 + 4 / K; phase 1: dy 4, delta 4. With INSIDE, u, dy and du are
shared by the K sequences through the cache: delta 4, ddelta 4, the three 12 / K. Exponentials: N,
and N again in phase 1.
"""

# mypy: disable-error-code="assignment"
# A kernel's tuples grow as its loops over a tile are unrolled.

import triton
import triton.language as tl

from bandweave.scan.gpu.forward import (
    LOG2E,
    SIZES,
    channels_of,
    decays,
    load_bias,
    load_float,
    load_rates,
    over_channels,
    over_states,
    place_steps,
    states_of,
    step_sizes,
    store_rates,
    sum_states,
    tile_rows,
    tile_steps,
    tile_tokens,
)


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)), the slope of softplus."""
    z = tl.exp2(-tl.abs(x) * LOG2E)
    return tl.where(x < 0, z, 1.0) / (1 + z)


@triton.jit
def sum_channels(values):
    """(NA, EA, NB, EB) to (NA, NB): first within a lane, then across lanes."""
    return tl.sum(tl.sum(values, 1), 2)


@triton.jit
def raw_gradient(gradient, raw, live, SOFTPLUS: tl.constexpr):
    """The gradient of raw step sizes from that of the step sizes; zero beyond the sequence."""
    if SOFTPLUS:
        gradient *= sigmoid(raw)
    return tl.where(live, gradient, 0.0)


@triton.jit
def store_steps(ddelta, tokens, gradients, start, T, E, mask, TILE: tl.constexpr):
    """The gradients of a tile's raw step sizes, where their token 0 lies at `ddelta`."""
    for i in tl.static_range(TILE):
        at = ddelta + tokens[i].to(tl.int64) * E
        tl.store(at, gradients[i], mask=mask & (start + i < T))


@triton.jit
def store_factors(
    ddelta, dweight, at, weight, tokens, gradients, start, T, k, e, E, R, TILE: tl.constexpr
):
    """The gradients of a tile's R factors, and those of their weights added to `dweight`."""
    for r in range(R):
        weights = load_float(weight + (k * R + r) * E + e, e < E)
        total = load_float(dweight + r * E + e, e < E)
        for i in tl.static_range(TILE):
            place = tokens[i].to(tl.int64) * R + r
            total += tl.load(at + place).to(tl.float32) * gradients[i]
            part = tl.sum(tl.sum(gradients[i] * weights, 0), 0)
            tl.store(ddelta + place, part, mask=start + i < T)
        tl.store(dweight + r * E + e, total, mask=e < E)


@triton.jit(do_not_specialize=SIZES)
def scan_backward(
    u, delta, weight, bias, A, delta2, weight2, bias2, A2, B, C, D, table, saved, incoming,
    dlast, dy, du, ddelta, dweight, dbias, dA, ddelta2, dweight2, dbias2, dA2, dB, dC, dD,
    dinitial,
    T, E, N, K, R, R2, sequences, chunk, chunks, blocks,
    SOFTPLUS: tl.constexpr, INSIDE: tl.constexpr, TILE: tl.constexpr, NA: tl.constexpr,
    EA: tl.constexpr, NB: tl.constexpr, EB: tl.constexpr,
):  # fmt: skip
    """The parts of every gradient.

    incoming (B, K, chunks, E, N) or None: then what enters a sequence is `dlast`, or zero
    du (B, T, E) if INSIDE, else (B, K, T, E); ddelta (B, K, T, E), with factors
    (blocks, B, K, T, R); dweight (B, chunks, K, R, E), zeros; sequences = B · K
    """
    block, part = tl.program_id(0) % blocks, tl.program_id(0) // blocks % chunks
    rest = (tl.program_id(0) // blocks // chunks).to(tl.int64)
    batch, first_k, stop_k = rest // K, rest % K, rest % K + 1
    if INSIDE:
        batch, first_k, stop_k = rest, rest * 0, rest * 0 + K
    e, n = channels_of(block, EA, EB), states_of(NA, NB)
    in_E, in_N = e < E, n < N
    tiles = tl.cdiv(T, TILE)
    begin, end = part * chunk, tl.minimum(part * chunk + chunk, T)
    last_tile = begin + (end - begin - 1) // TILE * TILE
    for k in range(first_k, stop_k):
        sequence = batch * K + k
        slot = (batch * chunks + part) * K + k  # of this program's sums over steps
        shifted = block.to(tl.int64) * sequences + sequence  # of its sums over channels
        rates, bias_k = load_rates(A, k, e, n, E, N), load_bias(bias, k, e, E)
        skip = load_float(D + k * E + e, in_E)
        at_delta = place_steps(delta, weight, sequence, e, T, E, R)
        drates, dbias_k = tl.zeros(rates.shape, tl.float32), tl.zeros(e.shape, tl.float32)
        dskip = tl.zeros(e.shape, tl.float32)
        if A2 is not None:
            rates2, bias2_k = load_rates(A2, k, e, n, E, N), load_bias(bias2, k, e, E)
            at_delta2 = place_steps(delta2, weight2, sequence, e, T, E, R2)
            drates2, dbias2_k = tl.zeros(rates.shape, tl.float32), tl.zeros(e.shape, tl.float32)
        at_u, at_dy = u + batch * T * E + e, dy + batch * T * E + e
        at_B, at_C = B + sequence * T * N + n, C + sequence * T * N + n
        at_dB, at_dC = dB + shifted * T * N + n, dC + shifted * T * N + n
        at_du = du + sequence * T * E + e
        if INSIDE:
            at_du = du + batch * T * E + e
        g = tl.zeros(rates.shape, tl.float32)
        if incoming is not None:
            g = load_rates(incoming, sequence * chunks + part, e, n, E, N)
        elif dlast is not None:
            g = load_rates(dlast, sequence, e, n, E, N)

        coming = tile_tokens(table, k, last_tile, T, TILE)
        for back in range(begin, end, TILE):
            start = last_tile - (back - begin)
            tokens, coming = coming, tile_tokens(table, k, start - TILE, T, TILE)
            h = load_rates(saved, sequence * tiles + start // TILE, e, n, E, N)
            us = tile_rows(at_u, tokens, E, in_E, TILE)
            raws = tile_steps(at_delta, weight, bias_k, tokens, k, e, E, R, TILE)
            if A2 is not None:
                raws2 = tile_steps(at_delta2, weight2, bias2_k, tokens, k, e, E, R2, TILE)
            Bs = tile_rows(at_B, tokens, N, in_N, TILE)
            Cs = tile_rows(at_C, tokens, N, in_N, TILE)
            dys = tile_rows(at_dy, tokens, E, in_E, TILE)

            states, steps, parts = (h,), (), ()
            steps2, parts2 = (), ()
            for i in tl.static_range(TILE):
                drive = step_sizes(raws[i], start + i < T, SOFTPLUS)
                a = decays(drive, rates)
                steps += (drive,)
                parts += (a,)
                if A2 is not None:
                    drive = step_sizes(raws2[i], start + i < T, SOFTPLUS)
                    steps2 += (drive,)
                    parts2 += (decays(drive, rates2),)
                    a = (a + parts2[i]) * 0.5
                h = a * h + over_states(drive * us[i]) * over_channels(Bs[i])
                states += (h,)

            gradients, gradients2 = (), ()
            for i in tl.static_range(TILE - 1, -1, -1):
                live, token = start + i < T, tokens[i].to(tl.int64)
                drive, a = steps[i], parts[i]
                if A2 is not None:
                    drive, a = steps2[i], (a + parts2[i]) * 0.5
                upstream = tl.where(live, dys[i], 0.0)
                dskip += upstream * us[i]
                g += over_states(upstream) * over_channels(Cs[i])
                sums = sum_channels(over_states(upstream) * states[i + 1])
                tl.store(at_dC + token * N, sums, mask=in_N & live)
                sums = sum_channels(g * over_states(drive * us[i]))
                tl.store(at_dB + token * N, sums, mask=in_N & live)
                gB = sum_states(g * over_channels(Bs[i]))
                total = drive * gB + upstream * skip
                if INSIDE:
                    total += load_float(at_du + token * E, in_E & live & (k > 0))
                tl.store(at_du + token * E, total, mask=in_E & live)
                w = g * states[i]
                g *= a
                if A2 is None:
                    w *= parts[i]
                    gradient = us[i] * gB + sum_states(w * rates)
                else:
                    w2 = w * parts2[i] * 0.5
                    w *= parts[i] * 0.5
                    gradient = sum_states(w * rates)
                    gradient2 = us[i] * gB + sum_states(w2 * rates2)
                    gradient2 = raw_gradient(gradient2, raws2[i], live, SOFTPLUS)
                    gradients2 = (gradient2,) + gradients2  # noqa: RUF005
                    drates2 += w2 * over_states(steps2[i])
                    dbias2_k += gradient2
                gradient = raw_gradient(gradient, raws[i], live, SOFTPLUS)
                gradients = (gradient,) + gradients  # noqa: RUF005
                drates += w * over_states(steps[i])
                dbias_k += gradient

            if weight is None:
                at = ddelta + sequence * T * E + e
                store_steps(at, tokens, gradients, start, T, E, in_E, TILE)
            else:
                store_factors(
                    *(ddelta + shifted * T * R, dweight + slot * R * E, at_delta, weight),
                    *(tokens, gradients, start, T, k, e, E, R, TILE),
                )
            if A2 is not None:
                if weight2 is None:
                    at = ddelta2 + sequence * T * E + e
                    store_steps(at, tokens, gradients2, start, T, E, in_E, TILE)
                else:
                    store_factors(
                        *(ddelta2 + shifted * T * R2, dweight2 + slot * R2 * E),
                        *(at_delta2, weight2, tokens, gradients2, start, T, k, e, E, R2, TILE),
                    )
            if (weight is not None) or (weight2 is not None):
                tl.debug_barrier()  # what one lane added to dweight, another may load

        store_rates(dA, slot, drates, e, n, E, N)
        tl.store(dD + slot * E + e, dskip, mask=in_E)
        if bias is not None:
            tl.store(dbias + slot * E + e, dbias_k, mask=in_E)
        if A2 is not None:
            store_rates(dA2, slot, drates2, e, n, E, N)
            if bias2 is not None:
                tl.store(dbias2 + slot * E + e, dbias2_k, mask=in_E)
        if dinitial is not None:  # noqa: SIM102  this is settled as the kernel is compiled
            if part == 0:
                store_rates(dinitial, sequence, g, e, n, E, N)
        if INSIDE:
            tl.debug_barrier()  # what one lane stored in du, another may load


@triton.jit(do_not_specialize=SIZES)
def chunk_adjoints(
    delta, weight, bias, A, delta2, weight2, bias2, A2, C, table, dy, local, product,
    T, E, N, K, R, R2, chunk, chunks, blocks,
    SOFTPLUS: tl.constexpr, TILE: tl.constexpr, NA: tl.constexpr, EA: tl.constexpr,
    NB: tl.constexpr, EB: tl.constexpr,
):  # fmt: skip
    """Each chunk from g = 0: what leaves its first step, product of decays, (B, K, chunks, E, N).

    It runs forwards as well, by what each step adds to what leaves: Σ (product of decays up to and
    with the step) · C · dy.
    """
    block, part = tl.program_id(0) % blocks, tl.program_id(0) // blocks % chunks
    sequence = (tl.program_id(0) // blocks // chunks).to(tl.int64)
    batch, k = sequence // K, sequence % K
    e, n = channels_of(block, EA, EB), states_of(NA, NB)
    in_E, in_N = e < E, n < N
    rates, bias_k = load_rates(A, k, e, n, E, N), load_bias(bias, k, e, E)
    at_delta = place_steps(delta, weight, sequence, e, T, E, R)
    if A2 is not None:
        rates2, bias2_k = load_rates(A2, k, e, n, E, N), load_bias(bias2, k, e, E)
        at_delta2 = place_steps(delta2, weight2, sequence, e, T, E, R2)
    at_dy, at_C = dy + batch * T * E + e, C + sequence * T * N + n
    leaving = tl.zeros(rates.shape, tl.float32)
    decay = leaving + 1.0

    coming = tile_tokens(table, k, part * chunk, T, TILE)
    for start in range(part * chunk, tl.minimum(part * chunk + chunk, T), TILE):
        tokens, coming = coming, tile_tokens(table, k, start + TILE, T, TILE)
        dys = tile_rows(at_dy, tokens, E, in_E, TILE)
        raws = tile_steps(at_delta, weight, bias_k, tokens, k, e, E, R, TILE)
        if A2 is not None:
            raws2 = tile_steps(at_delta2, weight2, bias2_k, tokens, k, e, E, R2, TILE)
        Cs = tile_rows(at_C, tokens, N, in_N, TILE)
        for i in tl.static_range(TILE):
            live = start + i < T
            a = decays(step_sizes(raws[i], live, SOFTPLUS), rates)
            if A2 is not None:
                a = (a + decays(step_sizes(raws2[i], live, SOFTPLUS), rates2)) * 0.5
            decay *= a
            upstream = tl.where(live, dys[i], 0.0)
            leaving += decay * (over_states(upstream) * over_channels(Cs[i]))
    store_rates(local, sequence * chunks + part, leaving, e, n, E, N)
    store_rates(product, sequence * chunks + part, decay, e, n, E, N)
