"""An emulated machine that a card is in, and somebody inside who does what the test asks.

QEMU emulates every instruction, so nothing here is about speed: what is waited for is a
condition, with a generous limit. `-no-reboot` ends QEMU where the machine would start again;
the next start is the firmware's business, see `firmware.py`.
"""

import contextlib
import json
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import firmware

QEMU = "qemu-system-aarch64"
GENEROUS_S = 900.0
HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
FRAMES = PROJECT / "tests/data/frames"
SHOWN = ("easy-01", "easy-02", "easy-03", "easy-04", "easy-05", "easy-06", "none-01")
SHARED = ("tests/vm/vivid.py",)  # besides what is in guest/
HOST = "10.0.2.2"  # the host, as the guest's network sees it
_PROCESSOR = ("-cpu", "cortex-a53", "-smp", "2")
_ENDS = re.compile(rb"reboot: (?:Power down|Restarting system.*|System halted)")


class MachineError(Exception):
    """The machine ended, or never came to where the test wanted it."""


def make_trial_disk(folder, frames):
    """The second disk: what the test brings along, read-only.

    Args:
        folder: Where the disk is made.
        frames: Names of recorded frames that can be shown to the camera.
    """
    content, disk = folder / "trial", folder / "trial.squashfs"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    for path in [*(HERE / "guest").glob("*"), *(PROJECT / name for name in SHARED)]:
        if path.is_file():
            shutil.copy(path, content)
    for name in frames:
        shutil.copy(FRAMES / f"{name}.png", content)
    subprocess.run(
        ["mksquashfs", str(content), str(disk), "-noappend", "-quiet", "-no-progress"],
        check=True,
        capture_output=True,
    )
    return disk


class Machine:
    """One life of a machine, from power on to its end.

    Attributes:
        start: What the firmware gave to the kernel.
        console: The file that its serial port writes to. Beside it in `asked`: all that was
            asked inside, for whoever looks for a fault (KIOSK_IMAGE_KEEP).
    """

    def __init__(
        self,
        card,
        folder,
        trial,
        *,
        tryboot=False,
        rtc="utc",
        memory_mb=512,
        network=True,
        disks=None,
        usb_port=False,
        log=None,
    ):
        """Power on.

        Args:
            card: A `card.Card`; it is written to.
            folder: For sockets and logs of this life; made anew.
            trial: See `make_trial_disk`.
            tryboot: Whether the last life asked for that.
            rtc: What the machine's clock says at the start, as for QEMU's -rtc base=.
            memory_mb: Of the machine.
            network: Whether a cable is in.
            disks: Further disks by name; each is /dev/disk/by-id/virtio-NAME inside.
            usb_port: Whether `plug` has somewhere to plug into.
            log: Where every write and flush to the card is noted (blklogwrites).
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.console = folder, folder / "console"
        self._agent, self._rest, self._number = None, b"", 0
        self.start = firmware.load(card, folder, tryboot=tryboot)
        shape = [*_PROCESSOR, "-m", str(memory_mb)]
        tree = firmware.make_device_tree(QEMU, shape, folder)
        command_line = firmware.with_unit(self.start.command_line, "trial.service", firmware.AGENT)
        command = [
            *(QEMU, "-M", "virt", *shape, "-no-reboot", "-nodefaults", "-display", "none"),
            *("-kernel", str(self.start.kernel), "-initrd", str(self.start.initrd)),
            *("-dtb", str(tree), "-append", command_line, "-rtc", f"base={rtc}"),
            *("-serial", f"file:{self.console}"),
            *_disk(card.path, "card", log),
            *("-device", "virtio-blk-pci,drive=card,serial=card"),
            *("-drive", f"if=none,id=trial,format=raw,readonly=on,file={trial}"),
            *("-device", "virtio-blk-pci,drive=trial,serial=trial"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={folder}/agent,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=trial"),
            *("-device", "virtio-rng-pci"),
            *("-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
        ]
        if network:
            command += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
        for name, path in (disks or {}).items():
            command += ["-drive", f"if=none,id={name},format=raw,readonly=on,file={path}"]
            command += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
        if usb_port:
            command += ["-device", "qemu-xhci,id=xhci"]
        self.began_at_s = time.monotonic()
        self._errors = (folder / "qemu").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    # Its life

    @property
    def runs(self):
        """Whether it still has power."""
        return self._process.poll() is None

    def said(self):
        """What came over its serial port."""
        return self.console.read_bytes() if self.console.exists() else b""

    def last_words(self, lines=60):
        """The end of its console and of QEMU's own complaints, for a message."""
        told = self.said().decode(errors="replace").splitlines()[-lines:]
        qemu = (self.folder / "qemu").read_text(errors="replace").splitlines()[-5:]
        return "\n".join([*told, *qemu])

    def cut(self):
        """Take its power: SIGKILL. A second call does nothing."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._errors.close()
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def wait_for_end(self, limit_s=GENEROUS_S):
        """Wait until it switched itself off or would start again; how, in the kernel's words."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise MachineError(f"it does not end:\n{self.last_words()}") from None
        self.cut()
        ends = _ENDS.findall(self.said())
        return ends[-1].decode() if ends else "without a word"

    @property
    def wants_tryboot(self):
        """Whether it ended with a restart that asks the firmware for tryboot.txt."""
        return firmware.asked_for_tryboot(self.said())

    def power_off(self):
        """Shut it down in order."""
        self.sh("systemctl poweroff --no-block")
        end = self.wait_for_end()
        if "Power down" not in end:
            raise MachineError(f"it did not switch itself off ({end}):\n{self.last_words()}")

    def plug(self, stick):
        """Plug a disk image in as a USB stick, read-only for it."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(str(self.folder / "qmp"))
            lines = sock.makefile("rw")
            lines.readline()  # its greeting
            self._tell(lines, "qmp_capabilities")
            file = {"driver": "file", "filename": str(stick), "read-only": True}
            node = {"driver": "raw", "node-name": "stick", "read-only": True, "file": file}
            self._tell(lines, "blockdev-add", **node)
            device = {"driver": "usb-storage", "drive": "stick", "bus": "xhci.0"}
            self._tell(lines, "device_add", **device, removable=True)

    @staticmethod
    def _tell(lines, what, **arguments):
        lines.write(json.dumps({"execute": what, "arguments": arguments}) + "\n")
        lines.flush()
        while "event" in (told := json.loads(lines.readline())):
            pass
        assert "return" in told, told

    def wait_for_words(self, words, limit_s=GENEROUS_S):
        """Wait until these stand on its console."""
        self.wait(lambda: words.encode() in self.said(), f"{words!r} on the console", limit_s)

    def wait(self, condition, what, limit_s=GENEROUS_S, *, every_s=0.5):
        """Wait until something is true; what the condition returns.

        Raises:
            MachineError: The machine ended before, or it never became true.
        """
        end_s = time.monotonic() + limit_s
        while not (found := condition()):
            if not self.runs:
                raise MachineError(f"it ended before {what}:\n{self.last_words()}")
            if time.monotonic() > end_s:
                raise MachineError(f"it never came: {what}\n{self.last_words()}")
            time.sleep(every_s)
        return found

    # Somebody inside

    def ask(self, do, *, limit_s=GENEROUS_S, **with_what):
        """Ask the agent in the guest, see guest/agent.py; its answer."""
        self._connect()
        self._number += 1
        request = {"do": do, "number": self._number, **with_what}
        try:
            self._agent.sendall(json.dumps(request).encode() + b"\n")
            end_s = time.monotonic() + limit_s
            while True:
                answer = self._hear(end_s)
                if answer is None:
                    raise MachineError(f"no answer to {do}:\n{self.last_words()}")
                if answer.get("number") == self._number:
                    break
        except OSError as error:
            raise MachineError(f"it ended ({error}):\n{self.last_words()}") from error
        with (self.folder / "asked").open("a") as asked:
            at_s = time.monotonic() - self.began_at_s
            asked.write(f"{at_s:.1f} {request} -> {str(answer)[:2000]}\n")
        if "error" in answer:
            raise MachineError(f"{do} {with_what}: {answer['error']}")
        return answer["answer"]

    def sh(self, script, *, check=True, limit_s=GENEROUS_S):
        """Run a shell script as root in the guest; what it wrote, without the last line's end."""
        code, out = self.ask("sh", script=script, limit_s=limit_s)
        if check and code != 0:
            raise MachineError(f"{script}: {code}\n{out}")
        return out.rstrip("\n")

    def state(self):
        """What the kiosk's control socket says; None while nobody answers there."""
        return self.ask("state")

    def wait_for_state(self, condition, what, limit_s=GENEROUS_S):
        """Wait until the kiosk's state fulfils a condition."""
        last = None

        def holds():
            nonlocal last
            last = self.state()
            return last if last is not None and condition(last) else None

        try:
            return self.wait(holds, what, limit_s)
        except MachineError as error:
            log = "journalctl -b -n 40 --no-pager -o short-monotonic -u 'kiosk*' -u trial"
            with contextlib.suppress(MachineError):
                raise MachineError(
                    f"{error}\nlast state: {last}\n{self.sh(log, limit_s=60)}"
                ) from error
            raise

    def wait_until_ready(self, limit_s=GENEROUS_S):
        """Wait until the kiosk sells; its state."""
        return self.wait_for_state(
            lambda s: s["state"] == "ready", "a kiosk that is ready", limit_s
        )

    def _connect(self):
        if self._agent is not None:
            return
        agent = socket.socket(socket.AF_UNIX)
        self.wait((self.folder / "agent").exists, "QEMU", every_s=0.1)
        agent.connect(str(self.folder / "agent"))
        self._agent = agent
        # The agent says hello when it is there, and again to whoever asks.
        end_s = time.monotonic() + GENEROUS_S
        while True:
            if not self.runs:
                raise MachineError(f"it ended before anybody was inside:\n{self.last_words()}")
            if time.monotonic() > end_s:
                raise MachineError(f"nobody answers inside:\n{self.last_words()}")
            with contextlib.suppress(OSError):
                agent.sendall(b'{"do": "hello", "number": 0}\n')
            if self._hear(time.monotonic() + 3):
                return

    def _hear(self, end_s):
        while b"\n" not in self._rest:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not select.select([self._agent], [], [], min(left_s, 1.0))[0]:
                if left_s <= 0 or not self.runs:
                    return None
                continue
            try:
                data = self._agent.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                time.sleep(0.2)  # QEMU's end comes before its process's
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            return {}


def _disk(path, name, log):
    if log is None:
        # Unsafe for the host's power, not for the guest's: what the guest wrote, the host has.
        return ["-drive", f"if=none,id={name},format=raw,cache=unsafe,file={path}"]
    log.write_bytes(b"")
    return [
        "-blockdev",
        f"driver=blklogwrites,node-name={name},file.driver=file,file.filename={path},"
        f"log.driver=file,log.filename={log},log-sector-size=512",
    ]
