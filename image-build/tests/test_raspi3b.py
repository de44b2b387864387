"""The whole image in an emulated Raspberry Pi 3B: its own device tree, SD controller and GPIO.

No network and no camera there, so the kiosk is out of service; what counts is that kernel,
card, pins and units come up on the real board's tree. QEMU's model stops short of a clean
power-off.
"""

import re
import subprocess
import time

import days
import firmware
import machine
from card import GIB, Card
from tools import figure, need

DTB = "bcm2837-rpi-3-b"
DONE = "TRIAL-DONE DONE"
# QEMU's model starts anew at once when the watchdog is only wound up.
NO_WATCHDOG = "module_blacklist=bcm2835_wdt"
# As many as the machine that emulates them has. The others stay without power: a core that waits
# to be started is a loop in QEMU, which takes the time of those that work.
TWO_CORES, POWERED = "maxcpus=2", "bcm2837.enabled-cpus=2"
# What the emulated board does not have.
MAY_FAIL = {"systemd-networkd-wait-online.service"}
# Through the kernel: what a process writes itself stops at QEMU's serial port when it is reset.
UNIT = """[Unit]
DefaultDependencies=no
After=basic.target
[Service]
ExecStart=/bin/sh -c '\\
l(){ sed -u "s/^/<1>TRIAL-$$1 /">/dev/kmsg;};\\
i=0;until systemctl -q is-active kiosk-keeper;do sleep 5;i=$$((i+1));[ $$i -gt 99 ]&&break;\\
done;sleep 30;\\
systemctl list-jobs --plain --no-legend|l JOB;\\
systemctl --failed --plain --no-legend|l FAILED;ls /sys/bus/gpio/devices|l CHIP;\\
tr "\\\\0" "\\\\n" </proc/device-tree/model|l TREE;\\
modprobe kiosk_tryboot&&echo yes|l TRYBOOT;grep " /data " /proc/mounts|l DATA;\\
systemctl show -P ActiveState kiosk|l KIOSK;journalctl -b -ukiosk -ocat -n9|l LOG;echo DONE|l DONE'
"""


def test_the_image_starts_on_a_raspberry_pi_3b(image, workshop, tmp_path):
    need(machine.QEMU, "sudo apt install qemu-system-arm")
    card = Card.flashed(image, workshop / "raspi3b.img", size=2 * GIB)
    card.put("kiosk.yaml", days.settings_for("http://192.0.2.1"))
    start = firmware.load(card, tmp_path, board=DTB)
    line = firmware.with_unit(
        f"{start.command_line} {NO_WATCHDOG} {TWO_CORES}", "trial.service", UNIT
    )
    firmware.add_revision(start.device_tree)
    console = tmp_path / "console"
    command = [
        *(machine.QEMU, "-M", "raspi3b", "-global", POWERED, "-no-reboot", "-display", "none"),
        *("-kernel", str(start.kernel), "-initrd", str(start.initrd)),
        *("-dtb", str(start.device_tree), "-append", line),
        *("-drive", f"if=sd,format=raw,cache=unsafe,file={card.path}"),
        *("-serial", f"file:{console}", "-monitor", "none"),
    ]
    began_s = time.monotonic()
    with (tmp_path / "qemu").open("wb") as errors:
        board = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        try:
            end_s = began_s + machine.GENEROUS_S
            said = ""
            while DONE not in said:
                assert board.poll() is None, said[-3000:]
                assert time.monotonic() < end_s, said[-3000:]
                time.sleep(1)
                said = console.read_text(errors="replace") if console.exists() else ""
        finally:
            board.kill()
            board.wait()
    took_s = time.monotonic() - began_s
    failed = {words.split()[0] for words in re.findall(r"TRIAL-FAILED (.*)", said)}
    assert failed <= MAY_FAIL, said[-3000:]
    assert "Raspberry Pi 3 Model B" in re.search(r"TRIAL-TREE (.*)", said)[1]
    chips = re.findall(r"TRIAL-CHIP (\S+)", said)
    assert len(chips) == 2, chips
    assert re.search(r"TRIAL-DATA /dev/mmcblk\S+ /data ext4 rw", said), said[-3000:]
    # It holds the pins of the board's own GPIO chip, and says why it does not sell.
    assert "TRIAL-KIOSK active" in said, said[-3000:]
    assert "TRIAL-TRYBOOT yes" in said, said[-3000:]
    figure(
        f"raspi3b from the SD card: {took_s:.0f} s to the test's report, GPIO chips "
        f"{', '.join(chips)}, failed units: {', '.join(sorted(failed)) or 'none'}, "
        "kiosk active and out of service, kiosk_tryboot loads"
    )
