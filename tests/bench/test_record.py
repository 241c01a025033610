"""What is measured apart from all others."""

import multiprocessing

from bench.record import alone


def _of_two_processes() -> tuple[str, int]:
    """This process' name, and what one that it starts has to say."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=queue.put, args=(7,))
    process.start()
    answer = queue.get(timeout=60)
    process.join()
    return multiprocessing.current_process().name, answer


def test_what_is_measured_alone_is_in_a_process_of_its_own_that_may_start_others() -> None:
    name, answer = alone(_of_two_processes)
    assert name != multiprocessing.current_process().name
    assert answer == 7
