"""The command line under torchrun: one report of all ranks, one error, one exit code."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from opflops import Profile
from opflops.distributed.joint_run import JointRun
from opflops.distributed.launch import Launch, find_launch
from opflops.errors import OpflopsError, RankError

TARGETS = """
    import os
    import time

    import torch
    from torch import distributed, nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    from torch.nn.parallel import DistributedDataParallel


    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))


    def sharded():
        print("from the program")
        distributed.init_process_group("gloo")
        mesh = init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("tp",))
        return parallelize_module(Net(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


    def replicated():
        return DistributedDataParallel(Net())


    class Waits(Net):
        def forward(self, x):
            if distributed.get_rank() == 1:
                raise ValueError("not here")
            distributed.all_reduce(x)
            return super().forward(x)


    class Alone(Net):
        def forward(self, x):
            if distributed.get_rank() == 0:
                distributed.all_reduce(x)
            return super().forward(x)


    class Sleeps(Net):
        def forward(self, x):
            time.sleep(600 * distributed.get_rank())
            return super().forward(x)
"""


def torchrun(folder, *argv, ranks=2, seconds=100):
    """Run the command line in several processes; return the exit code, stdout and stderr."""
    (folder / "nets.py").write_text(textwrap.dedent(TARGETS))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "opflops"]
    ran = subprocess.run(
        [sys.executable, *launcher, *argv],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout, ran.stderr


def exit_codes(stderr):
    """Return the exit codes that torchrun reports of its processes."""
    return [int(code) for code in re.findall(r"exitcode\s+: (-?\d+)", stderr)]


def ours(stderr):
    """Return the lines that opflops wrote."""
    return [line for line in stderr.splitlines() if line.startswith("opflops:")]


def test_one_report_of_all_ranks_is_printed(tmp_path):
    """In the program's own group: 5 products of 4 * 8 * 16 macs, halved. The program prints once, to stderr."""
    code, out, err = torchrun(tmp_path, "nets.py:sharded", "--input", "4,8", "--backward")
    assert code == 0
    assert "· 2 ranks (gloo)" in " ".join(out.split())
    assert out.count("total of 2 ranks") == 4
    assert "Imbalance 1.00 in macs: 1,280 on each of 2 ranks." in out
    assert err.count("from the program") == 1
    assert ours(err) == []


@pytest.mark.exhaustive
def test_files_are_written_once_with_the_rows_of_all_ranks(tmp_path):
    """In the group that the command line makes; data parallelism repeats all work on each rank, and exchanges bytes."""
    code, out, err = torchrun(tmp_path, "nets.py:replicated", "--input", "4,8", "--backward", "-o", "p.json")
    assert (code, out) == (0, "")
    assert len(ours(err)) == 1
    profile = Profile.from_json((tmp_path / "p.json").read_text())
    assert {rank: cost.macs for rank, cost in profile.by("rank").items()} == dict.fromkeys(range(2), 5 * 4 * 8 * 16)
    assert sorted(each.name for each in tmp_path.glob("*.json")) == ["p.json"]
    assert json.loads((tmp_path / "p.json").read_text())["ranks"][1]["rank"] == 1


def test_the_error_of_a_rank_is_shown_once_and_all_end_alike(tmp_path):
    """Also while the others wait for it in a collective, in the group that the command line makes."""
    code, out, err = torchrun(tmp_path, "nets.py:Waits", "--input", "4,8", ranks=3)
    assert code == 1
    assert out == ""
    (sentence,) = ours(err)
    assert sentence.startswith("opflops: rank 1: At nets.py:")
    assert sentence.endswith(", Waits fails on x=4×8 float32: ValueError: not here.")
    assert exit_codes(err) == [2, 2, 2]


@pytest.mark.exhaustive
def test_an_error_that_all_ranks_have_is_shown_once(tmp_path):
    """When all have begun, and when they read their arguments."""
    _, _, err = torchrun(tmp_path, "nets.py:Nets")
    assert len(ours(err)) == 1
    # One may be a second later than the other.
    assert re.match(r"opflops: (all 2 ranks|rank [01]): The file 'nets.py' has no 'Nets'", ours(err)[0])
    _, _, err = torchrun(tmp_path, "--imput", "4")
    assert len(ours(err)) == 1
    assert ours(err)[0].startswith("opflops: There is no option '--imput'; did you mean --input")


@pytest.mark.exhaustive
def test_a_rank_that_hangs_is_named(tmp_path):
    """Within the time limit and a few seconds for its end."""
    _, _, err = torchrun(tmp_path, "nets.py:Sleeps", "--input", "4,8", "--time-limit", "2")
    assert len(ours(err)) == 1
    assert ours(err)[0].startswith("opflops: Rank 1 did not end its count within 7 s of rank 0: it hangs")
    assert exit_codes(err) == [2, 2]


@pytest.mark.exhaustive
def test_a_rank_that_waits_in_its_own_collective_is_named_without_a_limit(tmp_path):
    """A minute after the others have ended; all end alike."""
    _, out, err = torchrun(tmp_path, "nets.py:Alone", "--input", "4,8", ranks=3)
    assert out == ""
    assert len(ours(err)) == 1
    assert ours(err)[0].startswith(
        "opflops: Rank 0 did not end its count within 60 s of ranks 1 and 2: it hangs, as in a collective that not all "
    )
    assert exit_codes(err) == [2, 2, 2]


@pytest.mark.parametrize(("limit", "seconds"), [(None, "60"), (0.5, "5.5")])
def test_ranks_wait_for_the_others_as_long_as_is_documented(limit, seconds):
    """A minute, or what the program sets and 5 seconds; the message names those that ended and those that did not."""
    waited = []

    def exchange(text, timeout, caller):
        waited.append(timeout)
        raise RankError("", (0, 3))

    joint = object.__new__(JointRun)
    joint.launch, joint._exchange = Launch(1, 4, 1, 4), SimpleNamespace(exchange=exchange)
    with pytest.raises(RankError, match=rf"^Ranks 0 and 3 .* within {seconds} s of ranks 1 and 2: they hang") as raised:
        joint.gather(Profile(), limit)
    assert (waited, raised.value.ranks) == ([float(seconds)], (0, 3))


def test_processes_of_torchrun_are_found_by_its_variables():
    """Those of one machine are as many as all; without them there is one process; no number is an error."""
    given = {"RANK": "5", "WORLD_SIZE": "8", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}
    assert find_launch({}) is find_launch({**given, "MASTER_PORT": ""}) is None
    assert find_launch(given) == Launch(5, 8, 5, 8)
    found = find_launch({**given, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"})
    assert (found, found.on_one_machine) == (Launch(5, 8, 1, 4), False)
    with pytest.raises(OpflopsError, match=r"whole numbers, but there is RANK=x, WORLD_SIZE=8"):
        find_launch({**given, "RANK": "x"})
