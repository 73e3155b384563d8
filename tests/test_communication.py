"""Communication with other ranks: what is sent, to which group, and how a profile answers and reports that."""

import csv
import gc
import io
import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import distributed
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed import _functional_collectives as functional
from torch.distributed.device_mesh import init_device_mesh
from torch.export import Dim
from torch.testing._internal.distributed.fake_pg import FakeStore

from opflops import Cost, FormulaError, OpFlopMode, Profile, ProfileError, Row, annotate, count, formula
from opflops.cli import main
from opflops.formulas.wire import SPARSE
from opflops.torch_internals.process_groups import name_group

_c10d = torch.ops._c10d_functional


@pytest.fixture
def world():
    """Return a function that begins a group whose other members are imagined, and ends it after the test."""

    def begin(size, rank=0):
        distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)

    yield begin
    if distributed.is_initialized():
        distributed.destroy_process_group()


def profile_of(function):
    with OpFlopMode(strict=True) as mode:
        result = function()
    if isinstance(result, torch.Tensor) and not result.is_meta and type(result) is torch.Tensor:
        _c10d.wait_tensor(result)
    return mode.profile


def sent(function):
    """Return what the only collective of a function sends."""
    (row,) = [row for row in profile_of(function).rows if row.group]
    return row.cost.sent


def name():
    return distributed.group.WORLD.group_name


@pytest.mark.parametrize("rank", [0, 2])
def test_what_a_rank_keeps_is_not_sent(world, rank):
    """Of parts of 1, 2, 3 and 4 rows of three floats, a rank sends those of the others."""
    world(4, rank)
    parts = [1, 2, 3, 4]
    x = torch.ones(10, 3)
    others = 12 * (10 - parts[rank])
    assert sent(lambda: distributed.all_to_all_single(x.new_empty(8, 3), x, [2] * 4, parts)) == others
    assert sent(lambda: _c10d.all_to_all_single(x, [2] * 4, parts, name())) == others
    assert sent(lambda: distributed.all_to_all(list(x.clone().split(parts)), list(x.split(parts)))) == others
    # Equal parts need no sizes.
    assert sent(lambda: distributed.all_to_all_single(x.new_empty(8, 3), x[:8])) == 3 * 2 * 12
    given = list(x.split(parts)) if rank == 2 else None
    assert sent(lambda: distributed.scatter(x.new_empty(3, 3), given, src=2)) == (others if rank == 2 else 0)
    assert sent(lambda: distributed.gather(x, list(x.new_empty(4, 10, 3)) if rank == 0 else None)) == 120 * (rank != 0)
    assert sent(lambda: distributed.reduce(x, 2)) == 120 * (rank != 2)
    assert sent(lambda: distributed.broadcast(x, 2)) == 120 * (rank == 2)
    assert sent(lambda: _c10d.broadcast(x, 2, name())) == 120 * (rank == 2)


COLLECTIVES = [
    lambda x: distributed.all_reduce(x),
    lambda x: distributed.broadcast(x, 0),
    lambda x: distributed.reduce(x, 0),
    lambda x: distributed.group.WORLD._allgather_base(torch.empty_like(x), x),
    lambda x: distributed.group.WORLD._reduce_scatter_base(torch.empty_like(x), x),
    lambda x: distributed.all_to_all_single(torch.empty_like(x), x),
    lambda x: distributed.barrier(),
    lambda x: distributed.group.WORLD.send([x], 0, 0),
    lambda x: distributed.group.WORLD.recv([x], 0, 0),
    lambda x: _c10d.all_reduce(x, "sum", name()),
    lambda x: _c10d.broadcast(x, 0, name()),
    lambda x: _c10d.all_gather_into_tensor(x, 1, name()),
    lambda x: _c10d.reduce_scatter_tensor(x, "sum", 1, name()),
    lambda x: _c10d.all_to_all_single(x, [8], [8], name()),
]


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_one_rank_sends_nothing(world, collective):
    """And nothing about it is an estimate."""
    world(1)
    (row,) = [row for row in profile_of(lambda: collective(torch.ones(8))).rows if row.group]
    assert (row.cost.sent, row.group, row.estimate) == (0, "1 rank", "")


def test_sizes_are_enough(world):
    """Tensors without values, on any device, send what those with values would; dtypes have their sizes."""
    world(4)
    for dtype, whole in ((torch.float32, 48), (torch.bfloat16, 24), (torch.complex64, 96), (torch.int8, 12)):
        with FakeTensorMode():
            fake = torch.empty(12, dtype=dtype)
        for x in (torch.ones(12, dtype=dtype), torch.empty(12, dtype=dtype, device="meta"), fake):
            assert sent(lambda x=x: _c10d.all_reduce(x, "sum", name())) == 2 * 3 * whole // 4
            assert sent(lambda x=x: _c10d.all_gather_into_tensor(x, 4, name())) == 3 * whole
            assert sent(lambda x=x: _c10d.reduce_scatter_tensor(x, "sum", 4, name())) == 3 * whole // 4
    # A tensor that repeats one number is sent whole.
    assert sent(lambda: _c10d.all_reduce(torch.ones(1).expand(12), "sum", name())) == 72


def test_sparse_tensors_are_estimates(world):
    """Their indices and values are sent; the other ranks' tensors may have other elements."""
    world(2)
    x = torch.eye(3).to_sparse()
    (row,) = [row for row in profile_of(lambda: distributed.all_reduce(x)).rows if row.group]
    # Two indices of eight bytes and a value of four for each of three elements, in two passes of a half.
    assert (row.cost.sent, row.estimate) == (60, SPARSE)


def test_bytes_are_rounded_up(world):
    """A byte among four ranks is two passes of three quarters."""
    world(4)
    assert sent(lambda: distributed.all_reduce(torch.ones(1, dtype=torch.uint8))) == 2
    assert sent(lambda: distributed.all_reduce(torch.ones(5, dtype=torch.uint8))) == 8
    assert sent(lambda: distributed.all_reduce(torch.ones(7, dtype=torch.uint8))) == 11


def test_groups_of_several_sizes_are_several_rows(world):
    """They are found by their size or their name, and all that is no collective by no name."""
    world(4)
    pair = distributed.new_group([0, 1])
    experts = distributed.new_group([0, 1], group_desc="experts")

    def run():
        x = torch.ones(12) * 2
        for group in (None, pair, experts, pair):
            distributed.all_reduce(x, group=group)

    p = profile_of(run)
    assert {group: cost.sent for group, cost in p.by("group").items()} == {
        "": 0, "4 ranks": 72, "2 ranks": 96, "experts (2)": 48,
    }  # fmt: skip
    assert p.where(group=2).total.sent == 96 + 48
    assert p.where(group=(4, "experts")).total.sent == 72 + 48
    assert p.where(group="2 ranks").total.sent == 96
    assert p.where(group=lambda text: text.endswith("ranks")).total.sent == 72 + 96
    assert p.where(group="").total.macs == 0
    assert p.where_not(group="").total.sent == p.total.sent == 216
    with pytest.raises(ProfileError, match=r"group='expert'.*experts \(2\)"):
        p.where(group="expert")
    for size in (8, "8", (2, 8)):
        with pytest.raises(ProfileError, match=r"got group=8. No group has 8 ranks; there are .*experts \(2\)"):
            p.where(group=size)
    for group in ("tp", 2):
        with pytest.raises(ProfileError, match="No collective is in this profile, or in this selection of one"):
            Profile((Row("", "", "aten.mm", "forward", "float32", 1, Cost(macs=1)),)).where(group=group)


def test_groups_of_meshes_have_the_names_of_dimensions(world):
    """Also of sliced and flattened meshes, and of those that span all ranks, which use the group of these."""
    world(8)
    assert name_group(name()) == "8 ranks"
    mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("dp", "cp", "tp"))
    assert [name_group(each) for each in mesh.get_all_groups()] == ["dp (2)", "cp (2)", "tp (2)"]
    assert name_group(mesh["cp", "tp"]["tp"].get_group()) == "tp (2)"
    assert name_group(mesh["dp", "cp"]._flatten("dp_cp").get_group()) == "dp_cp (4)"
    assert name_group(name()) == "8 ranks"
    all_ranks = mesh._flatten("everything")
    assert name_group(all_ranks.get_group()) == name_group(distributed.group.WORLD) == "everything (8)"
    assert sent(lambda: functional.all_reduce(torch.ones(4), "sum", mesh["tp"]).sum()) == 16
    p = profile_of(lambda: functional.all_reduce(torch.ones(8), "sum", (mesh, 0)).sum())
    assert p.where(group="dp").total.sent == 32
    unnamed = init_device_mesh("cpu", (2, 4))
    assert [name_group(each) for each in unnamed.get_all_groups()] == ["dim_0 (2)", "dim_1 (4)"]
    assert name_group("a group that is not known here") == ""
    made_of_another = distributed.new_group([0, 1, 2, 3], group_desc="default_pg:split:1")
    assert name_group(made_of_another) == "4 ranks"


def test_a_mesh_names_its_own_group_and_no_later_one(world):
    """A mesh may be alive after its group has ended, and another one begun that PyTorch gives the same name."""
    world(2)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
    assert name_group(distributed.group.WORLD) == "tp (2)"
    distributed.destroy_process_group()
    world(2)
    assert name_group(distributed.group.WORLD) == "2 ranks"
    later = init_device_mesh("cpu", (2, 1), mesh_dim_names=("dp", "tp"))
    assert [name_group(each) for each in later.get_all_groups()] == ["dp (2)", "tp (1)"]
    assert mesh.mesh_dim_names == ("tp",)


def test_names_are_those_of_the_meshes_there_are_now(world):
    """Meshes may be made and dropped after the first use of their group; those that share one name it together."""
    world(2)
    everyone = distributed.group.WORLD
    reduce = partial(distributed.all_reduce, torch.ones(3))
    assert list(profile_of(reduce).by("group")) == ["2 ranks"]
    tp = init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
    assert list(profile_of(reduce).by("group")) == ["tp (2)"]
    dp = init_device_mesh("cpu", (2,), mesh_dim_names=("dp",))
    p = profile_of(partial(reduce, group=tp.get_group()))
    assert list(p.by("group")) == list(profile_of(partial(reduce, group=dp.get_group())).by("group")) == ["dp/tp (2)"]
    assert p.where(group="dp").total.sent == p.where(group="tp").total.sent == p.total.sent == 12
    other = init_device_mesh("cpu", (1, 2), mesh_dim_names=("pp", "cp"))
    assert name_group(everyone) == "cp/dp/tp (2)"
    # One is dropped and one made, so that there are as many as before.
    del tp, other
    ep = init_device_mesh("cpu", (2,), mesh_dim_names=("ep",))
    sp = init_device_mesh("cpu", (2,), mesh_dim_names=("sp",))
    assert name_group(everyone) == "dp/ep/sp (2)"
    del dp, ep, sp
    assert name_group(everyone) == "2 ranks"


def test_meshes_are_searched_for_once_as_long_as_they_are_the_same(world, monkeypatch):
    """Of many collectives in groups of many dimensions; the search takes as long as there are objects."""
    world(8)
    mesh = init_device_mesh("cpu", (8,), mesh_dim_names=("tp",))
    searches = []
    search = gc.get_referrers
    monkeypatch.setattr(gc, "get_referrers", lambda *kinds: searches.append(kinds) or search(*kinds))
    for _ in range(3):
        profile_of(lambda: distributed.all_reduce(torch.ones(3), group=mesh.get_group()))
    assert len(searches) == 1


class Reduce(torch.nn.Module):
    """Sum the products of all ranks."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return functional.all_reduce(self.linear(x), "sum", distributed.group.WORLD)


def test_what_is_sent_may_depend_on_sizes(world):
    """An expression in the batch, which scaling, evaluation and files know."""
    world(4)
    p = count(Reduce(), torch.ones(3, 8), dynamic_shapes=({0: Dim("batch")},))
    # Of 16 bytes for each of the batch, 2 * 3 / 4.
    assert p.at(batch=5).total.sent == p.lambdify()(batch=5).sent == 5 * 24
    assert p.total.sent == p.scaling("sent").counts[""]
    assert p.scaling("sent").ops["_c10d_functional.all_reduce"]["batch"].degree == 1
    assert Profile.from_json(p.to_json()) == p
    assert "24*batch" in p.table("group", columns="sent")


def test_it_is_counted_without_running(world):
    """With the memory traffic of the tensors as it was, and no more."""
    world(4)
    p = count(Reduce(), torch.ones(3, 8))
    assert p.by("group")["4 ranks"] == Cost(ops=9, bytes_read=48, bytes_written=48, sent=72)
    assert p.total.bytes == sum(row.cost.bytes for row in p.rows)
    net = replace(p, rows=tuple(replace(row, cost=row.cost._replace(sent=0)) for row in p.rows))
    assert p.roofline("h100-sxm").total == net.roofline("h100-sxm").total


def example(world):
    """Return a profile with collectives in a module and outside, of two dtypes."""
    world(4)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model = Reduce()

    def run():
        y = model(torch.ones(3, 8))
        for _ in range(2):
            distributed.all_reduce(y, group=mesh["tp"].get_group())
        distributed.broadcast(torch.ones(5, dtype=torch.int64), 0, group=mesh["dp"].get_group())
        distributed.barrier()

    return model, profile_of(run)


def test_communication_is_listed_by_group_and_collective(world):
    """Calls and bytes, of all dtypes; what is an estimate says so."""
    _, p = example(world)
    found = p.communication()
    assert [each[:4] for each in found.collectives] == [
        ("4 ranks", "_c10d_functional.all_reduce", 1, 72),
        ("4 ranks", "c10d.barrier", 1, 0),
        ("tp (2)", "c10d.allreduce_", 2, 96),
        ("dp (2)", "c10d.broadcast_", 1, 40),
    ]
    assert (found.calls, found.sent) == (5, 208)
    assert found.by_group == {"4 ranks": 72, "tp (2)": 96, "dp (2)": 40}
    lines = str(found).splitlines()
    assert lines[4].split() == ["tp", "(2):", "c10d.allreduce_", "2", "96"]
    assert lines[7].split() == ["total", "5", "208"]
    assert "Estimated: c10d.broadcast_: what a rank sends" in str(found)
    # What receives and waits sends nothing, so that there is nothing to say below a table.
    assert "Sent to" not in str(p.where(op="c10d.barrier")) + str(p.where(module="Reduce", op="mm"))
    nothing = "No collective is in this profile, or in this selection of one, so nothing was sent to other ranks."
    for without in (Profile(), p.where(op="mm")):
        assert " ".join(str(without.communication()).split()) == nothing


def test_every_report_says_what_was_sent(world):
    """Text, a column that can be asked for, annotations, CSV, JSON and the page."""
    model, p = example(world)
    note = "Sent to others by this rank: 208 bytes: 72 bytes in 4 ranks, 96 bytes in tp (2), 40 bytes in dp (2);"
    assert note in " ".join(str(p).split())
    assert " sent" not in str(p).partition("1 mac")[0]
    by_op = [line.split() for line in p.table("op", columns="calls,sent", sort="sent").splitlines()]
    assert by_op[2] == ["c10d.allreduce_", "2", "96"]
    by_group = [line.split() for line in p.table(("group", "op"), columns="sent").splitlines()]
    assert ["tp", "(2)", "/", "c10d.allreduce_", "96"] in by_group
    assert "72" in annotate(model, p, measure="sent", numbers="exact")
    lines = list(csv.DictReader(io.StringIO(p.to_csv(), newline="")))
    assert {line["op"]: (line["sent"], line["group"], line["rank"]) for line in lines if line["group"]} == {
        "_c10d_functional.all_reduce": ("72", "4 ranks", ""),
        "c10d.allreduce_": ("96", "tp (2)", ""),
        "c10d.broadcast_": ("40", "dp (2)", ""),
        "c10d.barrier": ("0", "4 ranks", ""),
    }
    assert json.loads(p.to_json())["version"] == 6
    assert Profile.from_json(p.to_json()) == p
    assert p.to_folded("sent").splitlines() == ["Reduce;_c10d_functional.all_reduce 72", "(outside);c10d.allreduce_ 96"]
    assert note.partition(":")[0] in p.to_html(measure="sent")


def test_a_gathered_profile_says_of_how_many_ranks_it_is():
    """One rank is named, several are counted; tables and selections know them."""
    row = Row("Net", "Net", "c10d.allreduce_", "backward", "float32", 1, Cost(ops=8, sent=64), group="dp (2)", rank=0)
    p = Profile((row, replace(row, rank=1, cost=Cost(ops=8, sent=32))))
    assert p.by("rank") == {0: Cost(ops=8, sent=64), 1: Cost(ops=8, sent=32)}
    assert p.where(rank=1).total.sent == p.where(rank=lambda rank: rank > 0).total.sent == 32
    assert p.where(rank=(0, 1)) == p
    assert p.where(rank=7).rows == ()
    assert [line.split()[0] for line in p.table("rank").splitlines()[2:4]] == ["0", "1"]
    assert "Sent to others by 2 ranks: 96 bytes in dp (2)" in " ".join(str(p).split())
    assert "Sent to others by rank 1: 32 bytes" in " ".join(str(p.where(rank=1)).split())
    assert Profile.from_json(p.to_json()) == p
    assert (p + p).rows[0].cost.sent == 128
    for wrong in (-1, "0", True, 0.0):
        with pytest.raises(ProfileError, match="number of a rank, from 0"):
            p.where(rank=wrong)
    with pytest.raises(ProfileError, match="this profile is of one process"):
        Profile((replace(row, rank=None),)).where(rank=0)


def test_a_trace_says_what_was_sent(world, tmp_path):
    """On the event of the collective, and on no other."""
    world(4)
    with OpFlopMode() as mode, torch.profiler.profile() as recorded:
        distributed.all_reduce(torch.ones(4) * 2)
    mode.profile.annotate_trace(recorded, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    found = [each for each in events if {"group", "sent"} & set(each.get("args", {}))]
    assert [(each["name"], each["args"]["group"], each["args"]["sent"]) for each in found] == [
        ("c10d::allreduce_", "4 ranks", 24)
    ]


def test_a_difference_compares_what_was_sent(world):
    """Row by row, and in the totals of the table of two profiles."""
    _, p = example(world)
    less = p.where_not(group="tp")
    assert p.diff(less).total.sent == -96
    assert Profile.from_json(p.diff(less).to_json()) == p.diff(less)


def test_the_command_line_shows_it(world, tmp_path, capsys):
    """As a column of a saved profile, by group, and in a comparison."""
    _, p = example(world)
    (tmp_path / "p.json").write_text(p.to_json())
    (tmp_path / "less.json").write_text(p.where_not(group="tp").to_json())
    assert main([f"{tmp_path}/p.json", "--by", "group", "--columns", "calls,sent"]) == 0
    assert ["tp", "(2)", "2", "96"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["diff", f"{tmp_path}/less.json", f"{tmp_path}/p.json"]) == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.startswith("sent")] == [
        ["sent", "72", "168"]
    ]


def test_a_formula_of_ones_own_names_its_group(world):
    """Which argument holds the group is declared with the formula; a name that no argument has is an error."""
    world(2)

    @torch.library.custom_op("communication_test::swap", mutates_args=())
    def swap(x: torch.Tensor, group: str) -> torch.Tensor:
        return x.clone()

    @formula(swap._opoverload, group="group")
    def swap_cost(x):
        return Cost(sent=x.nbytes)

    p = profile_of(lambda: [swap(torch.ones(4), name()) for _ in range(3)])
    (row,) = [row for row in p.rows if "swap" in row.op]
    assert (row.group, row.calls, row.cost.sent, row.cost.bytes) == ("2 ranks", 3, 48, 96)

    @torch.library.custom_op("communication_test::put", mutates_args=())
    def put(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    with pytest.raises(FormulaError, match=r"read from 'group'.*not an argument of"):
        formula(put._opoverload, group="group")(lambda x: Cost(sent=x.nbytes))
    # A message to a peer has no group.
    formula(put._opoverload)(lambda x: Cost(sent=x.nbytes))
    p = profile_of(lambda: [put(torch.ones(4)) for _ in range(3)])
    assert p.communication().by_group == {"": 48}
    assert "48 bytes in (no group)" in " ".join(str(p).split())
