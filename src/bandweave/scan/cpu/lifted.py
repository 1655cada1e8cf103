"""The kernels of a scan of lifted values on a CPU (see scan/lifted.py for symbols and formula).

A lane is a position: 16 of them go through all of their steps together, so that B, C and Δ of a
step, which all features share, are vectors as well, and nothing is padded. Everything between the
values and what is made of them stays in the second cache; B, C and Δ never lie in memory.

    s, y, g       (P, L)          values; results; the gradient of the results
    lift          (F, 4)          weights of three neighbours, and the bias
    project       (K, F, 2·N + 1) to B, C and the step size's factor
    steps         (K, F, 2)       weight and bias of the step sizes
    rates         (K, F, N)       A·log₂e
    skip, lower   (F,)            D summed over the orders; the weights of the result
    parts         (tasks, …)      gradients of all parameters, in their order, one part a task

Work per position, step, order and feature: forward N exponentials and a softplus; backward the
states are computed twice more, once to have one for each chunk of CHUNK steps.
"""

import numpy as np

from bandweave.scan.cpu.backward import LN2
from bandweave.scan.cpu.cache import inner, kernel
from bandweave.scan.cpu.lane_math import exp2, sigmoid, softplus, softplus_slope
from bandweave.scan.cpu.lanes import (
    WIDTH,
    dot,
    fma,
    load,
    spread,
    store,
    take_next,
    zeros,
)

ONE = (0,)
CHUNK = 16  # steps; what a state's chunk keeps lies in the first cache
BLOCKS = 4  # of 16 positions, in a task


@kernel
def lifted_forward_tasks(
    counter, tasks, states, s, lift, project, steps, rates, skip, lower, y
):  # fmt: skip
    """Take tasks until none is left."""
    (P, L), (K, F, N) = s.shape, rates.shape
    s_rows, y_rows = np.zeros((L + 2, WIDTH), np.float32), np.empty((L, WIDTH), np.float32)
    u_rows = np.empty((F * L, WIDTH), np.float32)
    d_rows = np.empty((F * CHUNK, WIDTH), np.float32)
    j_rows = np.empty((CHUNK * (2 * N + 1), WIDTH), np.float32)
    h_rows = np.empty((F * N, WIDTH), np.float32)
    while True:
        task = take_next(counter)
        if task >= tasks:
            break
        for first in range(task * BLOCKS * WIDTH, min((task + 1) * BLOCKS * WIDTH, P), WIDTH):
            count = min(WIDTH, P - first)
            read_block(s, first, count, s_rows, 1)
            for c in range(L):
                store(y_rows, (c, 0), zeros(ONE))
            for f in range(F):
                weight = spread(lower, (f,), ONE) * spread(skip, (f,), ONE)
                for c in range(L):
                    x = lift_value(s_rows, c, lift, f)
                    u = x * sigmoid(x)
                    store(u_rows, (f * L + c, 0), u)
                    store(y_rows, (c, 0), fma(weight, u, load(y_rows, (c, 0), ONE)))
            for k in range(K):
                h_rows[:] = 0
                for start in range(0, L, CHUNK):
                    length = min(CHUNK, L - start)
                    for i in range(length):
                        c = start + i if k == 0 else L - 1 - start - i
                        project_step(k, i, c, L, project, u_rows, j_rows, N, states)
                        factor = load(j_rows, (i * (2 * N + 1) + 2 * N, 0), ONE)
                        for f in range(F):
                            raw = fma(
                                factor, spread(steps, (k, f, 0), ONE), spread(steps, (k, f, 1), ONE)
                            )
                            store(d_rows, (f * CHUNK + i, 0), softplus(raw))
                    for f in range(F):
                        for n in range(0, N, len(states)):
                            run_chunk(
                                k, f, n, N, start, length, L,
                                rates, lower, u_rows, d_rows, j_rows, h_rows, y_rows, states,
                            )  # fmt: skip
            write_block(y_rows, 0, y, first, count)


@inner
def read_block(values, first, count, rows, shift):
    """rows[shift + c, lane] = values[first + lane, c]; 0 in lanes beyond."""
    for lane in range(count):
        for c in range(values.shape[1]):
            rows[shift + c, lane] = values[first + lane, c]
    for lane in range(count, WIDTH):
        for c in range(values.shape[1]):
            rows[shift + c, lane] = 0


@inner
def write_block(rows, shift, values, first, count):
    """values[first + lane, c] = rows[shift + c, lane]"""
    for lane in range(count):
        for c in range(values.shape[1]):
            values[first + lane, c] = rows[shift + c, lane]


@inner
def lift_value(s_rows, c, lift, f):
    """Feature f of value c, before its SiLU."""
    x = fma(spread(lift, (f, 0), ONE), load(s_rows, (c, 0), ONE), spread(lift, (f, 3), ONE))
    x = fma(spread(lift, (f, 1), ONE), load(s_rows, (c + 1, 0), ONE), x)
    return fma(spread(lift, (f, 2), ONE), load(s_rows, (c + 2, 0), ONE), x)


@inner
def project_step(k, i, c, L, project, u_rows, j_rows, N, states):
    """B, C and the step size's factor of value c, to rows from i·(2·N + 1) on."""
    F, J = project.shape[1], 2 * N + 1
    for j in range(0, 2 * N, len(states)):
        total = zeros(states)
        for f in range(F):
            total = fma(
                load(u_rows, (f * L + c, 0), ONE), spread(project, (k, f, j), states), total
            )
        store(j_rows, (i * J + j, 0), total)
    factor = zeros(ONE)
    for f in range(F):
        factor = fma(load(u_rows, (f * L + c, 0), ONE), spread(project, (k, f, 2 * N), ONE), factor)
    store(j_rows, (i * J + 2 * N, 0), factor)


@inner
def run_chunk(
    k, f, n, N, start, length, L, rates, lower, u_rows, d_rows, j_rows, h_rows, y_rows, states
):  # fmt: skip
    """A chunk of one feature and a group of its states; y."""
    J = 2 * N + 1
    h = load(h_rows, (f * N + n, 0), states)
    a = spread(rates, (k, f, n), states)
    weight = spread(lower, (f,), ONE)
    for i in range(length):
        c = start + i if k == 0 else L - 1 - start - i
        d = load(d_rows, (f * CHUNK + i, 0), ONE)
        x = d * load(u_rows, (f * L + c, 0), ONE)
        h = fma(exp2(d * a), h, x * load(j_rows, (i * J + n, 0), states))
        part = dot(h, load(j_rows, (i * J + N + n, 0), states), zeros(ONE))
        store(y_rows, (c, 0), fma(weight, part, load(y_rows, (c, 0), ONE)))
    store(h_rows, (f * N + n, 0), h)


@kernel
def lifted_backward_tasks(
    counter, tasks, states, s, lift, project, steps, rates, skip, lower, g, ds, parts
):  # fmt: skip
    """Take tasks until none is left."""
    (P, L), (K, F, N) = s.shape, rates.shape
    J, chunks = 2 * N + 1, (L + CHUNK - 1) // CHUNK
    s_rows, ds_rows = np.zeros((L + 2, WIDTH), np.float32), np.empty((L, WIDTH), np.float32)
    g_rows = np.empty((L, WIDTH), np.float32)
    u_rows, slopes = np.empty((F * L, WIDTH), np.float32), np.empty((F * L, WIDTH), np.float32)
    du_rows, d_rows = np.empty((F * L, WIDTH), np.float32), np.empty((F * L, WIDTH), np.float32)
    j_rows, dj_rows = np.empty((L * J, WIDTH), np.float32), np.empty((CHUNK * J, WIDTH), np.float32)
    starts = np.empty((chunks * F * N, WIDTH), np.float32)
    carry = np.empty((F * N, WIDTH), np.float32)
    e_kept = np.empty((CHUNK * len(states), WIDTH), np.float32)
    p_kept = np.empty((CHUNK * len(states), WIDTH), np.float32)
    dx_rows, dd_rows = np.empty((CHUNK, WIDTH), np.float32), np.empty((CHUNK, WIDTH), np.float32)
    # sums of the parameters' gradients, lane by lane, in the order of `parts`
    of_project = 4 * F
    of_steps = of_project + K * F * J
    of_rates = of_steps + 2 * K * F
    of_skip = of_rates + K * F * N
    of_lower = of_skip + F
    sums = np.empty((of_lower + F, WIDTH), np.float32)
    while True:
        task = take_next(counter)
        if task >= tasks:
            break
        sums[:] = 0
        for first in range(task * BLOCKS * WIDTH, min((task + 1) * BLOCKS * WIDTH, P), WIDTH):
            count = min(WIDTH, P - first)
            read_block(s, first, count, s_rows, 1)
            read_block(g, first, count, g_rows, 0)
            for f in range(F):
                through, of_u = spread(skip, (f,), ONE), zeros(ONE)
                weight = spread(lower, (f,), ONE) * through
                for c in range(L):
                    x = lift_value(s_rows, c, lift, f)
                    sigma = sigmoid(x)
                    u = x * sigma
                    store(u_rows, (f * L + c, 0), u)
                    store(slopes, (f * L + c, 0), fma(u, spread(lift, (F, 0), ONE) - sigma, sigma))
                    of_y = load(g_rows, (c, 0), ONE)
                    store(du_rows, (f * L + c, 0), weight * of_y)
                    of_u = fma(of_y, u, of_u)
                add(sums, of_skip + f, of_u * spread(lower, (f,), ONE), ONE)
                add(sums, of_lower + f, of_u * through, ONE)
            for k in range(K):
                for i in range(L):
                    c = i if k == 0 else L - 1 - i
                    project_step(k, i, c, L, project, u_rows, j_rows, N, states)
                    factor = load(j_rows, (i * J + 2 * N, 0), ONE)
                    for f in range(F):
                        raw = fma(
                            factor, spread(steps, (k, f, 0), ONE), spread(steps, (k, f, 1), ONE)
                        )
                        store(d_rows, (f * L + i, 0), softplus(raw))
                for f in range(F):
                    for n in range(0, N, len(states)):
                        keep_starts(
                            k, f, n, N, L, rates, u_rows, d_rows, j_rows, starts, states
                        )  # fmt: skip
                carry[:] = 0
                for chunk in range(chunks - 1, -1, -1):
                    start = chunk * CHUNK
                    length = min(CHUNK, L - start)
                    dj_rows[:] = 0
                    for f in range(F):
                        for n in range(0, N, len(states)):
                            return_lifted_chunk(
                                k, f, n, N, chunk, start, length, L, of_rates, of_lower,
                                rates, lower, g_rows, u_rows, d_rows, j_rows, starts, carry,
                                e_kept, p_kept, dx_rows, dd_rows, dj_rows, sums, states,
                            )  # fmt: skip
                        return_steps(
                            k, f, start, length, L, J, of_steps,
                            steps, u_rows, d_rows, j_rows, dx_rows, dd_rows, du_rows, dj_rows, sums,
                        )  # fmt: skip
                    for f in range(F):
                        return_projection(
                            k, f, N, start, length, L, of_project,
                            project, u_rows, dj_rows, du_rows, sums, states,
                        )  # fmt: skip
            return_lift(L, F, lift, s_rows, slopes, du_rows, ds_rows, sums)
            write_block(ds_rows, 0, ds, first, count)
        for row in range(sums.shape[0]):
            total = np.float32(0)
            for lane in range(WIDTH):
                total += sums[row, lane]
            parts[task, row] = total


@inner
def add(sums, row, part, states):
    """sums[row …] += part"""
    store(sums, (row, 0), load(sums, (row, 0), states) + part)


@inner
def keep_starts(k, f, n, N, L, rates, u_rows, d_rows, j_rows, starts, states):
    """The states before each chunk, of one feature and a group of its states."""
    F, J = rates.shape[1], 2 * N + 1
    h, a = zeros(states), spread(rates, (k, f, n), states)
    for start in range(0, L, CHUNK):
        store(starts, (start // CHUNK * F * N + f * N + n, 0), h)
        if start + CHUNK < L:  # nothing comes after the last
            for i in range(start, start + CHUNK):
                c = i if k == 0 else L - 1 - i
                d = load(d_rows, (f * L + i, 0), ONE)
                x = d * load(u_rows, (f * L + c, 0), ONE)
                h = fma(exp2(d * a), h, x * load(j_rows, (i * J + n, 0), states))


@inner
def return_lifted_chunk(
    k, f, n, N, chunk, start, length, L, of_rates, of_lower,
    rates, lower, g_rows, u_rows, d_rows, j_rows, starts, carry,
    e_kept, p_kept, dx_rows, dd_rows, dj_rows, sums, states,
):  # fmt: skip
    """A chunk of one feature and a group of its states, again and back: dx, dd, dB and dC."""
    F, J, G = rates.shape[1], 2 * N + 1, len(states)
    a = spread(rates, (k, f, n), states)
    weight = spread(lower, (f,), ONE)
    h = load(starts, (chunk * F * N + f * N + n, 0), states)
    of_weight = zeros(ONE)
    for t in range(length):
        i = start + t
        c = i if k == 0 else L - 1 - i
        d = load(d_rows, (f * L + i, 0), ONE)
        e = exp2(d * a)
        p = e * h
        h = fma(d * load(u_rows, (f * L + c, 0), ONE), load(j_rows, (i * J + n, 0), states), p)
        store(e_kept, (t * G, 0), e)
        store(p_kept, (t * G, 0), p)
        of_y = load(g_rows, (c, 0), ONE)
        y = dot(h, load(j_rows, (i * J + N + n, 0), states), zeros(ONE))
        of_weight = fma(of_y, y, of_weight)
        dc = load(dj_rows, (t * J + N + n, 0), states)
        store(dj_rows, (t * J + N + n, 0), fma(of_y * weight, h, dc))
    add(sums, of_lower + f, of_weight, ONE)
    q, da = load(carry, (f * N + n, 0), states), zeros(states)
    rate = a * LN2
    for t in range(length - 1, -1, -1):
        i = start + t
        c = i if k == 0 else L - 1 - i
        d = load(d_rows, (f * L + i, 0), ONE)
        x = d * load(u_rows, (f * L + c, 0), ONE)
        of_y = load(g_rows, (c, 0), ONE) * weight
        q = fma(load(j_rows, (i * J + N + n, 0), states), of_y, q)
        db = load(dj_rows, (t * J + n, 0), states)
        store(dj_rows, (t * J + n, 0), fma(q, x, db))
        dx = load(dx_rows, (t, 0), ONE) if n > 0 else zeros(ONE)
        store(dx_rows, (t, 0), dot(q, load(j_rows, (i * J + n, 0), states), dx))
        r = q * load(p_kept, (t * G, 0), states)
        q = q * load(e_kept, (t * G, 0), states)
        dd = load(dd_rows, (t, 0), ONE) if n > 0 else zeros(ONE)
        store(dd_rows, (t, 0), dot(r, rate, dd))
        da = fma(r, d, da)
    store(carry, (f * N + n, 0), q)
    add(sums, of_rates + (k * F + f) * N + n, da, states)


@inner
def return_steps(
    k, f, start, length, L, J, of_steps,
    steps, u_rows, d_rows, j_rows, dx_rows, dd_rows, du_rows, dj_rows, sums,
):  # fmt: skip
    """Of one feature, from dx and dd: du, and what the step sizes are made of."""
    F = steps.shape[1]
    weight = spread(steps, (k, f, 0), ONE)
    of_weight, of_bias = zeros(ONE), zeros(ONE)
    for t in range(length):
        i = start + t
        c = i if k == 0 else L - 1 - i
        d, dx = load(d_rows, (f * L + i, 0), ONE), load(dx_rows, (t, 0), ONE)
        du = load(du_rows, (f * L + c, 0), ONE)
        store(du_rows, (f * L + c, 0), fma(dx, d, du))
        dd = fma(dx, load(u_rows, (f * L + c, 0), ONE), load(dd_rows, (t, 0), ONE))
        dd = dd * softplus_slope(d)
        of_bias = of_bias + dd
        of_weight = fma(dd, load(j_rows, (i * J + J - 1, 0), ONE), of_weight)
        before = load(dj_rows, (t * J + J - 1, 0), ONE)
        store(dj_rows, (t * J + J - 1, 0), fma(dd, weight, before))
    add(sums, of_steps + 2 * (k * F + f), of_weight, ONE)
    add(sums, of_steps + 2 * (k * F + f) + 1, of_bias, ONE)


@inner
def return_projection(
    k, f, N, start, length, L, of_project, project, u_rows, dj_rows, du_rows, sums, states
):  # fmt: skip
    """Of one feature: du and the projection, from dB, dC and the step sizes' factor."""
    F, J = project.shape[1], 2 * N + 1
    place = of_project + (k * F + f) * J
    for j in range(0, 2 * N, len(states)):
        weight, total = spread(project, (k, f, j), states), zeros(states)
        for t in range(length):
            c = start + t if k == 0 else L - 1 - start - t
            row = f * L + c
            dj = load(dj_rows, (t * J + j, 0), states)
            total = fma(dj, load(u_rows, (row, 0), ONE), total)
            store(du_rows, (row, 0), dot(dj, weight, load(du_rows, (row, 0), ONE)))
        add(sums, place + j, total, states)
    of_factor, weight_of_factor = zeros(ONE), spread(project, (k, f, 2 * N), ONE)
    for t in range(length):
        c = start + t if k == 0 else L - 1 - start - t
        row = f * L + c
        dj = load(dj_rows, (t * J + 2 * N, 0), ONE)
        of_factor = fma(dj, load(u_rows, (row, 0), ONE), of_factor)
        store(du_rows, (row, 0), fma(dj, weight_of_factor, load(du_rows, (row, 0), ONE)))
    add(sums, place + 2 * N, of_factor, ONE)


@inner
def return_lift(L, F, lift, s_rows, slopes, du_rows, ds_rows, sums):
    """ds and the lift, from du."""
    for c in range(L):
        store(ds_rows, (c, 0), zeros(ONE))
    for f in range(F):
        left, middle, right = (
            spread(lift, (f, 0), ONE), spread(lift, (f, 1), ONE), spread(lift, (f, 2), ONE),
        )  # fmt: skip
        of_left, of_middle, of_right, of_bias = zeros(ONE), zeros(ONE), zeros(ONE), zeros(ONE)
        for c in range(L):
            dx = load(du_rows, (f * L + c, 0), ONE) * load(slopes, (f * L + c, 0), ONE)
            of_left = fma(dx, load(s_rows, (c, 0), ONE), of_left)
            of_middle = fma(dx, load(s_rows, (c + 1, 0), ONE), of_middle)
            of_right = fma(dx, load(s_rows, (c + 2, 0), ONE), of_right)
            of_bias = of_bias + dx
            if c > 0:
                store(ds_rows, (c - 1, 0), fma(dx, left, load(ds_rows, (c - 1, 0), ONE)))
            store(ds_rows, (c, 0), fma(dx, middle, load(ds_rows, (c, 0), ONE)))
            if c + 1 < L:
                store(ds_rows, (c + 1, 0), fma(dx, right, load(ds_rows, (c + 1, 0), ONE)))
        add(sums, 4 * f, of_left, ONE)
        add(sums, 4 * f + 1, of_middle, ONE)
        add(sums, 4 * f + 2, of_right, ONE)
        add(sums, 4 * f + 3, of_bias, ONE)
