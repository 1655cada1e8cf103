"""The kernels of a scan with a single state, N = 1, which are bound by memory.

Arrays, symbols and tasks as in kernel_forward.py and kernel_backward.py. With one exponential per
token and channel there is nothing to gain from copying a chunk into rows first: steps are taken
one by one, each over a block of channels, straight from and to the arrays. dB and dC are then sums
over the vectors of one step, in a register. Chunks are short, so that what the backward pass keeps
of one (d, e and p) stays in the first cache; their states are a sixteenth of delta.
"""

import numpy as np

from bandweave.scan.kernel_backward import LN2, add, slope
from bandweave.scan.kernel_cache import inner, kernel
from bandweave.scan.kernel_forward import (
    ONE,
    read,
    read_states,
    step_size,
    write,
    write_states,
)
from bandweave.scan.simd import (
    WIDTH,
    exp2,
    fma,
    load,
    spread,
    store,
    sum_rows,
    take_next,
    zeros,
)

CHUNK = 16  # steps between two saved states; as many as there are lanes, for `sum_rows`


@kernel
def forward_single_tasks(
    counter, tasks, width,
    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, C, skip, table,
    initial, y, last, starts, keep,
):  # fmt: skip
    """Take tasks until none is left; arguments as in `forward_tasks`."""
    vectors = skip.shape[0]
    blocks = (vectors + width - 1) // width
    channels = u.shape[2]
    state = np.empty((width, 1, WIDTH), np.float32)
    while True:
        task = take_next(counter)
        if task >= tasks:
            break
        item, first = task // blocks, task % blocks * width
        stop = min(first + width, vectors)
        for k in range(table.shape[0]):
            read_states(initial, item, k, first, stop - first, state)
            for t in range(table.shape[1]):
                if keep and t % CHUNK == 0:
                    for v in range(first, stop):
                        h = load(state, (v - first, 0, 0), ONE)
                        store(starts, (item, k, t // CHUNK, v, 0, 0), h)
                token = table[k, t]
                index = (item, k, token)
                b, c = spread(B, (*index, 0), ONE), spread(C, (*index, 0), ONE)
                for v in range(first, stop):
                    value = read(u, (item, token), v * WIDTH, channels)
                    d = step_size(delta, bias, index, k, v, channels, through_softplus)
                    a = load(rates, (k, v, 0, 0), ONE)
                    if delta2 is None:
                        e = exp2(d * a)
                        x = d * value
                    else:
                        d2 = step_size(delta2, bias2, index, k, v, channels, through_softplus)
                        a2 = load(rates2, (k, v, 0, 0), ONE)
                        e = exp2(fma(d, a, -1.0)) + exp2(fma(d2, a2, -1.0))
                        x = d2 * value
                    h = fma(e, load(state, (v - first, 0, 0), ONE), x * b)
                    store(state, (v - first, 0, 0), h)
                    if k == 0:
                        before = load(skip, (v, 0), ONE) * value
                    else:
                        before = read(y, (item, token), v * WIDTH, channels)
                    write(y, (item, token), v * WIDTH, channels, fma(h, c, before))
            write_states(last, item, k, first, stop - first, state)


@kernel
def backward_single_tasks(
    counter, tasks, width,
    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, C, skip, table, starts,
    dy, dlast, du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dB, dC, dskip, dinitial,
):  # fmt: skip
    """Take tasks until none is left; arguments as in `backward_tasks`."""
    vectors = skip.shape[0]
    blocks = (vectors + width - 1) // width
    T = table.shape[1]
    pair = delta2 is not None
    rows = (CHUNK, width, WIDTH)
    rows2 = rows if pair else (0, 0, WIDTH)
    d_rows, d2_rows = np.empty(rows, np.float32), np.empty(rows2, np.float32)
    p_rows, p2_rows = np.empty(rows, np.float32), np.empty(rows2, np.float32)
    e_rows = np.empty(rows, np.float32)
    db_lanes, dc_lanes = np.zeros((CHUNK, WIDTH), np.float32), np.zeros((CHUNK, WIDTH), np.float32)
    sums = np.empty(CHUNK, np.float32)
    sums_in_chunk = np.empty((5, width, WIDTH), np.float32)
    state, carry = np.empty((width, WIDTH), np.float32), np.empty((width, 1, WIDTH), np.float32)
    while True:
        task = take_next(counter)
        if task >= tasks:
            break
        item, block = task // blocks, task % blocks
        first = block * width
        last = min(first + width, vectors)
        for v in range(first, last):
            store(dskip, (item, v, 0), zeros(ONE))
        for k in range(table.shape[0]):
            read_states(dlast, item, k, first, last - first, carry)
            for v in range(first, last):
                store(dbias, (item, k, v, 0), zeros(ONE))
                store(drates, (item, k, v, 0, 0), zeros(ONE))
                if delta2 is not None:
                    store(dbias2, (item, k, v, 0), zeros(ONE))
                    store(drates2, (item, k, v, 0, 0), zeros(ONE))
            for chunk in range((T - 1) // CHUNK, -1, -1):
                start = chunk * CHUNK
                steps = min(CHUNK, T - start)
                for v in range(first, last):
                    store(state, (v - first, 0), load(starts, (item, k, chunk, v, 0, 0), ONE))
                keep_single_chunk(
                    item, k, first, last, start, steps,
                    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, table, dy,
                    state, d_rows, d2_rows, e_rows, p_rows, p2_rows, dc_lanes,
                )  # fmt: skip
                return_single_chunk(
                    item, k, first, last, start, steps,
                    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, C, skip,
                    table, dy, carry, d_rows, d2_rows, e_rows, p_rows, p2_rows, db_lanes,
                    du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dskip, sums_in_chunk,
                )  # fmt: skip
                sum_rows(db_lanes, 0, sums, 0)
                for t in range(steps):
                    dB[block, item, k, table[k, start + t], 0] = sums[t]
                sum_rows(dc_lanes, 0, sums, 0)
                for t in range(steps):
                    dC[block, item, k, table[k, start + t], 0] = sums[t]
            write_states(dinitial, item, k, first, last - first, carry)


@inner
def keep_single_chunk(
    item, k, first, last, start, steps,
    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, table, dy,
    state, d_rows, d2_rows, e_rows, p_rows, p2_rows, dc_lanes,
):  # fmt: skip
    """Run the chunk again, keeping d, e and p = e·h; dC."""
    channels = u.shape[2]
    for t in range(steps):
        token = table[k, start + t]
        index = (item, k, token)
        b = spread(B, (*index, 0), ONE)
        dc = zeros(ONE)
        for v in range(first, last):
            place = (t, v - first, 0)
            x = read(u, (item, token), v * WIDTH, channels)
            h = load(state, (v - first, 0), ONE)
            d = step_size(delta, bias, index, k, v, channels, through_softplus)
            a = load(rates, (k, v, 0, 0), ONE)
            store(d_rows, place, d)
            if delta2 is None:
                e = exp2(d * a)
                p = e * h
                store(e_rows, place, e)
                store(p_rows, place, p)
                h = fma(d * x, b, p)
            else:
                d2 = step_size(delta2, bias2, index, k, v, channels, through_softplus)
                a2 = load(rates2, (k, v, 0, 0), ONE)
                e, e2 = exp2(fma(d, a, -1.0)), exp2(fma(d2, a2, -1.0))
                p, p2 = e * h, e2 * h
                store(d2_rows, place, d2)
                store(e_rows, place, e + e2)
                store(p_rows, place, p)
                store(p2_rows, place, p2)
                h = fma(d2 * x, b, p + p2)
            store(state, (v - first, 0), h)
            dc = fma(read(dy, (item, token), v * WIDTH, channels), h, dc)
        store(dc_lanes, (t, 0), dc)


@inner
def return_single_chunk(
    item, k, first, last, start, steps,
    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, C, skip,
    table, dy, carry, d_rows, d2_rows, e_rows, p_rows, p2_rows, db_lanes,
    du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dskip, sums_in_chunk,
):  # fmt: skip
    """From the last step to the first, writing every gradient but dB and dC."""
    channels = u.shape[2]
    # rows of the sums: dbias, drates, dskip, dbias2, drates2
    sums_in_chunk[:] = 0
    for t in range(steps - 1, -1, -1):
        token = table[k, start + t]
        index = (item, k, token)
        b, c = spread(B, (*index, 0), ONE), spread(C, (*index, 0), ONE)
        db = zeros(ONE)
        for v in range(first, last):
            channel = v * WIDTH
            w = v - first
            place = (t, w, 0)
            value = read(u, (item, token), channel, channels)
            g = read(dy, (item, token), channel, channels)
            q = fma(c, g, load(carry, (w, 0, 0), ONE))
            store(carry, (w, 0, 0), q * load(e_rows, place, ONE))
            r = q * load(p_rows, place, ONE)
            d = load(d_rows, place, ONE)
            add(sums_in_chunk, (1, w, 0), r * d, ONE)
            dd = r * (load(rates, (k, v, 0, 0), ONE) * LN2)
            dx = q * b
            if delta2 is None:
                dd = fma(dx, value, dd)
                drive = d
            else:
                d2 = load(d2_rows, place, ONE)
                r = q * load(p2_rows, place, ONE)
                add(sums_in_chunk, (4, w, 0), r * d2, ONE)
                dd2 = fma(dx, value, r * (load(rates2, (k, v, 0, 0), ONE) * LN2))
                dd2 = dd2 * slope(delta2, bias2, index, k, v, channels, d2, through_softplus)
                write(ddelta2, index, channel, channels, dd2)
                add(sums_in_chunk, (3, w, 0), dd2, ONE)
                drive = d2
            dd = dd * slope(delta, bias, index, k, v, channels, d, through_softplus)
            write(ddelta, index, channel, channels, dd)
            add(sums_in_chunk, (0, w, 0), dd, ONE)
            db = fma(q, drive * value, db)
            if k == 0:
                du_before = load(skip, (v, 0), ONE) * g
                add(sums_in_chunk, (2, w, 0), g * value, ONE)
            else:
                du_before = read(du, (item, token), channel, channels)
            write(du, (item, token), channel, channels, fma(dx, drive, du_before))
        store(db_lanes, (t, 0), db)
    for v in range(first, last):
        w = v - first
        add(dbias, (item, k, v, 0), load(sums_in_chunk, (0, w, 0), ONE), ONE)
        add(drates, (item, k, v, 0, 0), load(sums_in_chunk, (1, w, 0), ONE), ONE)
        if k == 0:
            add(dskip, (item, v, 0), load(sums_in_chunk, (2, w, 0), ONE), ONE)
        if delta2 is not None:
            add(dbias2, (item, k, v, 0), load(sums_in_chunk, (3, w, 0), ONE), ONE)
            add(drates2, (item, k, v, 0, 0), load(sums_in_chunk, (4, w, 0), ONE), ONE)
