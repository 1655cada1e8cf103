"""The forward kernel of the selective scan on a CPU.

    u       (B, T, E)        delta, delta2   (B, K, T, E)     bias, bias2  (K, V, 16)
    B, C    (B, K, T, N)     table           (K, T)           skip         (V, 16)
    rates   (K, V, N, 16)    A·log₂e, so that exp(delta·A) = exp2(delta·rates); rates2: of A2
    y       (B, T, E)        starts          (B, K, chunks, V, N, 16), the states before each chunk
    initial (B, K, V, N, 16) the states before the first step, (0, K, V, N, 16) for zero
    last    (B, K, V, N, 16) the states after the last step
    K sequences, T tokens, E channels, N states, V = ⌈E / 16⌉ vectors of channels

A task is one item of the batch and a block of its channel vectors. It takes the sequences one
after the other, so that it may add them up in y without a race, in chunks of steps:

    1. read the chunk's tokens through the table, rows of channels at a time: memory stays
       sequential, and softplus is taken once per token and channel; ask for the next chunk's;
    2. for every vector and group of states, run the chunk with the states in registers;
    3. write the chunk's part of y through the table.

Work per token, sequence and channel: N exponentials (10 operations each with AVX-512, 14 without)
and 4 N multiply-adds. Memory: u, y and delta once per sequence, B and C once per block. What a
task computes depends on its index alone, so the result does not depend on the number of threads.
"""

import numpy as np

from bandweave.scan.cpu.cache import inner, kernel
from bandweave.scan.cpu.lane_math import exp2, softplus
from bandweave.scan.cpu.lanes import (
    WIDTH,
    copy,
    dot,
    fma,
    load,
    load_some,
    prefetch,
    prefetch_to_write,
    spread,
    store,
    store_some,
    take_next,
)

CHUNK = 64  # steps between two saved states
ROWS = CHUNK + 1  # so that the buffers of two vectors do not fall into the same cache sets
ONE = (0,)  # a group of one vector


@inner
def read(array, index, channel, channels):
    """One vector of array[index, channel …], with zeros beyond the last channel."""
    if channel + WIDTH <= channels:
        return load(array, (*index, channel), ONE)
    return load_some(array, (*index, channel), channels - channel)


@inner
def write(array, index, channel, channels, value):
    """The part of a vector that lies before the last channel."""
    if channel + WIDTH <= channels:
        store(array, (*index, channel), value)
    else:
        store_some(array, (*index, channel), value, channels - channel)


@inner
def step_size(delta, bias, index, k, vector, channels, through_softplus):
    """delta, plus its bias, through softplus if asked."""
    d = read(delta, index, vector * WIDTH, channels) + load(bias, (k, vector, 0), ONE)
    return softplus(d) if through_softplus else d


@kernel
def forward_tasks(
    counter,
    tasks,
    width,
    states,
    u,
    delta,
    bias,
    rates,
    delta2,
    bias2,
    rates2,
    through_softplus,
    B,
    C,
    skip,
    table,
    initial,
    y,
    last,
    starts,
    keep,
):
    """Take tasks until none is left.

    counter: (1,), shared by the threads; width: vectors per block; states: a tuple as long as a
    group of states; delta2, bias2, rates2: None without a second pair; keep: store `starts`.
    """
    vectors = skip.shape[0]
    blocks = (vectors + width - 1) // width
    N = B.shape[3]
    d_rows = np.empty((width, ROWS, WIDTH), np.float32)
    d2_rows = np.empty((width if delta2 is not None else 0, ROWS, WIDTH), np.float32)
    x_rows = np.empty((width, ROWS, WIDTH), np.float32)
    y_rows = np.empty((width, ROWS, WIDTH), np.float32)
    b_rows = np.empty((CHUNK, N), np.float32)
    c_rows = np.empty((CHUNK, N), np.float32)
    state = np.empty((width, N, WIDTH), np.float32)
    while True:
        task = take_next(counter)
        if task >= tasks:
            break
        item, block = task // blocks, task % blocks
        first = block * width
        count = min(width, vectors - first)
        for k in range(table.shape[0]):
            read_states(initial, item, k, first, count, state)
            for start in range(0, table.shape[1], CHUNK):
                stop = min(start + CHUNK, table.shape[1])
                read_chunk(
                    item, k, first, count, start, stop,
                    u, delta, bias, delta2, bias2, through_softplus, B, C, skip, table, y,
                    d_rows, d2_rows, x_rows, y_rows, b_rows, c_rows, states,
                )  # fmt: skip
                for v in range(count):
                    for n in range(0, N, len(states)):
                        h = load(state, (v, n, 0), states)
                        if keep:
                            store(starts, (item, k, start // CHUNK, first + v, n, 0), h)
                        a = load(rates, (k, first + v, n, 0), states)
                        if delta2 is None:
                            h = run_chunk(
                                v, n, stop - start, h, a, d_rows, x_rows, b_rows, c_rows, y_rows,
                                states,
                            )  # fmt: skip
                        else:
                            a2 = load(rates2, (k, first + v, n, 0), states)
                            h = run_pair_chunk(
                                v, n, stop - start, h, a, a2, d_rows, d2_rows, x_rows, b_rows,
                                c_rows, y_rows, states,
                            )  # fmt: skip
                        store(state, (v, n, 0), h)
                for t in range(start, stop):
                    token = table[k, t]
                    for v in range(count):
                        value = load(y_rows, (v, t - start, 0), ONE)
                        write(y, (item, token), (first + v) * WIDTH, u.shape[2], value)
            write_states(last, item, k, first, count, state)


@inner
def read_states(source, item, k, first, count, state):
    """A block's states from (B, K, V, N, 16); zero if it has no item."""
    if source.shape[0] == 0:
        state[:] = 0
    else:
        for v in range(count):
            for n in range(source.shape[3]):
                store(state, (v, n, 0), load(source, (item, k, first + v, n, 0), ONE))


@inner
def write_states(target, item, k, first, count, state):
    """A block's states to (B, K, V, N, 16)."""
    for v in range(count):
        for n in range(target.shape[3]):
            store(target, (item, k, first + v, n, 0), load(state, (v, n, 0), ONE))


@inner
def read_chunk(
    item, k, first, count, start, stop,
    u, delta, bias, delta2, bias2, through_softplus, B, C, skip, table, y,
    d_rows, d2_rows, x_rows, y_rows, b_rows, c_rows, states,
):  # fmt: skip
    """Fill the rows: step sizes, x = step size · u, y as it stands, B and C."""
    channels = u.shape[2]
    for t in range(stop - start):
        token = table[k, start + t]
        if start + t + CHUNK < table.shape[1]:
            ahead = table[k, start + t + CHUNK]
            for v in range(first, first + count):
                prefetch(u, (item, ahead, v * WIDTH))
                prefetch_to_write(y, (item, ahead, v * WIDTH))
                prefetch(delta, (item, k, ahead, v * WIDTH))
                if delta2 is not None:
                    prefetch(delta2, (item, k, ahead, v * WIDTH))
        for n in range(0, B.shape[3], len(states)):
            copy(b_rows, (t, n), B, (item, k, token, n), states)
            copy(c_rows, (t, n), C, (item, k, token, n), states)
        for v in range(count):
            channel = (first + v) * WIDTH
            index = (item, k, token)
            value = read(u, (item, token), channel, channels)
            d = step_size(delta, bias, index, k, first + v, channels, through_softplus)
            store(d_rows, (v, t, 0), d)
            if delta2 is not None:
                d = step_size(delta2, bias2, index, k, first + v, channels, through_softplus)
                store(d2_rows, (v, t, 0), d)
            store(x_rows, (v, t, 0), d * value)
            if k == 0:
                store(y_rows, (v, t, 0), load(skip, (first + v, 0), ONE) * value)
            else:
                store(y_rows, (v, t, 0), read(y, (item, token), channel, channels))


@inner
def run_chunk(v, n, steps, h, a, d_rows, x_rows, b_rows, c_rows, y_rows, states):
    """One vector, one group of states: h ← exp2(d·a)·h + x·B, y += Σ C·h."""
    for t in range(steps):
        d, x = load(d_rows, (v, t, 0), ONE), load(x_rows, (v, t, 0), ONE)
        h = fma(exp2(d * a), h, x * spread(b_rows, (t, n), states))
        y = load(y_rows, (v, t, 0), ONE)
        store(y_rows, (v, t, 0), dot(h, spread(c_rows, (t, n), states), y))
    return h


@inner
def run_pair_chunk(v, n, steps, h, a, a2, d_rows, d2_rows, x_rows, b_rows, c_rows, y_rows, states):
    """`run_chunk` for a pair, with the transition ½ (exp2(d·a) + exp2(d2·a2)).""" ""
    for t in range(steps):
        d, d2 = load(d_rows, (v, t, 0), ONE), load(d2_rows, (v, t, 0), ONE)
        x = load(x_rows, (v, t, 0), ONE)
        transition = exp2(fma(d, a, -1.0)) + exp2(fma(d2, a2, -1.0))
        h = fma(transition, h, x * spread(b_rows, (t, n), states))
        y = load(y_rows, (v, t, 0), ONE)
        store(y_rows, (v, t, 0), dot(h, spread(c_rows, (t, n), states), y))
    return h
