"""What the benchmarks share: inputs, methods to compare, clocks, limits, and their results."""
