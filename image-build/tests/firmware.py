"""The part of a Raspberry Pi that runs before the kernel, played on the host.

It reads config.txt, or tryboot.txt once after a restart that asked for it, takes kernel, initrd
and command line from the card's FAT, and gives the kernel a device tree. On `-M virt` that tree
is QEMU's own with what a Pi's firmware would add: the board's revision, and a 40-pin header,
which the kernel's gpio-sim serves. The image is not changed.
"""

import base64
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TRYBOOT = re.compile(rb"reboot: Restarting system with command '[^']*\btryboot\b[^']*'")
MOST_COMMAND_LINE = 2047  # COMMAND_LINE_SIZE of arm64, with its end
PI_3B = 0xA02082
HEADER_LINES = 54
AGENT = """[Unit]
DefaultDependencies=no
Before=kiosk.service kiosk-scanner.service
After=local-fs.target systemd-udevd.service
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'd=/dev/disk/by-id/virtio-trial;t=/run/trial;udevadm wait -t 99 $$d;\\
mkdir -p $$t;mount -t squashfs -r $$d $$t;exec sh $$t/start'
"""


@dataclass(frozen=True, slots=True)
class Start:
    """What the firmware hands to the kernel.

    Attributes:
        slot: The letter of os_prefix: a or b.
        tried: Whether it was tryboot.txt.
    """

    kernel: Path
    initrd: Path
    device_tree: Path | None
    command_line: str
    slot: str
    tried: bool


def read_config(text):
    """The settings of a config.txt that hold for every board; the last one of a name counts.

    Sections such as [pi4] are passed over; [all] ends them.
    """
    found, holds = {}, True
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        if line.startswith("[") and line.endswith("]"):
            holds = line == "[all]"
        elif line.startswith("initramfs ") and holds:
            found["initramfs"] = line.split()[1]
        elif "=" in line and holds:
            name, _, value = line.partition("=")
            found[name.strip()] = value.strip()
    return found


def asked_for_tryboot(console):
    """Whether the last restart on this console asked the firmware for tryboot.txt."""
    return bool(TRYBOOT.search(console))


def load(card, folder, *, tryboot=False, board="virt"):
    """Do what the firmware does between power and kernel.

    Args:
        card: A `card.Card`.
        folder: Where kernel and initrd are copied to.
        tryboot: Read tryboot.txt in the place of config.txt.
        board: `virt`, or the name of a .dtb of the image, such as bcm2837-rpi-3-b.
    """
    config = read_config(card.get("tryboot.txt" if tryboot else "config.txt").decode())
    prefix = config.get("os_prefix", "")
    start = {}
    for part, name in (
        ("kernel", config.get("kernel", "kernel8.img")),
        ("initrd", config.get("initramfs", "initrd.img")),
        ("device_tree", f"{board}.dtb" if board != "virt" else None),
    ):
        start[part] = None
        if name is not None:
            start[part] = folder / f"{part}-{prefix.strip('/') or 'top'}"
            start[part].write_bytes(card.get(prefix + name))
    command_line = card.get(prefix + config.get("cmdline", "cmdline.txt")).decode()
    # The firmware takes the first line, and puts the board's serial port in.
    first = (command_line.splitlines() or [""])[0].replace("\0", "").strip()
    return Start(
        command_line=with_console(first),
        slot=prefix[:1],
        tried=tryboot,
        **start,
    )


def with_console(command_line):
    """The same with QEMU's serial port as its only console, and the end of a panic in an end."""
    words = [word for word in command_line.split() if not word.startswith(("console=", "panic="))]
    return " ".join([*words, "console=ttyAMA0,115200", "panic=-1"])


def with_unit(command_line, name, unit, *, drop_ins=()):
    """The same with a unit more in it, by the way systemd has for that.

    Args:
        command_line: Of the kernel.
        name: Of the unit, with .service.
        unit: Its text.
        drop_ins: (unit, text) of others.

    Raises:
        ValueError: The kernel would cut it off.
    """
    more = [f"systemd.set_credential_binary=systemd.extra-unit.{name}:{_base64(unit)}"]
    more += [
        f"systemd.set_credential_binary=systemd.unit-dropin.{other}~trial:{_base64(text)}"
        for other, text in drop_ins
    ]
    more += [f"systemd.wants={name}"]
    whole = " ".join([command_line, *more])
    if len(whole) > MOST_COMMAND_LINE:
        raise ValueError(f"a command line of {len(whole)} characters; the kernel takes 2047")
    return whole


def make_device_tree(qemu, arguments, folder, *, revision=PI_3B):
    """QEMU's tree for a machine, with a Pi's revision and header.

    Args:
        qemu: The program.
        arguments: Processor, memory: what QEMU writes into its tree.
        folder: Where it is written.
        revision: The board's, as its firmware gives it (raspberrypi.com, "revision codes").
    """
    tree = folder / "virt.dtb"
    machine = f"virt,dumpdtb={tree}"
    # -nodefaults: QEMU's own network card wants a file of another package (ipxe-qemu).
    command = [qemu, "-nodefaults", "-M", machine, *arguments]
    subprocess.run(command, check=True, capture_output=True)
    source = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dts", str(tree)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # QEMU's own lines are the power button's; as chip 0 they would stand where a Pi's header does.
    source = _without_node(source, "gpio-keys")
    source = _without_node(source, "pl061@")
    header = f"""
    system {{ linux,revision = <{revision:#x}>; }};
    header {{
        compatible = "gpio-simulator";
        bank0 {{
            gpio-controller;
            #gpio-cells = <2>;
            ngpios = <{HEADER_LINES}>;
            gpio-sim,label = "pinctrl-bcm2835";
        }};
    }};
"""
    end = source.rindex("};")
    source = source[:end] + header + source[end:]
    subprocess.run(
        ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(tree), "-"],
        input=source,
        check=True,
        text=True,
    )
    return tree


def _without_node(source, name):
    """Take a node out of a device tree's source, with all that is in it."""
    lines, kept, depth = source.splitlines(keepends=True), [], 0
    for line in lines:
        if depth == 0 and line.strip().startswith(name) and line.rstrip().endswith("{"):
            depth = 1
        elif depth:
            depth += line.count("{") - line.count("}")
        else:
            kept.append(line)
    return "".join(kept)


def _base64(text):
    return base64.b64encode(text.encode()).decode()


def add_revision(tree, revision=PI_3B):
    """Write the board's revision into a device tree, where the real firmware writes it."""
    node = ["/system", "linux,revision", f"{revision:x}"]
    subprocess.run(["fdtput", "-p", "-t", "x", str(tree), *node], check=True)
