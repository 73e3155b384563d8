"""Processes of ``torch.distributed`` on this machine, which run a function of a test as the ranks of a group.

The processes of a pool live as long as those of the tests, and each function gets a process group of its own, so that
PyTorch is imported once. Everything is bounded in time, and uses the loopback interface alone.
"""

import atexit
import contextlib
import datetime as dt
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pytest
import torch
from torch import distributed

# After an error in one rank, the others wait for it; this is how long they may go on by themselves.
_GRACE = 3
_STOP = None


class Pool:
    """Processes that run functions as the ranks of a group.

    Args:
        size: The number of processes.
    """

    def __init__(self, size):
        # The server imports PyTorch, and its children have it then.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch.distributed.tensor", "opflops"])
        self.folder = tempfile.TemporaryDirectory()
        self.number = 0
        self.pipes, self.processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, theirs, self.folder.name, sys.path), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self, function, world, args, seconds):
        """Run a function in the first ``world`` processes; return a result, or the text of an error, of each."""
        self.number += 1
        store = str(Path(self.folder.name) / f"store{self.number}")
        for pipe in self.pipes[:world]:
            pipe.send((function, world, args, store, seconds))
        answers = {}
        end = time.monotonic() + seconds
        while len(answers) < world and time.monotonic() < end:
            for rank in {*range(world)} - {*answers}:
                if self.pipes[rank].poll(0.02):
                    try:
                        answers[rank] = self.pipes[rank].recv()
                    except EOFError:
                        answers[rank] = False, f"the process ended with {self.processes[rank].exitcode}"
            if not all(succeeded for succeeded, _ in answers.values()):
                end = min(end, time.monotonic() + _GRACE)
        for rank in {*range(world)} - {*answers}:
            answers[rank] = False, f"did not end; it was at\n{self._place_of(rank)}"
        return [answers[rank] for rank in range(world)]

    def _place_of(self, rank):
        """Return the stacks of the threads of a process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.processes[rank].pid, signal.SIGUSR1)
        time.sleep(0.5)
        return _stacks(self.folder.name, rank).read_text()

    def stop(self):
        """End all processes."""
        for pipe in self.pipes:
            with contextlib.suppress(OSError):
                pipe.send(_STOP)
        for process in self.processes:
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()
        self.folder.cleanup()


def _stacks(folder, rank):
    return Path(folder) / f"stacks{rank}"


def _serve(rank, pipe, folder, path):
    """Run the functions that the pipe brings."""
    sys.path[:] = path
    # No group reaches another machine.
    os.environ.update(GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1", OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    with _stacks(folder, rank).open("w") as file:
        faulthandler.register(signal.SIGUSR1, file=file, all_threads=True)
        while (job := pipe.recv()) is not _STOP:
            try:
                answer = True, _run(rank, *job)
            except BaseException:  # noqa: BLE001 - the test shows it
                answer = False, traceback.format_exc()
            pipe.send(answer)
        os._exit(0)


def _run(rank, function, world, args, store, seconds):
    limit = dt.timedelta(seconds=seconds)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=limit)
    try:
        result = function(rank, world, *args)
        distributed.barrier()
        return result
    finally:
        distributed.destroy_process_group()


_pools = []


def _stop_pools():
    while _pools:
        _pools.pop().stop()


atexit.register(_stop_pools)


def on_ranks(function, world, *args, seconds=60, fails=False):
    """Run ``function(rank, world, *args)`` in processes, each a rank of a gloo group; return their results.

    Args:
        function: A function of a module, so that other processes can import it.
        world: The number of ranks, at most 4.
        *args: What else it gets; pickled, as its result is.
        seconds: After how long the test fails.
        fails: Whether to return the texts of errors, too, where a rank raised.

    Returns:
        The result of each rank, in order.
    """
    if not _pools:
        _pools.append(Pool(4))
    answers = _pools[0].run(function, world, args, seconds)
    if all(succeeded for succeeded, _ in answers):
        return [result for _, result in answers]
    # What waits, or has half a group, serves no other test.
    _stop_pools()
    if fails:
        return [result for _, result in answers]
    return pytest.fail(
        "\n".join(f"rank {rank}: {'succeeded' if ok else result}" for rank, (ok, result) in enumerate(answers)),
        pytrace=False,
    )
