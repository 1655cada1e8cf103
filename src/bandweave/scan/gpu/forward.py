"""The selective scan's forward kernels for a GPU, in Triton. Formula and symbols: reference.py.

One program is one warp. It holds the states of a block of channels of one sequence in registers,
as a tensor (NA, EA, NB, EB) whose last two axes are the 32 lanes: state n = (na, nb), channel
e = (ea, eb). Sums over states or channels are then mostly sums within a lane. The program walks
its steps in tiles of TILE, unrolled: all loads of a tile are issued before its first step, which
hides their latency. Tokens are gathered through the table; a token's channels are contiguous, so
the gathers stay coalesced. The decay is exp2(log2(e) · delta · A), one instruction.

Two forms (`plan` in engine.py chooses):

    whole     one program walks a whole sequence
    chunked   1. `chunk_states`: each chunk of steps from h = 0: its last state, product of decays
              2. `carry`: the true state before each chunk, sequentially over the chunks
              3. `scan`: each chunk again, from its true state

The K results for a token are added without atomics: INSIDE, one program walks its K sequences one
after the other and adds to y (float32 when K > 1); else each sequence has its own y, added later.

Cost, float32, in bytes of device memory per (sequence, channel, step), of which R-factored step
sizes save the 4 of each delta: scan: u 4, delta 4, y 4, saved states 4 N / TILE; the sum over K:
4 + 4 / K; phase 1: u 4, delta 4. With INSIDE, u and y are shared by the K sequences through the
cache: delta 4, u and y 8 / K. Exponentials: N, and N again in phase 1 only with a second pair.
"""

# mypy: disable-error-code="assignment"
# A kernel's tuples grow as its loops over a tile are unrolled.

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# No kernel is compiled for special sizes: neither again for T = 1, nor with wide loads where E is
# a multiple of 16, which would arrange lanes otherwise than the states are.
SIZES = ["T", "E", "N", "K", "R", "R2", "sequences", "chunk", "chunks", "blocks"]


@triton.jit
def softplus(x):
    """log(1 + exp(x)) to float32's precision for every x; NaN stays NaN.

    log1p(z) = 2 atanh(z / (2 + z)), here with 0 ≤ z ≤ 1: the series to the 13th power is exact.
    """
    z = tl.exp2(-tl.abs(x) * LOG2E)
    s = z / (2 + z)
    q = s * s
    series = 1 / 11 + q * (1 / 13)
    series = 1 / 7 + q * (1 / 9 + q * series)
    series = 1 + q * (1 / 3 + q * (1 / 5 + q * series))
    return tl.maximum(x, 0.0) + 2 * s * series


@triton.jit
def channels_of(block, EA: tl.constexpr, EB: tl.constexpr):
    """The channels of a block, (EA, EB)."""
    return (block * EA + tl.arange(0, EA)[:, None]) * EB + tl.arange(0, EB)[None, :]


@triton.jit
def states_of(NA: tl.constexpr, NB: tl.constexpr):
    """The states, (NA, NB)."""
    return tl.arange(0, NA)[:, None] * NB + tl.arange(0, NB)[None, :]


@triton.jit
def over_states(values):
    """A value per channel (EA, EB), for all states: (1, EA, 1, EB)."""
    return values[None, :, None, :]


@triton.jit
def over_channels(values):
    """A value per state (NA, NB), for all channels: (NA, 1, NB, 1)."""
    return values[:, None, :, None]


@triton.jit
def sum_states(values):
    """(NA, EA, NB, EB) to (EA, EB): first within a lane, then across lanes."""
    return tl.sum(tl.sum(values, 0), 1)


@triton.jit
def load_float(at, mask):
    """Values as float32, zero where masked."""
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def place_rates(array, row, e, n, E, N):
    """The places of row `row` of an array (…, E, N): (NA, EA, NB, EB).

    The hint says no more than which axes the lanes shall share: without it, versions of Triton
    differ in what they do with strides that they do not know, and spread lanes over NA.
    """
    at = array + row * E * N + over_states(e) * N + over_channels(n)
    return tl.max_contiguous(at, [1, 1, n.shape[1], 2])


@triton.jit
def load_rates(array, row, e, n, E, N):
    """Row `row` of an array (…, E, N): (NA, EA, NB, EB), float32."""
    mask = over_states(e < E) & over_channels(n < N)
    return load_float(place_rates(array, row, e, n, E, N), mask)


@triton.jit
def store_rates(array, row, values, e, n, E, N):
    """Row `row` of an array (…, E, N), of that array's type."""
    mask = over_states(e < E) & over_channels(n < N)
    tl.store(place_rates(array, row, e, n, E, N), values, mask=mask)


@triton.jit
def load_bias(bias, k, e, E):
    """bias[k] of (K, E), or zero: (EA, EB), float32."""
    values = tl.zeros(e.shape, tl.float32)
    if bias is not None:
        values = load_float(bias + k * E + e, e < E)
    return values


@triton.jit
def place_steps(delta, weight, sequence, e, T, E, R):
    """The places of the step sizes of a sequence's token 0, or of its R factors."""
    if weight is None:
        return delta + sequence * T * E + e
    else:
        return delta + sequence * T * R


@triton.jit
def tile_tokens(table, k, start, T, TILE: tl.constexpr):
    """The tokens of a tile of steps, a tuple; token 0 stands for those outside the sequence."""
    tokens = ()
    for i in tl.static_range(TILE):
        inside = (start + i >= 0) & (start + i < T)
        tokens += (tl.load(table + k * T + start + i, mask=inside, other=0).to(tl.int32),)
    return tokens


@triton.jit
def tile_rows(at, tokens, width, mask, TILE: tl.constexpr):
    """The rows of a tile's tokens, of an array whose token 0 lies at `at`: a tuple, float32."""
    rows = ()
    for i in tl.static_range(TILE):
        rows += (load_float(at + tokens[i].to(tl.int64) * width, mask),)
    return rows


@triton.jit
def tile_steps(at, weight, bias, tokens, k, e, E, R, TILE: tl.constexpr):
    """The raw step sizes of a tile's tokens with their bias, from R factors if weighted."""
    raws = ()
    for i in tl.static_range(TILE):
        if weight is None:
            raw = load_float(at + tokens[i].to(tl.int64) * E, e < E)
        else:
            raw = tl.zeros(bias.shape, tl.float32)
            for r in range(R):
                factor = tl.load(at + tokens[i].to(tl.int64) * R + r).to(tl.float32)
                raw += factor * load_float(weight + (k * R + r) * E + e, e < E)
        raws += (raw + bias,)
    return raws


@triton.jit
def step_sizes(raw, live, SOFTPLUS: tl.constexpr):
    """Step sizes from raw ones; zero beyond the sequence, where a step then changes nothing."""
    if SOFTPLUS:
        raw = softplus(raw)
    return tl.where(live, raw, 0.0)


@triton.jit
def decays(steps, rates):
    """exp(delta · A): (EA, EB) and (NA, EA, NB, EB) to (NA, EA, NB, EB)."""
    return tl.exp2(over_states(steps * LOG2E) * rates)


@triton.jit(do_not_specialize=SIZES)
def scan(
    u, delta, weight, bias, A, delta2, weight2, bias2, A2, B, C, D, table, initial, starts, y,
    last, saved,
    T, E, N, K, R, R2, chunk, chunks, blocks,
    SOFTPLUS: tl.constexpr, INSIDE: tl.constexpr, TILE: tl.constexpr, NA: tl.constexpr,
    EA: tl.constexpr, NB: tl.constexpr, EB: tl.constexpr,
):  # fmt: skip
    """y, the last states, and the states before every tile if `saved` is not None.

    starts (B, K, chunks, E, N) or None: then every sequence starts from `initial`, or from zero
    y (B, T, E) if INSIDE, else (B, K, T, E); saved (B, K, tiles, E, N)
    """
    block, part = tl.program_id(0) % blocks, tl.program_id(0) // blocks % chunks
    rest = (tl.program_id(0) // blocks // chunks).to(tl.int64)
    batch, first_k, stop_k = rest // K, rest % K, rest % K + 1
    if INSIDE:
        batch, first_k, stop_k = rest, rest * 0, rest * 0 + K
    e, n = channels_of(block, EA, EB), states_of(NA, NB)
    in_E, in_N = e < E, n < N
    tiles = tl.cdiv(T, TILE)
    at_u = u + batch * T * E + e
    for k in range(first_k, stop_k):
        sequence = batch * K + k
        rates, bias_k = load_rates(A, k, e, n, E, N), load_bias(bias, k, e, E)
        skip = load_float(D + k * E + e, in_E)
        at_delta = place_steps(delta, weight, sequence, e, T, E, R)
        if A2 is not None:
            rates2, bias2_k = load_rates(A2, k, e, n, E, N), load_bias(bias2, k, e, E)
            at_delta2 = place_steps(delta2, weight2, sequence, e, T, E, R2)
        at_B, at_C = B + sequence * T * N + n, C + sequence * T * N + n
        at_y = y + sequence * T * E + e
        if INSIDE:
            at_y = y + batch * T * E + e
        h = tl.zeros(rates.shape, tl.float32)
        if starts is not None:
            h = load_rates(starts, sequence * chunks + part, e, n, E, N)
        elif initial is not None:
            h = load_rates(initial, sequence, e, n, E, N)

        coming = tile_tokens(table, k, part * chunk, T, TILE)
        for start in range(part * chunk, tl.minimum(part * chunk + chunk, T), TILE):
            if saved is not None:
                store_rates(saved, sequence * tiles + start // TILE, h, e, n, E, N)
            tokens, coming = coming, tile_tokens(table, k, start + TILE, T, TILE)
            us = tile_rows(at_u, tokens, E, in_E, TILE)
            raws = tile_steps(at_delta, weight, bias_k, tokens, k, e, E, R, TILE)
            if A2 is not None:
                raws2 = tile_steps(at_delta2, weight2, bias2_k, tokens, k, e, E, R2, TILE)
            Bs = tile_rows(at_B, tokens, N, in_N, TILE)
            Cs = tile_rows(at_C, tokens, N, in_N, TILE)
            for i in tl.static_range(TILE):
                live = start + i < T
                drive = step_sizes(raws[i], live, SOFTPLUS)
                a = decays(drive, rates)
                if A2 is not None:
                    drive = step_sizes(raws2[i], live, SOFTPLUS)
                    a = (a + decays(drive, rates2)) * 0.5
                h = a * h + over_states(drive * us[i]) * over_channels(Bs[i])
                total = sum_states(h * over_channels(Cs[i])) + skip * us[i]
                at = at_y + tokens[i].to(tl.int64) * E
                if INSIDE:
                    total += load_float(at, in_E & live & (k > 0))
                tl.store(at, total, mask=in_E & live)
        if part == chunks - 1:
            store_rates(last, sequence, h, e, n, E, N)
        if INSIDE:
            tl.debug_barrier()  # what one lane stored in y, another may load for the next sequence


@triton.jit(do_not_specialize=SIZES)
def chunk_states(
    u, delta, weight, bias, A, delta2, weight2, bias2, A2, B, table, local, product,
    T, E, N, K, R, R2, chunk, chunks, blocks,
    SOFTPLUS: tl.constexpr, TILE: tl.constexpr, NA: tl.constexpr, EA: tl.constexpr,
    NB: tl.constexpr, EB: tl.constexpr,
):  # fmt: skip
    """Each chunk from h = 0: its last state and the product of its decays, (B, K, chunks, E, N)."""
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
    at_u, at_B = u + batch * T * E + e, B + sequence * T * N + n
    h = tl.zeros(rates.shape, tl.float32)
    decay = h + 1.0
    summed = tl.zeros(e.shape, tl.float32)

    coming = tile_tokens(table, k, part * chunk, T, TILE)
    for start in range(part * chunk, tl.minimum(part * chunk + chunk, T), TILE):
        tokens, coming = coming, tile_tokens(table, k, start + TILE, T, TILE)
        us = tile_rows(at_u, tokens, E, in_E, TILE)
        raws = tile_steps(at_delta, weight, bias_k, tokens, k, e, E, R, TILE)
        if A2 is not None:
            raws2 = tile_steps(at_delta2, weight2, bias2_k, tokens, k, e, E, R2, TILE)
        Bs = tile_rows(at_B, tokens, N, in_N, TILE)
        for i in tl.static_range(TILE):
            live = start + i < T
            drive = step_sizes(raws[i], live, SOFTPLUS)
            a = decays(drive, rates)
            if A2 is not None:
                drive = step_sizes(raws2[i], live, SOFTPLUS)
                a = (a + decays(drive, rates2)) * 0.5
                decay *= a
            else:
                summed += drive
            h = a * h + over_states(drive * us[i]) * over_channels(Bs[i])
    if A2 is None:
        decay = decays(summed, rates)
    store_rates(local, sequence * chunks + part, h, e, n, E, N)
    store_rates(product, sequence * chunks + part, decay, e, n, E, N)


@triton.jit(do_not_specialize=SIZES)
def carry(
    local, product, boundary,
    E, N, chunks, blocks,
    REVERSE: tl.constexpr, GROUP: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Put what enters each chunk where its own result stood: local (B, K, chunks, E, N).

    boundary (B, K, E, N) or None enters the first chunk; with REVERSE chunks run backwards.
    """
    sequence = (tl.program_id(0) // blocks).to(tl.int64)
    i = tl.program_id(0) % blocks * SIZE + tl.arange(0, SIZE)
    mask = i < N * E
    state = tl.zeros((SIZE,), tl.float32)
    if boundary is not None:
        state = load_float(boundary + sequence * E * N + i, mask)
    for first in range(0, chunks, GROUP):
        places, locals_, products = (), (), ()
        for j in tl.static_range(GROUP):  # all loads of a group, then its chain
            live = mask & (first + j < chunks)
            part = first + j
            if REVERSE:
                part = chunks - 1 - first - j
            places += ((sequence * chunks + part) * E * N + i,)
            locals_ += (tl.load(local + places[j], mask=live, other=0.0),)
            products += (tl.load(product + places[j], mask=live, other=0.0),)
        for j in tl.static_range(GROUP):
            tl.store(local + places[j], state, mask=mask & (first + j < chunks))
            state = locals_[j] + products[j] * state
