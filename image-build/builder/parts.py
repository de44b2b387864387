"""Lists of what is in the image: for people, for tools (CycloneDX), for Raspberry Pi Imager."""

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from builder.lock import Deb
from builder.tree import Tree
from builder.wheels import blocks

Part = dict[str, Any]

# What the boot medium's programs of Raspberry Pi are for, in Imager's words. "none": Imager offers
# nothing of its own (user, Wi-Fi, SSH), because all of that stands in kiosk.yaml here.
DEVICES = ("pi5-64bit", "pi4-64bit", "pi3-64bit")
INIT_FORMAT = "none"


def licences(tree: Tree) -> dict[str, list[str]]:
    """The licences that each Debian package names, where its record is machine-readable."""
    found = {}
    for path, entry in tree.files("usr/share/doc/*/copyright"):
        text = entry.read().decode(errors="replace")
        if text.lstrip().startswith("Format:"):
            names = re.findall(r"^License:[ \t]*(\S[^\n]*)$", text, re.MULTILINE)
            found[path.split("/")[3]] = sorted({name.strip() for name in names})
    return found


def python_parts(locks: Path, names: list[str]) -> list[Part]:
    """The Python packages, with the hashes and licences of the locks."""
    texts = [(locks / f"{name}.txt").read_text(encoding="utf-8") for name in ("run", "pi")]
    known = {**blocks(texts[1]), **blocks(texts[0])}
    says = json.loads((locks / "licences.json").read_text(encoding="utf-8"))
    found = []
    for name in sorted(names):
        head, *_ = known[name].splitlines()
        version = head.partition("==")[2].rstrip(" \\")
        found.append(
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                "licenses": [{"expression": says[name]}],
            }
        )
    return found


def deb_parts(debs: list[Deb], says: dict[str, list[str]]) -> list[Part]:
    """The Debian packages, with the hashes of the lock."""
    found = []
    for deb in sorted(debs, key=lambda d: d.name):
        purl = (
            f"pkg:deb/debian/{quote(deb.name)}@{quote(deb.version)}?arch={deb.arch}&distro=trixie"
        )
        part: Part = {
            "type": "library",
            "name": deb.name,
            "version": deb.version,
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": deb.sha256}],
        }
        if says.get(deb.name):
            part["licenses"] = [{"license": {"name": name}} for name in says[deb.name]]
        found.append(part)
    return found


def sbom(name: str, version: str, parts: list[Part], epoch: int) -> bytes:
    """The list of parts in CycloneDX 1.6; the same locks give the same bytes."""
    root = f"pkg:generic/{name}@{quote(version)}"
    for part in parts:
        part["bom-ref"] = part["purl"]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": dt.datetime.fromtimestamp(epoch, dt.UTC).isoformat(),
            "component": {
                "type": "operating-system",
                "name": name,
                "version": version,
                "bom-ref": root,
            },
        },
        "components": parts,
        "dependencies": [{"ref": root, "dependsOn": [part["purl"] for part in parts]}],
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def listing(parts: list[Part]) -> bytes:
    """Name and version of each part, one a line."""
    kinds = {"pkg:deb": "debian", "pkg:pyp": "python"}
    lines = [f"{kinds[part['purl'][:7]]} {part['name']} {part['version']}" for part in parts]
    return ("\n".join(lines) + "\n").encode()


def imager(
    name: str,
    url: str,
    *,
    size: int,
    sha256: str,
    packed_size: int,
    packed_sha256: str,
    epoch: int,
) -> bytes:
    """A repository for Raspberry Pi Imager: `rpi-imager --repo FILE`, or by its address."""
    entry = {
        "name": name,
        "description": "Flash, edit kiosk.yaml on the card, plug in",
        "icon": "icons/use_custom.png",
        "url": url,
        "extract_size": size,
        "extract_sha256": sha256,
        "image_download_size": packed_size,
        "image_download_sha256": packed_sha256,
        "release_date": dt.datetime.fromtimestamp(epoch, dt.UTC).date().isoformat(),
        "init_format": INIT_FORMAT,
        "devices": list(DEVICES),
        "architecture": "armv8",
    }
    return (json.dumps({"os_list": [entry]}, indent=1) + "\n").encode()
