"""A sandbox gateway and a name server on a host of their own. Run as a script by `lan.py`."""

import json
import socket
import struct
import sys
import threading
import time

from kiosk.sandbox.faults import Pace
from kiosk.sandbox.gateway import SandboxGateway


class Names:
    """Knows one name, whatever is asked, and may keep its answers back."""

    def __init__(self):
        self.may_tell = threading.Event()
        self.may_tell.set()
        self.addresses = ["10.77.0.2"]
        self.asked = self.told = 0
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("10.77.0.2", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            query, client = self._sock.recvfrom(4096)
            self.asked += 1
            threading.Thread(target=self._answer, args=(query, client), daemon=True).start()

    def _answer(self, query, client):
        self.may_tell.wait()
        end = query.index(b"\0", 12) + 5
        question, wanted = query[12:end], struct.unpack("!H", query[end - 4 : end - 2])[0]
        found = self.addresses if wanted == 1 else []  # A; of AAAA there is none
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(ip) for ip in found
        ]
        head = query[:2] + struct.pack("!HHHHH", 0x8580, 1, len(records), 0, 0)
        self._sock.sendto(head + question + b"".join(records), client)
        self.told += 1


def main():
    names = Names()
    with SandboxGateway(host="0.0.0.0", pace=Pace(stall_s=60.0, late_s=1.5)) as sandbox:
        print(json.dumps({"port": int(sandbox.url.rpartition(":")[2])}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            answer = {}
            match order.pop("do"):
                case "ledger":
                    answer = sandbox.ledger.snapshot()
                case "fault":
                    sandbox.set_fault(order["name"])
                case "addresses":
                    names.addresses = order["addresses"]
                case "keep names back":
                    names.may_tell.clear()
                case "tell names":
                    names.may_tell.set()
                case "wait":
                    # Until it has seen so much, for at most as long as that may take.
                    until_s = time.monotonic() + 60
                    while time.monotonic() < until_s:
                        seen = {
                            "connections": len(sandbox.ledger.connections),
                            "requests": len(sandbox.ledger.requests),
                            "charges": len(sandbox.ledger.charges),
                            "asked": names.asked,
                            "told": names.told,
                        }
                        if seen[order["of"]] >= order["count"]:
                            break
                        time.sleep(0.01)
                    answer = seen
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
