import tarfile

import pytest
from builder.tree import Tree, folder, link, of_bytes, of_file


def a_tree():
    tree = Tree()
    tree.put("usr/bin/tool", of_bytes(b"code", 0o755))
    tree.put("usr/share/doc/a/readme", of_bytes(b"text"))
    tree.put("bin", link("usr/bin"))
    tree.put("var/lib/kiosk", folder(0o700, 701, 701))
    return tree


def test_what_is_written_is_read_again_with_owners_and_modes(tmp_path):
    a_tree().write_tar(tmp_path / "a.tar", 1000)

    read = Tree.from_tar(tmp_path / "a.tar")

    assert set(read.entries) == set(a_tree().entries)
    assert read["usr/bin/tool"].read() == b"code"
    assert read["usr/bin/tool"].mode == 0o755
    assert (read["var/lib/kiosk"].uid, read["var/lib/kiosk"].mode) == (701, 0o700)
    assert read["bin"].target == "usr/bin"


def test_the_same_tree_gives_the_same_bytes_whatever_order_it_came_in(tmp_path):
    backwards = Tree(dict(reversed(a_tree().entries.items())))

    a_tree().write_tar(tmp_path / "a.tar", 1000)
    backwards.write_tar(tmp_path / "b.tar", 1000)

    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_what_must_come_first_comes_first_after_its_folders(tmp_path):
    a_tree().write_tar(tmp_path / "a.tar", 1000, ["usr/share/doc/a/readme"])

    with tarfile.open(tmp_path / "a.tar") as archive:
        names = archive.getnames()

    files = [name for name in names if name in ("usr/bin/tool", "usr/share/doc/a/readme")]
    assert files == ["usr/share/doc/a/readme", "usr/bin/tool"]
    assert names.index("usr/share/doc/a") < names.index("usr/share/doc/a/readme")


def test_a_hard_link_is_the_file_and_a_device_is_left_to_the_kernel(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        file = tarfile.TarInfo("./a")
        file.size = 0
        archive.addfile(file)
        hard = tarfile.TarInfo("./b")
        hard.type, hard.linkname = tarfile.LNKTYPE, "./a"
        archive.addfile(hard)
        device = tarfile.TarInfo("./dev/null")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)

    tree = Tree.from_tar(tmp_path / "a.tar")

    assert sorted(tree.entries) == ["a", "b"]


def test_pruning_takes_folders_with_all_inside_and_says_what_matched_nothing():
    tree = a_tree()

    freed = tree.prune(["usr/share/doc", "usr/lib/none"])

    assert freed == {"usr/share/doc": 4, "usr/lib/none": -1}
    assert not any(path.startswith("usr/share/doc") for path in tree.entries)
    assert "usr/bin/tool" in tree


def test_pruning_keeps_what_is_named_with_the_folders_above_it():
    tree = a_tree()

    tree.prune(["usr/share/doc", "!usr/share/doc/a/readme"])

    assert tree["usr/share/doc/a/readme"].read() == b"text"
    assert tree["usr/share/doc"].kind == "folder"


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/bin/tool", "usr/bin/tool"),
        ("bin/../var/lib", "usr/var/lib"),
        ("/etc/./none", "etc/none"),
    ],
)
def test_a_path_is_followed_through_links(path, end):
    assert a_tree().resolve(path) == end


def test_a_link_in_a_circle_ends():
    tree = Tree()
    tree.put("a", link("/b"))
    tree.put("b", link("/a"))

    assert not tree.reaches("a")


def test_a_folder_of_this_machine_goes_in_as_roots(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/run").write_text("#!/bin/sh\n")
    (tmp_path / "etc/run").chmod(0o777)
    (tmp_path / "etc/text").write_text("a\n")
    (tmp_path / "etc/link").symlink_to("text")
    tree = Tree()

    tree.put_folder("opt", tmp_path)

    assert (tree["opt/etc/run"].mode, tree["opt/etc/text"].mode) == (0o755, 0o644)
    assert tree["opt/etc/link"].target == "text"
    assert of_file(tmp_path / "etc/text", 0o600).mode == 0o600


def test_merging_replaces_files_and_keeps_a_folders_owner():
    tree, other = a_tree(), Tree()
    other.put("var/lib/kiosk/file", of_bytes(b"new"))
    other.put("usr/bin/tool", of_bytes(b"newer"))

    tree.merge(other)

    assert tree["var/lib/kiosk"].uid == 701
    assert tree["usr/bin/tool"].read() == b"newer"
    tree.remove("/usr")
    assert sorted(p for p in tree.entries if p.startswith("usr")) == []


def test_files_are_written_out_for_a_program_of_this_machine(tmp_path):
    a_tree().extract(tmp_path, ["usr/bin/tool", "bin"])

    assert (tmp_path / "usr/bin/tool").read_bytes() == b"code"
    assert (tmp_path / "bin").is_symlink()
