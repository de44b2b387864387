"""A card in folders: what a technician puts on it, and what a start makes of it."""

import json
import os
import stat
from pathlib import Path

from appliance.intake import Places, run

from kiosk.settings_file import load_settings

PASSWORD, TOKEN = "tall trees by the sea", "0123456789-token"
GOOD = "gateway:\n  url: http://192.168.1.50:8080\noffer:\n  amount_sum: 15000\n"
SECRET = (
    f'gateway:\n  url: http://192.168.1.50:8080\n  headers: {{X-Api-Key: "{TOKEN}"}}\n'
    "offer:\n  amount_sum: 15000\n"
    f"device:\n  wifi_ssid: Shop\n  wifi_password: {PASSWORD}   # of the shop\n"
)


class Card:
    """The folders of one kiosk, and its starts.

    Attributes:
        fat: Where the technician puts kiosk.yaml.
        places: What intake is told.
    """

    def __init__(self, folder):
        self.fat, self.root = folder / "fat", folder
        host_name = folder / "hostname"
        self.places = Places(
            card=self.fat,
            data=folder / "data",
            run=folder / "run",
            config=folder / "data/etc",
            host_name=host_name,
        )
        for path in (self.fat, self.places.data, self.places.run):
            path.mkdir(exist_ok=True)
        journals = self.places.data / "kiosk"
        journals.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(journals, 701, 701)  # as the image makes it; root's is one that was lost
        host_name.write_text("kiosk\n")
        self.written = []

    def put(self, content, name="kiosk.yaml"):
        data = content if isinstance(content, bytes) else content.encode()
        (self.fat / name).write_bytes(data)
        return self

    def overwrite(self, path, data):
        """As the real one: same size, in place."""
        assert path.stat().st_size == len(data)
        with path.open("r+b") as file:
            file.write(data)
        self.written.append(path.name)

    def start(self, **more):
        options = {"overwrite": self.overwrite, "group": None, "is_mounted": Path.is_dir, **more}
        result = run(self.places, **options)
        told = json.loads((self.places.run / "kiosk-intake/result.json").read_text())
        assert told["findings"] == result.findings
        assert_no_secret(json.dumps(told))
        return result

    @property
    def in_force(self):
        folder = self.places.config
        return load_settings([folder / "kiosk.yaml", folder / "board.yaml"]).settings

    def rendered(self, name):
        path = self.places.run / name
        return path.read_text() if path.exists() else None

    def mode(self, path):
        return stat.S_IMODE(path.stat().st_mode)


def assert_no_secret(text):
    for secret in (PASSWORD, TOKEN, "PRIVATE KEY"):
        assert secret not in text
