"""What the building machine must have, each thing missing said in a sentence with its remedy."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from builder.trouble import BuildError

PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
    "git": "git",
}
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def check(say: Callable[[str], None]) -> bool:
    """See whether an image can be built here; as root, mend what root can mend.

    Args:
        say: Told what was changed on this machine, and why root is needed where it is.

    Returns:
        Whether commands run inside a user namespace, as an ordinary user has to.

    Raises:
        BuildError: Something is missing.
    """
    if platform.machine() != "x86_64":
        raise BuildError(
            "The image is built on x86-64 only, for which its tools are locked; here is "
            f"{platform.machine()}."
        )
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name)})
    if not any(map(shutil.which, EMULATORS)):
        missing.append("qemu-user-static")
    is_root = os.geteuid() == 0
    if not is_root and not shutil.which("newuidmap"):
        missing.append("uidmap")
    if missing:
        raise BuildError(f"Packages are missing here: sudo apt install {' '.join(missing)}")
    _binfmt(say, is_root=is_root)
    if not is_root and not _may_map_users():
        raise BuildError(
            "This machine does not let an ordinary user be root inside a namespace of its own, "
            "which building needs to own other users' files (Ubuntu 24.04: kernel.apparmor_"
            "restrict_unprivileged_userns=1; a container: no user namespaces). Here only root can "
            "build: sudo make image"
        )
    return not is_root


def _binfmt(say: Callable[[str], None], *, is_root: bool) -> None:
    """See to it that the kernel starts programs for arm64."""
    if not (BINFMT / "register").exists() and is_root:
        done = _run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
        if not done:
            say("Mounted binfmt_misc, so that programs for arm64 can run here.")
    if not _is_registered() and is_root and shutil.which("update-binfmts"):
        done = _run("update-binfmts", "--enable", "qemu-aarch64")
        if not done:
            say("Enabled qemu-aarch64 in binfmt_misc.")
    if not _is_registered():
        raise BuildError(
            "The kernel here does not know how to start programs for arm64: sudo apt install "
            "qemu-user-static binfmt-support && sudo update-binfmts --enable qemu-aarch64"
        )


def _is_registered() -> bool:
    try:
        text = (BINFMT / "qemu-aarch64").read_text(encoding="ascii")
    except OSError:
        return False
    # F: the interpreter was opened when it was registered, so it is there inside a chroot too.
    flags = next((li for li in text.splitlines() if li.startswith("flags:")), "")
    return text.startswith("enabled") and "F" in flags.partition(":")[2]


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return (done.stderr.strip() or "failed") if done.returncode else ""


def _may_map_users() -> bool:
    return not _run(*namespace(as_user=True), "mount", "-t", "tmpfs", "none", "/mnt")


def namespace(*, as_user: bool) -> list[str]:
    """The words before a command that mounts and changes owners without touching this machine."""
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if as_user:
        words += ["--user", "--map-root-user", "--map-auto"]
    return words
