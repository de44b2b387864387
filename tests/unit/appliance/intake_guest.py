"""The first process of a machine with a card in it: one start of intake, with nothing played.

Stands in for `card_guest.py`, and takes its ways from there.
"""

import json
import os
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

# This is started by that one's name, so that an import would find itself.
HERE = Path(os.path.realpath(__file__)).parent
spec = spec_from_file_location("ways", HERE / "card_guest.py")
guest = sys.modules["ways"] = module_from_spec(spec)
spec.loader.exec_module(guest)


def intake(request):
    """Take what is on the card, with the card's own way to overwrite it."""
    from dataclasses import asdict

    from appliance.card import overwrite
    from appliance.intake import Places, run

    guest.mount_fat()
    guest.mount("/dev/ubda4", guest.DATA, "ext4")
    host_name = Path("/dev/hostname")
    host_name.write_text("kiosk\n")
    places = Places(guest.FIRMWARE, guest.DATA, guest.RUN, guest.DATA / "etc", host_name)
    journals = guest.DATA / "kiosk"
    journals.mkdir(exist_ok=True)
    os.chown(journals, 701, 701)
    guest.say(result=asdict(run(places, overwrite=overwrite, group=None)))
    in_force = guest.DATA / "etc/kiosk.yaml"
    guest.say(kiosk=in_force.read_text() if in_force.exists() else "")
    guest.umount(guest.DATA)
    guest.umount(guest.FIRMWARE)


guest.intake = intake

if __name__ == "__main__":
    try:
        guest.main(json.loads(bytes.fromhex(sys.argv[1])))
    except BaseException:  # noqa: BLE001 - the first process may not end, whatever it was
        os.write(1, traceback.format_exc().encode())
    os.sync()
    guest.power_off()
