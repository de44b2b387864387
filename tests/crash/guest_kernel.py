"""Becomes what starts a user-mode Linux kernel: `guest_kernel.py PROGRAM ARGUMENTS...`.

The kernel of user-mode-linux saves the wide registers of its processes by NT_X86_XSTATE with a
buffer that is too short for processors with AMX: it panics there before the first process runs
(`ptrace set fp regs failed, errno = 14`). Where that request is refused it saves the older set,
x87 and SSE. So this refuses it, on every machine alike, and `power.py` keeps the guest's
libraries from using more than SSE. x86-64 only.
"""

import ctypes
import errno
import os
import signal
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
AUDIT_ARCH_X86_64, NR_PTRACE = 0xC000003E, 101
PTRACE_GETREGSET, NT_X86_XSTATE = 0x4204, 0x202
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENODEV
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NR, ARCH, FIRST_ARGUMENT, THIRD_ARGUMENT = 0, 4, 16, 32  # offsets in struct seccomp_data


def _filter():
    wanted = (
        (ARCH, AUDIT_ARCH_X86_64),
        (NR, NR_PTRACE),
        (FIRST_ARGUMENT, PTRACE_GETREGSET),
        (THIRD_ARGUMENT, NT_X86_XSTATE),
    )
    steps = []
    for number, (offset, value) in enumerate(wanted):
        to_allow = 2 * (len(wanted) - number) - 1
        steps += [(LOAD, 0, 0, offset), (JUMP_IF_EQUAL, 0, to_allow, value)]
    steps += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def main(argv):
    libc = ctypes.CDLL(None, use_errno=True)
    steps = _filter()
    program = _Program(len(steps) // 8, steps)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # no guest outlives its test
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "no seccomp filter")
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
