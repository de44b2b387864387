#!/usr/bin/env python3
"""Writes the list of parts (SBOM, CycloneDX 1.6) of the kiosk, from its locks alone.

    sbom.py OUT.cdx.json

The same locks give the same bytes, on any machine: no serial number, no time unless
SOURCE_DATE_EPOCH is set. The parts and their hashes come from cyclonedx-py; the licences from
`licences.json`, which a test compares with the packages' own metadata; who needs whom from the
locks. What is checked against the schema is what is written.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

LOCK = Path(__file__).resolve().parent
PROJECT = LOCK.parent
ROOT = "payme-kiosk"


def requirements() -> tuple[str, set[str], dict[str, set[str]]]:
    """The locks as one.

    Returns:
        All requirements, each once; the names that run on a kiosk; for each name its parts.
    """
    blocks: dict[str, str] = {}
    running: set[str] = set()
    parts: dict[str, set[str]] = {}
    for lock in ("pi", "run"):
        text = (LOCK / f"{lock}.txt").read_text(encoding="utf-8")
        for block in re.split(r"\n(?=[a-z0-9])", text):
            name = block.partition("==")[0]
            pinned, _, via = block.partition("    # via")
            blocks.setdefault(pinned.split(" \\")[0], pinned)
            if lock == "pi":
                running.add(name)
            for needer in re.findall(r"[A-Za-z0-9._-]+", re.sub(r"\(.*?\)|#", "", via)):
                parts.setdefault(needer, set()).add(name)
    return "\n".join(blocks.values()) + "\n", running, parts


def build() -> str:
    """Make the document."""
    text, running, parts = requirements()
    made = subprocess.run(  # noqa: S603 - the program beside this interpreter
        [
            *(str(Path(sys.executable).with_name("cyclonedx-py")), "requirements", "-"),
            *("--pyproject", str(PROJECT / "pyproject.toml"), "--output-reproducible"),
            *("--spec-version", "1.6", "--output-format", "JSON", "--no-validate"),
        ],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        # It misses the graph of dependencies, which is added below.
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    if made.returncode:
        sys.exit(made.stderr)
    bom = json.loads(made.stdout)
    licences = json.loads((LOCK / "licences.json").read_text(encoding="utf-8"))
    refs: dict[str, list[str]] = {}
    for part in bom["components"]:
        del part["description"]  # the requirement's line once more
        part["bom-ref"] = part["purl"]
        part["scope"] = "required" if part["name"] in running else "excluded"
        part["licenses"] = [_licence(licences[part["name"]])]
        refs.setdefault(part["name"], []).append(part["purl"])
    bom["components"].sort(key=lambda part: str(part["purl"]))
    bom["metadata"]["component"]["bom-ref"] = ROOT
    bom["dependencies"] = [
        _needs(ref, parts.get(name, set()), refs)
        for name, these in sorted({ROOT: [ROOT], **refs}.items())
        for ref in these
    ]
    return json.dumps(bom, indent=1, sort_keys=True) + "\n"


def _licence(expression: str) -> dict[str, Any]:
    """One SPDX identifier, or an expression of several."""
    return {"expression": expression} if " " in expression else {"license": {"id": expression}}


def _needs(ref: str, names: set[str], refs: dict[str, list[str]]) -> dict[str, Any]:
    return {"ref": ref, "dependsOn": sorted(other for name in names for other in refs[name])}


def why_invalid(document: str) -> str | None:
    """What the schema of CycloneDX 1.6 has against it; None is nothing."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document)
    return None if found is None else str(found)


def main(argv: list[str] | None = None) -> int:
    """Build, check, write."""
    (out,) = map(Path, sys.argv[1:] if argv is None else argv)
    document = build()
    if trouble := why_invalid(document):
        sys.stderr.write(f"{trouble}\n")
        return 1
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(document, encoding="utf-8")
    parts = json.loads(document)["components"]
    running = sum(part["scope"] == "required" for part in parts)
    sys.stdout.write(f"{out}: {len(parts)} parts, {running} of them run on a kiosk; valid\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
