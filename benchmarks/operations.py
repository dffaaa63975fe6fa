"""The operations that a time step of the network needs at least, for the benchmarks."""


def multiply_adds(
    locations: int,
    *,
    input_size: int = 9,
    output_size: int = 8,
    memory_vector_size: int = 20,
    shifts: int = 3,
    controller: tuple[int, ...] = (100, 100, 100),
    read_heads: int = 1,
    write_heads: int = 1,
    content_addressing: bool = True,
) -> int:
    """Multiply-adds of one step of one sequence: the matrices, and each number of the memory once an equation.

    Without content addressing, keys, strengths and gates have no use.
    """
    n, m, heads = locations, memory_vector_size, read_heads + write_heads
    sizes = (input_size + read_heads * m, *controller)
    parameters = heads * ((m + 2 if content_addressing else 0) + 1 + shifts) + 2 * write_heads * m
    matrices = sum(a * b for a, b in zip(sizes, controller, strict=False))
    matrices += controller[-1] * parameters + (controller[-1] + read_heads * m) * output_size
    similarity = (heads + 1) * m * n if content_addressing else 0  # the keys with the memory, and its norms
    weighting = heads * n * ((2 if content_addressing else 0) + shifts + 1)  # strength, gate, shifts, sharpening
    writing = 3 * write_heads * m * n  # w e, the product with the memory, w a
    reading = read_heads * m * n
    return matrices + similarity + weighting + writing + reading
