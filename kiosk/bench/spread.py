"""Work that is counted and not timed, spread over the cores."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
_CHUNKS_EACH = 8


def use_one_core() -> None:
    """Keep OpenCV from starting threads, as the scanner does."""
    import cv2

    cv2.setNumThreads(1)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def spread(work: Callable[[Sequence[int]], list[Result]], count: int, workers: int) -> list[Result]:
    """Do numbered work.

    Args:
        work: Does the work of these numbers and gives a result for each; with several workers
            it must be possible to pickle it.
        count: Numbers from 0 to this are done.
        workers: Processes; with 1, this one does it all.

    Returns:
        A result for each number, in their order.
    """
    if workers == 1:
        return work(range(count))
    step = max(1, -(-count // (workers * _CHUNKS_EACH)))
    chunks = [range(begin, min(count, begin + step)) for begin in range(0, count, step)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=use_one_core) as pool:
        return [result for results in pool.map(work, chunks) for result in results]
