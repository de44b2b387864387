import gzip
import random
import subprocess

import pytest
from builder import boot_files
from builder.boot_files import MIB
from builder.trouble import BuildError
from tools import need


def an_image(size=3 * MIB):
    head = bytearray(random.Random(1).randbytes(4096) * (size // 4096))
    head[56:60] = b"ARM\x64"
    return bytes(head)


@pytest.mark.parametrize("size", [MIB, MIB + 1, MIB + 2, MIB + 3, MIB + 4])
def test_a_kernel_is_packed_to_an_exact_size_and_is_whole(size):
    packed = boot_files.kernel(an_image(), size)

    assert len(packed) == size
    assert gzip.decompress(packed) == an_image()
    assert int.from_bytes(packed[-4:], "little") == len(an_image())


def test_gzip_itself_reads_it(tmp_path):
    need("gzip", "sudo apt install gzip")
    (tmp_path / "a.gz").write_bytes(boot_files.kernel(an_image(), MIB))

    done = subprocess.run(["gzip", "-dc", tmp_path / "a.gz"], capture_output=True, check=True)

    assert done.stdout == an_image()
    assert done.stderr == b""


def test_a_kernel_that_does_not_fit_or_is_none_is_refused():
    with pytest.raises(BuildError, match="packed"):
        boot_files.kernel(an_image(), 4096)
    with pytest.raises(BuildError, match="no plain arm64 Image"):
        boot_files.kernel(b"MZ" * 100)


def test_texts_are_filled_up_as_the_firmware_reads_them():
    assert boot_files.text("config.txt", "a=1\n", 8) == b"a=1\n\n\n\n\n"
    assert boot_files.one_line("cmdline.txt", "a b\n", 8) == b"a b    \n"
    with pytest.raises(BuildError, match=r"config\.txt has 9 bytes; 8 are kept"):
        boot_files.text("config.txt", "123456789", 8)


def test_each_slot_has_its_own_command_line():
    template = "root=PARTUUID=@DISK@-@PARTITION@ rauc.slot=@SLOT@"

    assert boot_files.command_line(template, "A") == "root=PARTUUID=6b696f73-02 rauc.slot=A"
    assert boot_files.command_line(template, "B") == "root=PARTUUID=6b696f73-03 rauc.slot=B"


def test_a_kernel_that_is_packed_already_comes_out_the_same():
    packed = gzip.compress(an_image())

    assert boot_files.kernel(packed, MIB) == boot_files.kernel(an_image(), MIB)
    with pytest.raises(BuildError, match="no plain arm64 Image"):
        boot_files.kernel(gzip.compress(b"MZ" * 100))


def test_boot_files_have_their_sizes_and_overlays_a_folder_that_the_firmware_sees():
    tree = b"\xd0\x0d\xfe\xed"

    files = boot_files.fixed(an_image(), b"initrd", {"a.dtb": tree}, {})
    assert {name: len(data) for name, data in files.items()} == {
        "vmlinuz": boot_files.KERNEL_SIZE,
        "initrd.img": boot_files.INITRD_SIZE,
        "a.dtb": 128 << 10,
    }
    more = boot_files.fixed(an_image(), b"initrd", {"a.dtb": tree}, {"imx708.dtbo": tree})
    assert more.keys() - files.keys() == {"overlays/README", "overlays/imx708.dtbo"}
    assert len(more["overlays/imx708.dtbo"]) == 16 << 10
    with pytest.raises(BuildError, match=r"imx708\.dtbo has 16388 bytes; 16384 are kept"):
        boot_files.fixed(an_image(), b"initrd", {}, {"imx708.dtbo": tree * 4097})
