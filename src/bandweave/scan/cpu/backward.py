"""The backward kernel of the selective scan on a CPU.

Symbols and arrays as in forward.py; `d` before a name is its gradient here:

    dy, du    (B, T, E)              ddelta, ddelta2  (B, K, T, E)
    dB, dC    (blocks, B, K, T, N)   one part per block of channels, to be added by the caller
    drates    (B, K, V, N, 16)       of A, one part per item; drates2: of A2
    dbias     (B, K, V, 16)          one part per item; dbias2
    dskip     (B, V, 16)             of each sequence's D, one part per item
    dlast     (B, K, V, N, 16)       of the last states, (0, K, V, N, 16) for zero; dinitial

Chunks are taken last to first. Within one, from the state saved before it, for every vector of
channels and group of states:

    forward    e = exp2(d·a);  p = e·h;  h = p + x·B;  dC = Σ dy·h      keeps e and p
    backward   q = C·dy + carry;  dB = Σ q·x;  dx += q·B;  carry = q·e
               r = q·p, the gradient of d·A;  dd += r·A;  dA += r·d

so a state is never divided out of another and nothing cancels. dB and dC are sums over channels:
they are added up vector by vector, lane by lane, and the lanes once at the end of the chunk.
What is a sum over tokens (dA, dbias, dskip) is added up within the chunk first, then over chunks:
in one long sum of float32 the rounding errors would show.
Work per token, sequence and channel: N exponentials and about 11 N multiply-adds, half of whose
time goes to keeping e, p, dB and dC in the first cache.
"""

import numpy as np

from bandweave.scan.cpu.cache import inner, kernel
from bandweave.scan.cpu.forward import (
    CHUNK,
    ONE,
    ROWS,
    read,
    read_states,
    step_size,
    write,
    write_states,
)
from bandweave.scan.cpu.lane_math import exp2, softplus_slope
from bandweave.scan.cpu.lanes import (
    WIDTH,
    copy,
    dot,
    fma,
    load,
    prefetch,
    prefetch_to_write,
    spread,
    store,
    sum_rows,
    take_next,
    zeros,
)

FEW = 16  # steps whose gradients are written one vector at a time
LN2 = float(np.log(2))
LOG2E = float(np.log2(np.e))


@kernel
def backward_tasks(
    counter, tasks, width, states,
    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, C, skip, table, starts,
    dy, dlast, du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dB, dC, dskip, dinitial,
):  # fmt: skip
    """Take tasks until none is left; the arguments of `forward_tasks` and the gradients."""
    vectors = skip.shape[0]
    blocks = (vectors + width - 1) // width
    N, T = B.shape[3], table.shape[1]
    pair = delta2 is not None
    rows = (width, ROWS, WIDTH)
    none = (0, ROWS, WIDTH)
    d_rows, x_rows = np.empty(rows, np.float32), np.empty(rows, np.float32)
    d2_rows = np.empty(rows if pair else none, np.float32)
    g_rows = np.empty(rows, np.float32)
    dx_rows, dd_rows = np.empty(rows, np.float32), np.empty(rows, np.float32)
    dd2_rows = np.empty(rows if pair else none, np.float32)
    b_rows, c_rows = np.empty((CHUNK, N), np.float32), np.empty((CHUNK, N), np.float32)
    db_rows, dc_rows = np.empty((CHUNK, N), np.float32), np.empty((CHUNK, N), np.float32)
    group = (CHUNK * len(states), WIDTH)
    e_kept, p_kept = np.empty(group, np.float32), np.empty(group, np.float32)
    p2_kept = np.empty(group, np.float32)
    db_lanes, dc_lanes = np.zeros(group, np.float32), np.zeros(group, np.float32)
    sums = np.empty(CHUNK * len(states), np.float32)
    carry = np.empty((width, N, WIDTH), np.float32)
    while True:
        task = take_next(counter)
        if task >= tasks:
            break
        item, block = task // blocks, task % blocks
        first = block * width
        count = min(width, vectors - first)
        for v in range(first, first + count):
            store(dskip, (item, v, 0), zeros(ONE))
        for k in range(table.shape[0]):
            read_states(dlast, item, k, first, count, carry)
            for v in range(first, first + count):
                store(dbias, (item, k, v, 0), zeros(ONE))
                if delta2 is not None:
                    store(dbias2, (item, k, v, 0), zeros(ONE))
                for n in range(N):
                    store(drates, (item, k, v, n, 0), zeros(ONE))
                    if delta2 is not None:
                        store(drates2, (item, k, v, n, 0), zeros(ONE))
            for chunk in range((T - 1) // CHUNK, -1, -1):
                start = chunk * CHUNK
                steps = min(CHUNK, T - start)
                read_gradient_chunk(
                    item, k, first, count, start, steps,
                    u, delta, bias, delta2, bias2, through_softplus, B, C, table,
                    dy, du, ddelta, ddelta2,
                    d_rows, d2_rows, x_rows, g_rows, dx_rows, dd_rows, dd2_rows, b_rows, c_rows,
                    states,
                )  # fmt: skip
                for n in range(0, N, len(states)):
                    for v in range(count):
                        vector = first + v
                        h = load(starts, (item, k, chunk, vector, n, 0), states)
                        a = load(rates, (k, vector, n, 0), states)
                        q = load(carry, (v, n, 0), states)
                        if delta2 is None:
                            keep_chunk(
                                v, n, steps, h, a, d_rows, x_rows, g_rows, b_rows,
                                e_kept, p_kept, dc_lanes, states,
                            )  # fmt: skip
                            q, da = return_chunk(
                                v, n, steps, q, a * LN2, d_rows, x_rows, g_rows, b_rows,
                                c_rows, e_kept, p_kept, db_lanes, dx_rows, dd_rows, states,
                            )  # fmt: skip
                        else:
                            a2 = load(rates2, (k, vector, n, 0), states)
                            keep_pair_chunk(
                                v, n, steps, h, a, a2, d_rows, d2_rows, x_rows, g_rows, b_rows,
                                e_kept, p_kept, p2_kept, dc_lanes, states,
                            )  # fmt: skip
                            q, da, da2 = return_pair_chunk(
                                v, n, steps, q, a * LN2, a2 * LN2, d_rows, d2_rows,
                                x_rows, g_rows, b_rows, c_rows, e_kept, p_kept, p2_kept,
                                db_lanes, dx_rows, dd_rows, dd2_rows, states,
                            )  # fmt: skip
                            add(drates2, (item, k, vector, n, 0), da2, states)
                        store(carry, (v, n, 0), q)
                        add(drates, (item, k, vector, n, 0), da, states)
                    sum_lanes(n, steps, db_lanes, sums, db_rows, states)
                    sum_lanes(n, steps, dc_lanes, sums, dc_rows, states)
                write_gradient_chunk(
                    item, k, block, first, count, start, steps,
                    u, delta2, through_softplus, skip, table,
                    d_rows, d2_rows, g_rows, dx_rows, dd_rows, dd2_rows, db_rows, dc_rows,
                    du, ddelta, dbias, ddelta2, dbias2, dB, dC, dskip, states,
                )  # fmt: skip
            write_states(dinitial, item, k, first, count, carry)


@inner
def add(total, index, part, states):
    """total[index …] += part"""
    store(total, index, load(total, index, states) + part)


@inner
def read_gradient_chunk(
    item, k, first, count, start, steps,
    u, delta, bias, delta2, bias2, through_softplus, B, C, table,
    dy, du, ddelta, ddelta2,
    d_rows, d2_rows, x_rows, g_rows, dx_rows, dd_rows, dd2_rows, b_rows, c_rows, states,
):  # fmt: skip
    """Fill the rows that are read, and set to zero those that are added to."""
    channels = u.shape[2]
    for t in range(steps):
        token = table[k, start + t]
        if start >= CHUNK:
            ahead = table[k, start + t - CHUNK]
            for v in range(first, first + count):
                prefetch_gradient(
                    item, k, ahead, v * WIDTH, u, delta, delta2, dy, du, ddelta, ddelta2
                )
        for n in range(0, B.shape[3], len(states)):
            copy(b_rows, (t, n), B, (item, k, token, n), states)
            copy(c_rows, (t, n), C, (item, k, token, n), states)
        for v in range(count):
            channel = (first + v) * WIDTH
            index = (item, k, token)
            d = step_size(delta, bias, index, k, first + v, channels, through_softplus)
            store(d_rows, (v, t, 0), d)
            if delta2 is not None:
                d = step_size(delta2, bias2, index, k, first + v, channels, through_softplus)
                store(d2_rows, (v, t, 0), d)
            store(x_rows, (v, t, 0), d * read(u, (item, token), channel, channels))
            store(g_rows, (v, t, 0), read(dy, (item, token), channel, channels))


@inner
def prefetch_gradient(item, k, token, channel, u, delta, delta2, dy, du, ddelta, ddelta2):
    """Ask for one vector of a token that comes soon, in everything that is read or written."""
    prefetch(u, (item, token, channel))
    prefetch(dy, (item, token, channel))
    prefetch_to_write(du, (item, token, channel))
    prefetch(delta, (item, k, token, channel))
    prefetch_to_write(ddelta, (item, k, token, channel))
    if delta2 is not None:
        prefetch(delta2, (item, k, token, channel))
        prefetch_to_write(ddelta2, (item, k, token, channel))


@inner
def sum_lanes(n, steps, lanes, sums, rows, states):
    """rows[t, n + j] = the sum of the lanes of row t·G + j."""
    G = len(states)
    for row in range(0, steps * G, WIDTH):
        sum_rows(lanes, row, sums, row)
    for t in range(steps):
        copy(rows, (t, n), sums, (t * G,), states)


@inner
def keep_chunk(v, n, steps, h, a, d_rows, x_rows, g_rows, b_rows, e_kept, p_kept, dc_lanes, states):
    """Run the chunk again, keeping e and p = e·h; dC."""
    G = len(states)
    for t in range(steps):
        e = exp2(load(d_rows, (v, t, 0), ONE) * a)
        p = e * h
        h = fma(load(x_rows, (v, t, 0), ONE), spread(b_rows, (t, n), states), p)
        store(e_kept, (t * G, 0), e)
        store(p_kept, (t * G, 0), p)
        g = load(g_rows, (v, t, 0), ONE)
        dc = fma(g, h, load(dc_lanes, (t * G, 0), states)) if v > 0 else g * h
        store(dc_lanes, (t * G, 0), dc)


@inner
def return_chunk(
    v, n, steps, carry, A, d_rows, x_rows, g_rows, b_rows, c_rows, e_kept, p_kept,
    db_lanes, dx_rows, dd_rows, states,
):  # fmt: skip
    """Go from the last step to the first; return the gradients of the state before and of A."""
    G = len(states)
    dA = zeros(states)
    for t in range(steps - 1, -1, -1):
        q = fma(spread(c_rows, (t, n), states), load(g_rows, (v, t, 0), ONE), carry)
        x = load(x_rows, (v, t, 0), ONE)
        db = fma(q, x, load(db_lanes, (t * G, 0), states)) if v > 0 else q * x
        store(db_lanes, (t * G, 0), db)
        dx = load(dx_rows, (v, t, 0), ONE) if n > 0 else zeros(ONE)
        store(dx_rows, (v, t, 0), dot(q, spread(b_rows, (t, n), states), dx))
        carry = q * load(e_kept, (t * G, 0), states)
        r = q * load(p_kept, (t * G, 0), states)
        dd = load(dd_rows, (v, t, 0), ONE) if n > 0 else zeros(ONE)
        store(dd_rows, (v, t, 0), dot(r, A, dd))
        dA = fma(r, load(d_rows, (v, t, 0), ONE), dA)
    return carry, dA


@inner
def keep_pair_chunk(
    v, n, steps, h, a, a2, d_rows, d2_rows, x_rows, g_rows, b_rows, e_kept, p_kept, p2_kept,
    dc_lanes, states,
):  # fmt: skip
    """`keep_chunk` for a pair; e is the whole transition, p and p2 its two halves times h."""
    G = len(states)
    for t in range(steps):
        e = exp2(fma(load(d_rows, (v, t, 0), ONE), a, -1.0))
        e2 = exp2(fma(load(d2_rows, (v, t, 0), ONE), a2, -1.0))
        p, p2 = e * h, e2 * h
        h = fma(load(x_rows, (v, t, 0), ONE), spread(b_rows, (t, n), states), p + p2)
        store(e_kept, (t * G, 0), e + e2)
        store(p_kept, (t * G, 0), p)
        store(p2_kept, (t * G, 0), p2)
        g = load(g_rows, (v, t, 0), ONE)
        dc = fma(g, h, load(dc_lanes, (t * G, 0), states)) if v > 0 else g * h
        store(dc_lanes, (t * G, 0), dc)


@inner
def return_pair_chunk(
    v, n, steps, carry, A, A2, d_rows, d2_rows, x_rows, g_rows, b_rows, c_rows,
    e_kept, p_kept, p2_kept, db_lanes, dx_rows, dd_rows, dd2_rows, states,
):  # fmt: skip
    """`return_chunk` for a pair, with the gradients of both halves."""
    G = len(states)
    dA, dA2 = zeros(states), zeros(states)
    for t in range(steps - 1, -1, -1):
        q = fma(spread(c_rows, (t, n), states), load(g_rows, (v, t, 0), ONE), carry)
        x = load(x_rows, (v, t, 0), ONE)
        db = fma(q, x, load(db_lanes, (t * G, 0), states)) if v > 0 else q * x
        store(db_lanes, (t * G, 0), db)
        dx = load(dx_rows, (v, t, 0), ONE) if n > 0 else zeros(ONE)
        store(dx_rows, (v, t, 0), dot(q, spread(b_rows, (t, n), states), dx))
        carry = q * load(e_kept, (t * G, 0), states)
        r = q * load(p_kept, (t * G, 0), states)
        dd = load(dd_rows, (v, t, 0), ONE) if n > 0 else zeros(ONE)
        store(dd_rows, (v, t, 0), dot(r, A, dd))
        dA = fma(r, load(d_rows, (v, t, 0), ONE), dA)
        r = q * load(p2_kept, (t * G, 0), states)
        dd = load(dd2_rows, (v, t, 0), ONE) if n > 0 else zeros(ONE)
        store(dd2_rows, (v, t, 0), dot(r, A2, dd))
        dA2 = fma(r, load(d2_rows, (v, t, 0), ONE), dA2)
    return carry, dA, dA2


@inner
def write_gradient_chunk(
    item, k, block, first, count, start, steps,
    u, delta2, through_softplus, skip, table,
    d_rows, d2_rows, g_rows, dx_rows, dd_rows, dd2_rows, db_rows, dc_rows,
    du, ddelta, dbias, ddelta2, dbias2, dB, dC, dskip, states,
):  # fmt: skip
    """Through the table: du, ddelta, dB and dC; what is summed over tokens: dbias and dskip."""
    for t in range(steps):
        token = table[k, start + t]
        for n in range(0, dB.shape[4], len(states)):
            copy(dB, (block, item, k, token, n), db_rows, (t, n), states)
            copy(dC, (block, item, k, token, n), dc_rows, (t, n), states)
    for few in range(0, steps, FEW):
        for v in range(count):
            write_gradient_vector(
                item, k, first, v, start, few, min(few + FEW, steps),
                u, delta2, through_softplus, skip, table,
                d_rows, d2_rows, g_rows, dx_rows, dd_rows, dd2_rows,
                du, ddelta, dbias, ddelta2, dbias2, dskip,
            )  # fmt: skip


@inner
def write_gradient_vector(
    item, k, first, v, start, begin, end,
    u, delta2, through_softplus, skip, table,
    d_rows, d2_rows, g_rows, dx_rows, dd_rows, dd2_rows,
    du, ddelta, dbias, ddelta2, dbias2, dskip,
):  # fmt: skip
    """One vector of a few steps, whose sums stay in registers."""
    vector = first + v
    channel, channels = vector * WIDTH, u.shape[2]
    D = load(skip, (vector, 0), ONE)
    d_sum, d2_sum, skip_sum = zeros(ONE), zeros(ONE), zeros(ONE)
    for t in range(begin, end):
        token = table[k, start + t]
        index = (item, k, token)
        value = read(u, (item, token), channel, channels)
        if k == 0:
            g = load(g_rows, (v, t, 0), ONE)
            gradient = D * g
            skip_sum = fma(g, value, skip_sum)
        else:
            gradient = read(du, (item, token), channel, channels)
        dx = load(dx_rows, (v, t, 0), ONE)
        d, dd = load(d_rows, (v, t, 0), ONE), load(dd_rows, (v, t, 0), ONE)
        if delta2 is None:
            dd = fma(dx, value, dd)
            drive = d
        else:
            drive = load(d2_rows, (v, t, 0), ONE)
            dd2 = fma(dx, value, load(dd2_rows, (v, t, 0), ONE)) * slope(drive, through_softplus)
            write(ddelta2, index, channel, channels, dd2)
            d2_sum = d2_sum + dd2
        dd = dd * slope(d, through_softplus)
        write(ddelta, index, channel, channels, dd)
        d_sum = d_sum + dd
        write(du, (item, token), channel, channels, fma(dx, drive, gradient))
    add(dbias, (item, k, vector, 0), d_sum, ONE)
    if delta2 is not None:
        add(dbias2, (item, k, vector, 0), d2_sum, ONE)
    if k == 0:
        add(dskip, (item, vector, 0), skip_sum, ONE)


@inner
def slope(d, through_softplus):
    """The derivative of the step size d by what it was made from: softplus's, or 1."""
    return softplus_slope(d) if through_softplus else exp2(zeros(ONE))
