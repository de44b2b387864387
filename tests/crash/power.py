"""A machine of its own whose power can be cut: user-mode Linux with a disk.

SIGKILL takes the guest's memory, and with it all that its kernel had not yet written to its
disk. What it wrote stays in the disk's file on the host, flushed or not: a write that reached
the device too early or without a flush is the business of `blocks.py`.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
KERNEL = "linux.uml"
PANIC = "Kernel panic"
WAIT_S = 60.0
# Everything wider than SSE is lost in this guest, see guest_kernel.py.
ONLY_SSE = (
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-AVX512F,-AVX512VL,-AVX512BW,"
    "-AVX_Fast_Unaligned_Load",
    "OPENSSL_ia32cap=~0x1000000000000000:~0xffffffffffffffff",
)
# Measured for a second at each boot, for file systems that the guest does not use.
NOT_AT_BOOT = "initcall_blacklist=raid6_select_algo,calibrate_xor_blocks,init_btrfs_fs"


class Guest:
    """One life of the machine, from power on to the cut.

    Attributes:
        said: What came over the console so far, see `guest_life.py`.
    """

    def __init__(self, folder, disk, **request):
        """Power on.

        Args:
            folder: Of the host: for mounts and for what the guest copies out.
            disk: The file that is its disk.
            request: See `guest_life.py`.
        """
        out = folder / "out"
        out.mkdir(exist_ok=True)
        request |= {"out": str(out), "path": [str(HERE), str(HERE.parent.parent)]}
        # The kernel has its own way with spaces and quotes on its command line.
        argument = json.dumps(request).encode().hex()
        self.said, self._begun, self._rest = [], b"", []
        self._errors = folder / "errors"
        command = [
            *(sys.executable, "-I", "-S", str(HERE / "guest_kernel.py")),
            *("unshare", "--pid", "--fork", "--kill-child"),
            *(KERNEL, "mem=160M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
            *(f"ubda={disk}", f"uml_dir={folder}/uml", "con=null", "con0=fd:0,fd:1"),
            *("panic=-1", "loglevel=1", NOT_AT_BOOT, *ONLY_SSE, f"init={sys.executable}"),
            *("--", "-B", str(HERE / "guest_life.py"), argument),
        ]
        # What is said outside the guest may not stand in the middle of one of its lines.
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
            )

    def listen(self, seconds):
        """Hear the console for some time."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            if select.select([self._process.stdout], [], [], left_s)[0]:
                self._hear()

    def listen_until(self, key):
        """Hear the console until a line with this key, or one that says that it does not open."""
        deadline_s = time.monotonic() + WAIT_S
        while not any({key, "refused"} & line.keys() for line in self.said):
            left_s = max(0.0, deadline_s - time.monotonic())
            ready, _, _ = select.select([self._process.stdout], [], [], left_s)
            alive = ready and self._hear() and not any(PANIC in line for line in self._rest)
            said = [*self._rest[:40], self._errors.read_text(errors="replace")]
            assert alive, "\n".join(["the guest fails", *said])

    def _hear(self):
        data = os.read(self._process.stdout.fileno(), 65_536)
        # What stands behind the last line break is cut off by the guest's end.
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            if line.startswith(b"@"):
                self.said.append(json.loads(line[1:]))
            else:
                self._rest.append(line.decode(errors="replace").strip())
        return data

    def cut(self):
        """Take its power; returns when nothing of it is left. Safe to call twice."""
        if self._process.poll() is None:
            # Its first process, so that `unshare` is left to reap it, not whoever adopts orphans.
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for victim in map(int, children or [pid]):
                with contextlib.suppress(ProcessLookupError):  # it ended by itself
                    os.kill(victim, signal.SIGKILL)
        while not self._process.stdout.closed and self._hear():
            pass  # every process of the guest holds the console: its end is theirs
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
