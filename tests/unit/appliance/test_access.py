"""Who may log in, and the host's own key."""

import shutil
import subprocess
from pathlib import Path

import pytest
from appliance import access
from tools import need

OVERLAY = Path(__file__).parents[3] / "image-build/overlay/etc"


def lines_of(path):
    return [x for x in (OVERLAY / path).read_text().splitlines() if x and not x.startswith("#")]


def test_the_hosts_key_is_made_once(tmp_path):
    need("ssh-keygen", "`ssh-keygen` is missing: apt-get install openssh-client")
    folder = tmp_path / "ssh"

    assert access.make_host_key(folder)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not access.make_host_key(folder)

    assert set(made) == {access.HOST_KEY, f"{access.HOST_KEY}.pub"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made
    assert (folder / access.HOST_KEY).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert subprocess.run(["ssh-keygen", "-y", "-f", folder / access.HOST_KEY]).returncode == 0


@pytest.mark.parametrize("cut", ["before", "between"])
def test_a_start_that_was_cut_is_made_good(tmp_path, cut):
    need("ssh-keygen", "`ssh-keygen` is missing: apt-get install openssh-client")
    folder = tmp_path / "ssh"
    access.make_host_key(folder)
    (folder / "new").mkdir()
    shutil.move(folder / access.HOST_KEY, folder / "new" / access.HOST_KEY)
    if cut == "before":
        shutil.move(folder / f"{access.HOST_KEY}.pub", folder / "new" / f"{access.HOST_KEY}.pub")

    assert access.make_host_key(folder)

    assert {path.name for path in folder.iterdir()} == {access.HOST_KEY, f"{access.HOST_KEY}.pub"}
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", folder / access.HOST_KEY], capture_output=True, text=True
    ).stdout
    public = (folder / f"{access.HOST_KEY}.pub").read_text()
    assert shown.split()[:2] == public.split()[:2]


def test_nobody_logs_in_but_the_technician_with_a_key():
    told = dict(line.split(" ", 1) for line in lines_of("ssh/sshd_config.d/kiosk.conf"))

    assert told["AllowUsers"] == "technician"
    assert told["AuthenticationMethods"] == "publickey"
    assert told["AuthorizedKeysFile"] == "/run/kiosk-intake/authorized_keys"
    assert told["HostKey"] == f"/data/ssh/{access.HOST_KEY}"
    for word in ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitRootLogin"):
        assert told[word] == "no"
    condition = "ConditionPathExists=/run/kiosk-intake/authorized_keys"
    assert condition in lines_of("systemd/system/ssh.service.d/kiosk.conf")


def test_keys_stand_one_a_line():
    assert access.authorized(("a b", "c d")) == "a b\nc d\n"
    assert access.authorized(()) == ""
