"""The kernels of a scan with a single state, N = 1, which are bound by memory.

Arrays, symbols and tasks as in forward.py and backward.py. With one exponential per
token and channel there is nothing to gain from copying a chunk into rows first. Forward, steps are
taken one by one, each over a block of channels, straight from and to the arrays. Backward, chunks
are short, so that what is kept of one vector's chunk (d, e and p) stays in the first cache, and
its carry and sums in registers; the saved states are a sixteenth of delta. Tokens that come soon
are asked for ahead: no hardware foresees a scan along columns.
"""

import numpy as np

from bandweave.scan.cpu.backward import LN2, add, prefetch_gradient, slope
from bandweave.scan.cpu.cache import inner, kernel
from bandweave.scan.cpu.forward import (
    ONE,
    read,
    read_states,
    step_size,
    write,
    write_states,
)
from bandweave.scan.cpu.lane_math import exp2
from bandweave.scan.cpu.lanes import (
    WIDTH,
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

AHEAD = 4  # steps
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
                if t + AHEAD < table.shape[1]:
                    ahead = table[k, t + AHEAD]
                    for v in range(first, stop):
                        prefetch(u, (item, ahead, v * WIDTH))
                        prefetch(delta, (item, k, ahead, v * WIDTH))
                        prefetch_to_write(y, (item, ahead, v * WIDTH))
                        if delta2 is not None:
                            prefetch(delta2, (item, k, ahead, v * WIDTH))
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
    rows = (CHUNK, WIDTH)
    d_rows, e_rows = np.empty(rows, np.float32), np.empty(rows, np.float32)
    p_rows, p2_rows = np.empty(rows, np.float32), np.empty(rows, np.float32)
    d2_rows = np.empty(rows, np.float32)
    db_lanes, dc_lanes = np.empty(rows, np.float32), np.empty(rows, np.float32)
    sums = np.empty(CHUNK, np.float32)
    carry = np.empty((width, 1, WIDTH), np.float32)
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
                db_lanes[:] = 0
                dc_lanes[:] = 0
                for v in range(first, last):
                    h = load(starts, (item, k, chunk, v, 0, 0), ONE)
                    q = load(carry, (v - first, 0, 0), ONE)
                    keep_single_chunk(
                        item, k, v, start, steps, h,
                        u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, table,
                        dy, du, ddelta, ddelta2, d_rows, d2_rows, e_rows, p_rows, p2_rows, dc_lanes,
                    )  # fmt: skip
                    q = return_single_chunk(
                        item, k, v, start, steps, q,
                        u, rates, delta2, rates2, through_softplus, B, C, skip, table, dy,
                        d_rows, d2_rows, e_rows, p_rows, p2_rows, db_lanes,
                        du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dskip,
                    )  # fmt: skip
                    store(carry, (v - first, 0, 0), q)
                sum_rows(db_lanes, 0, sums, 0)
                for t in range(steps):
                    dB[block, item, k, table[k, start + t], 0] = sums[t]
                sum_rows(dc_lanes, 0, sums, 0)
                for t in range(steps):
                    dC[block, item, k, table[k, start + t], 0] = sums[t]
            write_states(dinitial, item, k, first, last - first, carry)


@inner
def keep_single_chunk(
    item, k, v, start, steps, h,
    u, delta, bias, rates, delta2, bias2, rates2, through_softplus, B, table,
    dy, du, ddelta, ddelta2, d_rows, d2_rows, e_rows, p_rows, p2_rows, dc_lanes,
):  # fmt: skip
    """Run one vector's chunk again from h, keeping d, e and p = e·h; dC."""
    channel, channels = v * WIDTH, u.shape[2]
    a = load(rates, (k, v, 0, 0), ONE)
    for t in range(steps):
        token = table[k, start + t]
        index = (item, k, token)
        if start >= CHUNK:
            ahead = table[k, start + t - CHUNK]
            prefetch_gradient(item, k, ahead, channel, u, delta, delta2, dy, du, ddelta, ddelta2)
        b = spread(B, (*index, 0), ONE)
        value = read(u, (item, token), channel, channels)
        d = step_size(delta, bias, index, k, v, channels, through_softplus)
        store(d_rows, (t, 0), d)
        if delta2 is None:
            e = exp2(d * a)
            p = e * h
            h = fma(d * value, b, p)
        else:
            d2 = step_size(delta2, bias2, index, k, v, channels, through_softplus)
            a2 = load(rates2, (k, v, 0, 0), ONE)
            e, e2 = exp2(fma(d, a, -1.0)), exp2(fma(d2, a2, -1.0))
            p, p2 = e * h, e2 * h
            store(d2_rows, (t, 0), d2)
            store(p2_rows, (t, 0), p2)
            h = fma(d2 * value, b, p + p2)
            e = e + e2
        store(e_rows, (t, 0), e)
        store(p_rows, (t, 0), p)
        dc = load(dc_lanes, (t, 0), ONE)
        store(dc_lanes, (t, 0), fma(read(dy, (item, token), channel, channels), h, dc))


@inner
def return_single_chunk(
    item, k, v, start, steps, carry,
    u, rates, delta2, rates2, through_softplus, B, C, skip, table, dy,
    d_rows, d2_rows, e_rows, p_rows, p2_rows, db_lanes,
    du, ddelta, dbias, drates, ddelta2, dbias2, drates2, dskip,
):  # fmt: skip
    """One vector from the last step to the first: every gradient but dC; returns the carry."""
    channel, channels = v * WIDTH, u.shape[2]
    A = load(rates, (k, v, 0, 0), ONE) * LN2
    D = load(skip, (v, 0), ONE)
    d_sum, d2_sum, a_sum, a2_sum, skip_sum = (
        zeros(ONE), zeros(ONE), zeros(ONE), zeros(ONE), zeros(ONE),
    )  # fmt: skip
    for t in range(steps - 1, -1, -1):
        token = table[k, start + t]
        index = (item, k, token)
        value = read(u, (item, token), channel, channels)
        g = read(dy, (item, token), channel, channels)
        d = load(d_rows, (t, 0), ONE)
        q = fma(spread(C, (*index, 0), ONE), g, carry)
        carry = q * load(e_rows, (t, 0), ONE)
        r = q * load(p_rows, (t, 0), ONE)
        a_sum = fma(r, d, a_sum)
        dd, dx = r * A, q * spread(B, (*index, 0), ONE)
        if delta2 is None:
            dd = fma(dx, value, dd)
            drive = d
        else:
            drive = load(d2_rows, (t, 0), ONE)
            r = q * load(p2_rows, (t, 0), ONE)
            a2_sum = fma(r, drive, a2_sum)
            dd2 = fma(dx, value, r * (load(rates2, (k, v, 0, 0), ONE) * LN2))
            dd2 = dd2 * slope(drive, through_softplus)
            write(ddelta2, index, channel, channels, dd2)
            d2_sum = d2_sum + dd2
        dd = dd * slope(d, through_softplus)
        write(ddelta, index, channel, channels, dd)
        d_sum = d_sum + dd
        db = load(db_lanes, (t, 0), ONE)
        store(db_lanes, (t, 0), fma(q, drive * value, db))
        if k == 0:
            before = D * g
            skip_sum = fma(g, value, skip_sum)
        else:
            before = read(du, (item, token), channel, channels)
        write(du, (item, token), channel, channels, fma(dx, drive, before))
    add(dbias, (item, k, v, 0), d_sum, ONE)
    add(drates, (item, k, v, 0, 0), a_sum, ONE)
    if k == 0:
        add(dskip, (item, v, 0), skip_sum, ONE)
    if delta2 is not None:
        add(dbias2, (item, k, v, 0), d2_sum, ONE)
        add(drates2, (item, k, v, 0, 0), a2_sum, ONE)
    return carry
