"""The building machine: what it lacks is a sentence; rooms are entered for real."""

import os
import re
import shutil
import subprocess

import pytest
from builder import host, steps
from builder.room import Room, execute
from builder.trouble import BuildError
from tools import need


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine that has everything; each test takes something away."""
    monkeypatch.setattr(host, "BINFMT", tmp_path)
    (tmp_path / "register").touch()
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/q\nflags: POCF\n")
    monkeypatch.setattr(host.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(host.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(host.os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "_run", lambda *_: "")
    return tmp_path


def test_a_machine_with_everything_builds(machine, monkeypatch):
    said = []

    assert host.check(said.append) is False
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    assert host.check(said.append) is True
    assert said == []


def test_what_is_missing_is_one_line_for_apt(machine, monkeypatch):
    gone = {"mmdebstrap", "git", "newuidmap", "qemu-aarch64-static", "qemu-aarch64"}
    monkeypatch.setattr(host.shutil, "which", lambda name: None if name in gone else name)
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)

    with pytest.raises(BuildError, match="sudo apt install git mmdebstrap qemu-user-static uidmap"):
        host.check(print)


def test_another_processor_is_told_so(machine, monkeypatch):
    monkeypatch.setattr(host.platform, "machine", lambda: "aarch64")

    with pytest.raises(BuildError, match="x86-64 only"):
        host.check(print)


def test_where_users_may_not_map_users_the_reason_for_root_is_one_sentence(machine, monkeypatch):
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(host, "_run", lambda *_: "unshare: Operation not permitted")

    with pytest.raises(BuildError, match="Here only root can build: sudo make image"):
        host.check(print)


def test_root_mounts_and_enables_what_starts_programs_for_arm64_and_says_so(machine, monkeypatch):
    (machine / "register").unlink()
    (machine / "qemu-aarch64").unlink()
    said, ran = [], []

    def run(*argv):
        ran.append(argv[0])
        if argv[0] == "update-binfmts":
            (machine / "qemu-aarch64").write_text("enabled\nflags: F\n")
        return ""

    monkeypatch.setattr(host, "_run", run)

    host.check(said.append)

    assert ran == ["mount", "update-binfmts"]
    assert len(said) == 2


def test_an_interpreter_that_is_not_there_inside_a_tree_is_no_good(machine, monkeypatch):
    (machine / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/q\nflags: OC\n")

    with pytest.raises(BuildError, match="update-binfmts --enable qemu-aarch64"):
        host.check(print)


@pytest.fixture
def small_root(tmp_path):
    """A tree with a shell, a few programs, and the libraries that they are linked with."""
    need(
        not host._run(*host.namespace(as_user=os.geteuid() != 0), "true"),
        "namespaces are not allowed here",
    )
    root = tmp_path / "root"
    for name in ("sh", "cat", "env", "pwd", "touch", "test"):
        program = shutil.which(name)
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        needed = re.findall(r"(/\S+) \(0x", listed)
        for file, target in ((program, f"bin/{name}"), *((lib, lib[1:]) for lib in needed)):
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / target)
    return root


def test_a_command_runs_inside_with_its_folders_and_a_small_environment(
    small_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET", "of this machine")
    work = tmp_path / "work folder"
    work.mkdir()
    (work / "in").write_text("from outside\n")
    room = Room(small_root, os.geteuid() != 0)

    said = room.run(
        "/bin/sh",
        "-c",
        "cat /job/in; env; pwd; touch /job/out; test -e /proc/self",
        binds={"/job": work},
        env={"WORD": "two words", "PATH": "/bin"},
        cwd="/job",
    )

    assert said.startswith("from outside\n")
    assert "WORD=two words\n" in said
    assert "SECRET" not in said
    assert said.endswith("/job\n")
    assert (work / "out").exists()
    assert not (small_root / "proc/self").exists()
    room.outside("touch", str(small_root / "mine"))
    assert (small_root / "mine").exists()


def test_what_failed_inside_is_told_with_its_last_words(small_root, tmp_path):
    room = Room(small_root, os.geteuid() != 0)

    with pytest.raises(BuildError, match=r"/bin/sh failed \(3\).*\n.*the reason"):
        room.run("/bin/sh", "-c", "echo the reason >&2; exit 3", env={"PATH": "/bin"})
    with pytest.raises(BuildError, match=r"all of it in .*log"):
        execute(["/bin/sh", "-c", "echo why >&2; exit 1"], "sh", tmp_path / "log")
    assert (tmp_path / "log").read_text() == "why\n"


def test_a_command_of_this_machine_says_what_is_wrong_with_it():
    assert host._run("sh", "-c", "exit 0") == ""
    assert host._run("sh", "-c", "echo no >&2; exit 1") == "no"
    assert host._run("false") == "failed"


def test_what_was_made_is_kept_and_half_of_it_never(tmp_path):
    def fails(half):
        half.mkdir()
        raise BuildError("cut")

    with pytest.raises(BuildError):
        steps.kept(tmp_path / "a", fails)
    assert not (tmp_path / "a").exists()
    assert steps.kept(tmp_path / "a", lambda half: half.write_text("whole") and None)
    assert not steps.kept(tmp_path / "a", fails)
    assert (tmp_path / "a").read_text() == "whole"


def test_a_key_changes_with_whatever_it_is_made_of(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").symlink_to("a")
    first = steps.key("x", steps.digest([tmp_path]))
    (tmp_path / "a").write_text("2")

    assert steps.key("x", steps.digest([tmp_path])) != first
    assert steps.key("x", 1) == steps.key("x", 1)


def test_each_step_is_told_with_its_seconds():
    said = []
    told = steps.Steps(said.append)

    with told.step("squash"):
        pass
    told.say("a sentence")

    assert said[0].endswith("s  squash\n")
    assert "squash" in told.seconds
    assert told.total_s() >= 0
