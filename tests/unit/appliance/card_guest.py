"""The first process of the machine that a card is put into: mounts it, does one task.

Started by `card_machine.run` with one argument, JSON in hexadecimal digits. What is said on the
console, lines that begin with @, is the task's result. Below /dev everything is in memory.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

OUT, FIRMWARE, DATA, RUN = (
    Path("/dev/out"),
    Path("/dev/firmware"),
    Path("/dev/data"),
    Path("/dev/r"),
)
READ_ONLY, POWER_OFF, FINIT_MODULE = 1, 0x4321FEDC, 313  # x86-64
MODULES = "/usr/lib/uml/modules"


def say(**what):
    os.write(1, b"@" + json.dumps(what).encode() + b"\n")


def mount(what, where, kind, options="", flags=0):
    if not Path(where).exists():
        Path(where).mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(
        str(what).encode(), bytes(Path(where)), kind.encode(), flags, options.encode()
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(where))


def umount(where):
    assert ctypes.CDLL(None).umount2(bytes(Path(where)), 0) == 0, where


def load(modules, *names):
    [release] = modules.iterdir()
    for name in names:
        [module] = release.rglob(f"{name}.ko")
        with module.open("rb") as file:
            done = ctypes.CDLL(None).syscall(FINIT_MODULE, file.fileno(), b"", 0)
        assert done == 0, name


def mount_fat(flags=READ_ONLY):
    mount("/dev/ubda1", FIRMWARE, "vfat", "umask=0077,iocharset=ascii", flags)


def places(slot="A", boot_files=None):
    from appliance.slots import Places

    proc, devices = Path("/dev/p"), Path("/dev/by-partuuid")
    proc.mkdir(exist_ok=True)
    (proc / "cmdline").write_text(f"quiet rauc.slot={slot} panic=10\n")
    devices.mkdir(exist_ok=True)
    for number in (1, 2, 3, 4):
        with contextlib.suppress(FileExistsError):
            (devices / f"6b696f73-0{number}").symlink_to(f"/dev/ubda{number}")
    return Places(
        firmware=FIRMWARE, kept=DATA / "appliance", run=RUN, proc=proc, devices=devices,
        boot_files=boot_files or Path("/nowhere"),
    )  # fmt: skip


def overwrites(request):
    """Overwrite files, each with what a seed gives, and read them back through the mount."""
    from appliance import card

    mount_fat()
    for number, (name, length, pad) in enumerate(request["files"]):
        path = FIRMWARE / name
        content = random.Random(number).randbytes(length)
        if path.exists():
            path.read_bytes()  # so that old pages are there to be forgotten
        began_s = time.monotonic()
        try:
            written = card.overwrite(path, content, pad=bytes.fromhex(pad) if pad else None)
        except card.CardError as error:
            say(name=name, refused=str(error))
            continue
        took_ms = (time.monotonic() - began_s) * 1000
        seen = hashlib.sha256(path.read_bytes()).hexdigest()
        again = card.write_if_changed(path, content, pad=bytes.fromhex(pad) if pad else None)
        say(name=name, written=written, seen=seen, again=again, ms=round(took_ms, 1))
    umount(FIRMWARE)


def ordinary_write(request):
    """The control: the same new content by the usual way, a mount that is writable."""
    mount_fat(0)
    (FIRMWARE / request["name"]).write_bytes(random.Random(0).randbytes(request["length"]))
    umount(FIRMWARE)
    os.sync()


def writable(request):
    """An overwrite on a mount that is writable, on a folder in memory, and without a file."""
    from appliance import card

    mount_fat(0)
    Path("/dev/in-memory").write_bytes(b"0123")
    for path in (FIRMWARE / "config.txt", Path("/dev/in-memory"), FIRMWARE / "none.txt"):
        try:
            card.overwrite(path, b"0123", pad=b" ")
        except card.CardError as error:
            say(refused=str(error))
    umount(FIRMWARE)


def journey(request):
    """An update from A to B and its trial, each sector that is written told in order."""
    from appliance import boot_files, card, slots

    mount_fat()
    usual = card._pwrite

    def told(device, data, at):
        for n in range(0, len(data), 512):
            say(at=at + n, sector=data[n : n + 512].hex())
        return usual(device, data, at)

    card._pwrite = told
    here = places("A", boot_files=OUT / "boot")
    say(mark="begin")
    slots.begin_writing("B", here)
    say(mark="slot B is rubbish")
    with boot_files.mounted(Path(request["new"]), RUN / "root") as root:
        say(mark="boot files", version=boot_files.version_of(root))
        boot_files.deploy(root / boot_files.FOLDER, "B", here)
    say(mark="slot B is whole")
    slots.try_next("B", "2.0.0", here)
    say(mark="to be tried", **standing(here))
    here = places("B")
    say(mark="trial", **standing(here))
    assert slots.mark_good(here)
    assert not slots.mark_good(here)
    say(mark="good", **standing(here))
    for name in ("a", "b"):
        say(line=(FIRMWARE / name / "cmdline.txt").read_text())
    umount(FIRMWARE)


class Cut(BaseException):
    """The power is gone."""


def interrupted(request):
    """Each step cut before each of its writes, seen by the next start, and done again."""
    from appliance import card, slot_record, slots

    mount_fat()
    (DATA / "appliance").mkdir(parents=True)
    usual = card._pwrite, slot_record.save
    left = [-1]

    def counted(function):
        def call(*arguments):
            if left[0] == 0:
                raise Cut
            left[0] -= 1
            return function(*arguments)

        return call

    card._pwrite, slot_record.save = counted(usual[0]), counted(usual[1])

    def step(name, slot, action):
        for cut_at in range(10):
            left[0] = cut_at
            try:
                action(places(slot))
            except Cut:
                left[0] = -1
                now = places(slots.permanent(places()))
                say(step=name, cut_at=cut_at, **standing(now))
                continue
            finally:
                left[0] = -1
            say(step=name, cut_at=None, writes=cut_at, **standing(places(slot)))
            return

    step("begin", "A", lambda here: slots.begin_writing("B", here))
    step("try", "A", lambda here: slots.try_next("B", "2.0.0", here))
    slots.count_start(places("A"))
    step("good", "B", lambda here: slots.mark_good(here))
    step("begin", "B", lambda here: slots.begin_writing("A", here))
    step("try", "B", lambda here: slots.try_next("A", "3.0.0", here))
    slots.count_start(places("B"))
    step("give up", "A", lambda here: slots.give_up("no journal", here))
    say(step="back", **standing(places("B")), refused=slots.refused(places("B")))
    step("try", "B", lambda here: slots.try_next("A", "4.0.0", here))
    for _ in range(slots.MOST_TRIALS):
        slots.count_start(places("B"))
    say(step="back twice", **standing(places("B")), refused=slots.refused(places("B")))
    umount(FIRMWARE)


def growth(request):
    """Grow the mounted data partition, or lose the power at a step of it."""
    from appliance import grow, programs

    usual, cut_at = programs.run, request.get("cut_at")

    def run(command, most_s=60.0):
        if (command[0] == "partx" and cut_at == "table") or (
            command[0] == "resize2fs" and cut_at == "kernel"
        ):
            power_off()
        if command[0] == "resize2fs" and cut_at:
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(float(cut_at))
            power_off()
        return usual(command, most_s)

    programs.run = run
    mount("/dev/ubda4", DATA, "ext4", "errors=remount-ro")
    row = DATA / "row"
    if not row.exists():
        row.write_text("a row")
        os.sync()
    for _ in range(request["times"]):
        began_s = time.monotonic()
        before = Path("/sys/class/block/ubda4/size").read_text()
        code = grow.main(places())
        changed = before != Path("/sys/class/block/ubda4/size").read_text()
        ms = (time.monotonic() - began_s) * 1000
        stat = os.statvfs(DATA)
        say(
            changed=changed,
            code=code,
            ms=ms,
            bytes=stat.f_blocks * stat.f_frsize,
            kept=row.read_text(),
        )
    umount(DATA)


def filling(request):
    """Fill the other slot, as often as asked, or lose the power in the middle."""
    from appliance import fill, slots

    mount_fat()
    mount("/dev/ubda4", DATA, "ext4")
    here = places("A", boot_files=OUT / "boot")
    pieces = fill._pieces
    left = [int(request.get("cut_at") or -1)]

    def until_cut(device, length):
        for at, piece in pieces(device, length):
            if left[0] == 0:
                power_off()
            left[0] -= 1
            yield at, piece

    fill._pieces = until_cut
    for _ in range(request["times"]):
        slot = fill.needed(here)
        say(needed=slot)
        if slot:
            began_s = time.monotonic()
            try:
                say(digest=fill.fill(slot, here), ms=(time.monotonic() - began_s) * 1000)
            except fill.FillError as error:
                say(refused=str(error))
    say(record=here.record.read_text(), code=fill.main(here))
    here.record.unlink()
    code = fill.main(here)
    slots.mark_written(here)
    here.record.unlink()
    say(code=code, while_rauc_writes=fill.needed(here))
    umount(DATA)
    umount(FIRMWARE)


def power_off():
    """As if the plug were pulled: nothing is written that was not yet."""
    ctypes.CDLL(None).reboot(POWER_OFF)


def standing(here):
    from appliance import slots

    now = slots.standing(here)
    return {
        "running": now.running, "permanent": now.permanent, "to_try": now.to_try,
        "on_trial": now.on_trial, "failed": now.failed, "next": slots.next_to_start(here),
        "good": [slot for slot in "AB" if slots.is_good(slot, here)],
    }  # fmt: skip


def refusals(request):
    """What may not be done, each with what RAUC's backend says of it."""
    from appliance import bootloader

    mount_fat()
    for slot, *arguments in request["asked"]:
        here = places(slot)
        (here.run / "refused").unlink(missing_ok=True)
        code = bootloader.main(arguments, here)
        why = here.run / "refused"
        say(asked=arguments, code=code, why=why.read_text() if why.exists() else "")
    umount(FIRMWARE)


def main(request):
    mount("proc", "/proc", "proc")
    mount("sys", "/sys", "sysfs")
    mount("none", OUT, "hostfs", request["out"])
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    host = "" if request["root"] == "/" else "/dev/host"
    request["project"] = host + request["project"]
    sys.path.insert(0, f"{request['project']}/image-build")
    measure = None
    if request["measured"]:
        if host:
            # Of another Python: what is not compiled works here too.
            sys.path.append(f"{host}{request['packages']}")
            os.environ["COVERAGE_CORE"] = "pytrace"
        import coverage

        measure = coverage.Coverage(
            data_file=OUT / ".coverage", branch=True, config_file=False,
            source=[f"{request['project']}/image-build"],
        )  # fmt: skip
        measure.start()
    load(
        Path(host + MODULES),
        "fat",
        "vfat",
        "nls_cp437",
        "nls_ascii",
        "nls_utf8",
        "loop",
        "squashfs",
    )
    if request["task"] in {"installs", "cuts", "sources"}:
        load(Path(host + MODULES), "dm-mod", "dm-bufio", "dm-verity", "nbd")
        sys.path.insert(0, f"{request['project']}/tests/unit/appliance")
        import rauc_guest

        getattr(rauc_guest, request["task"])(sys.modules[__name__], request)
    else:
        globals()[request["task"]](request)
    if measure:
        measure.stop()
        measure.save()
    say(ended=True)


if __name__ == "__main__":
    try:
        main(json.loads(bytes.fromhex(sys.argv[1])))
    except BaseException:  # noqa: BLE001 the first process may not end, whatever it was
        os.write(1, traceback.format_exc().encode())
        log = ctypes.create_string_buffer(1024)
        ctypes.CDLL(None).klogctl(3, log, 1023)
        os.write(1, log.value)
    os.sync()
    power_off()
