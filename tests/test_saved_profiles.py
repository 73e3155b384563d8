"""Profiles in files: written whole, read as they were, and errors that say what is wrong with a file."""

import gzip
import json
import os
import pathlib
import stat
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from module_facts import MEMORY, MODULES
from test_rows import profiles
from torch import nn
from torch.export import Dim

from opflops import Profile, ProfileError, count
from opflops.cli import main, output
from opflops.errors import ProfileArgumentError
from opflops.profile.gathering import combine_ranks

PROFILE = replace(
    count(nn.Linear(4, 3), torch.ones(2, 4), backward=True), memory=MEMORY, remarks=("Größe 模型 \ud800",)
)
FORMULAS = count(nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: Dim("batch")},))


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@settings(max_examples=25, deadline=None)
@given(profiles)
def test_what_is_saved_is_loaded(tmp_path_factory, profile):
    """Without loss, compressed or not."""
    folder = tmp_path_factory.getbasetemp()
    for name in ("p.json", "p.json.gz"):
        profile.save(folder / name)
        assert Profile.load(folder / name) == profile


@pytest.mark.parametrize(
    "profile",
    [Profile(), PROFILE, FORMULAS, combine_ranks({0: PROFILE, 3: PROFILE}), PROFILE * 10**30, Profile(modules=MODULES)],
)
def test_every_kind_of_profile_is_saved(profile):
    """Empty ones, formulas, ranks, memory, long numbers, names of any language."""
    for name in ("p.json", "p.json.gz", "no suffix", pathlib.Path("ä 模.json")):
        assert profile.save(name) is None
        assert Profile.load(name) == profile


def test_the_file_has_the_json():
    """As to_json() returns it; equal profiles make equal files, compressed too."""
    PROFILE.save("p.json")
    assert pathlib.Path("p.json").read_text(encoding="utf-8") == PROFILE.to_json()
    PROFILE.save("p.JSON.GZ")
    compressed = pathlib.Path("p.JSON.GZ").read_bytes()
    assert gzip.decompress(compressed).decode() == PROFILE.to_json()
    assert compressed[4:8] == bytes(4)  # the time of the header
    assert len(compressed) < len(PROFILE.to_json()) / 3


def test_a_file_is_told_by_its_content():
    """One that was renamed is read, and so is what editors put before a text."""
    PROFILE.save("p.json.gz")
    pathlib.Path("p.json.gz").rename("renamed.json")
    assert Profile.load("renamed.json") == PROFILE
    pathlib.Path("bom.json").write_bytes(b"\xef\xbb\xbf" + PROFILE.to_json().encode())
    assert Profile.load("bom.json") == PROFILE


def test_a_difference_is_loaded_as_its_changes():
    """Which it is equal to."""
    change = PROFILE - PROFILE * 2
    change.save("change.json")
    assert Profile.load("change.json") == change
    assert change.load("change.json").total == -1 * PROFILE.total


def test_the_command_line_reads_and_writes_such_files(capsys):
    """Compressed ones too."""
    PROFILE.save("p.json.gz")
    assert main(["p.json.gz", "--format", "json", "-o", "q.json"]) == 0
    assert Profile.load("q.json") == PROFILE
    assert main(["q.jsn.gz"]) == 2
    assert main(["p.jsn.json.gz"]) == 2
    assert "There is no file 'p.jsn.json.gz'; did you mean 'p.json.gz'?" in capsys.readouterr().err


def test_a_file_is_replaced_whole(monkeypatch):
    """With the permissions and through the link that it had; or left as it was, without another file beside it."""
    PROFILE.save("p.json")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(pathlib.Path("p.json").stat().st_mode) == 0o666 & ~mask
    pathlib.Path("p.json").chmod(0o640)
    pathlib.Path("link.json").symlink_to("p.json")
    Profile().save("link.json")
    assert pathlib.Path("link.json").is_symlink()
    assert Profile.load("p.json") == Profile()
    assert stat.S_IMODE(pathlib.Path("p.json").stat().st_mode) == 0o640

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(ProfileError, match=r"'p\.json' cannot be written: No space left on device\.$"):
        PROFILE.save("p.json")
    assert sorted(map(str, pathlib.Path().iterdir())) == ["link.json", "p.json"]
    assert Profile.load("p.json") == Profile()


def test_what_cannot_be_written_is_said():
    """A folder, a folder that is not there."""
    pathlib.Path("runs").mkdir()
    with pytest.raises(ProfileError, match=r"'runs' is a folder\. Name a file in it: save\('runs/profile\.json'\)"):
        PROFILE.save("runs")
    with pytest.raises(ProfileError, match="there is no folder 'nowhere'"):
        PROFILE.save("nowhere/p.json")


BROKEN = {
    "empty.json": (b"", "not JSON"),
    "text.json": (b"hello", "not JSON"),
    "list.json": (b"[1, 2]", "not a profile"),
    "other.json": (b'{"schema": "other", "rows": []}', "not a profile"),
    "newer.json": (b'{"schema": "opflops.profile", "version": 99, "rows": []}', "version 99"),
    "weights.pt": (b"PK\x03\x04\xff\xfe\x00", "it is no text"),
    "cut.json.gz": (gzip.compress(b"{}" * 999)[:-12], "cannot be read"),
    "bad.json.gz": (b"\x1f\x8b" + bytes(30), "cannot be read"),
    "wrong.json.gz": (gzip.compress(json.dumps({"rows": []}).encode()), "not a profile"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_profile_is_said_to_be_none(name):
    """With the name of the file."""
    content, reason = BROKEN[name]
    pathlib.Path(name).write_bytes(content)
    with pytest.raises(ProfileError, match=rf"'{name}' .*{reason}"):
        Profile.load(name)


def test_what_is_not_there_is_said():
    """With a name that is nearly the same, if there is one."""
    pathlib.Path("runs").mkdir()
    with pytest.raises(ProfileError, match=r"'runs' cannot be read: it is a folder\."):
        Profile.load("runs")
    with pytest.raises(ProfileError, match=r"There is no file 'baselin\.json'\.$"):
        Profile.load("baselin.json")
    PROFILE.save("baseline.json")
    with pytest.raises(ProfileError, match=r"no file 'baselin\.json'; did you mean 'baseline\.json'\?$"):
        Profile.load("baselin.json")


@pytest.mark.parametrize("path", [None, 3, b"p.json", "", ["p.json"], PROFILE])
def test_a_file_has_a_name(path):
    """Or a path."""
    with pytest.raises(ProfileArgumentError, match="needs the name of a file"):
        PROFILE.save(path)
    with pytest.raises(ProfileArgumentError, match="needs the name of a file"):
        Profile.load(path)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("a.html", "to_html()"),
        ("a.HTM", "to_html()"),
        ("a.b.txt", "str(profile)"),
        ("a.csv", "to_csv()"),
        ("a.csv.gz", "to_csv()"),
        ("a.mmd", "to_mermaid()"),
        ("a.folded", "to_folded()"),
        ("a.speedscope.json", "to_speedscope()"),
        (pathlib.Path("a.md"), "table(tablefmt='github')"),
    ],
)
def test_json_is_not_written_under_the_name_of_another_format(name, method):
    """The error names what writes that format."""
    with pytest.raises(ProfileArgumentError) as caught:
        PROFILE.save(name)
    assert method in str(caught.value)
    assert not pathlib.Path(name).exists()


def test_other_suffixes_are_fine():
    """Compression, no suffix, and those of no format."""
    for name in ("a.gz", "a", "a.profile", "html", "a.html.json"):
        PROFILE.save(name)
        assert Profile.load(name) == PROFILE


def test_every_suffix_of_the_command_line_is_known():
    """So that a new format of -o is refused by save() too, except JSON itself."""
    for suffix, form in output._SUFFIXES.items():
        if form != "json":
            with pytest.raises(ProfileArgumentError):
                PROFILE.save(f"a{suffix}")
