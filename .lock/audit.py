#!/usr/bin/env python3
"""Looks up the packages of the locks in lists of known vulnerabilities.

    audit.py [--advisories FILE]... [--pip-audit PROGRAM] [--current] LOCK...

Without a network: each FILE is a list in the OSV format (https://ossf.github.io/osv-schema/),
either the archive of all advisories about PyPI that osv.dev publishes (`PyPI/all.zip`) or one
JSON file as `advisories.json` here. With a network: pip-audit asks PyPI. Each source says how
far it goes; a source that did not answer is never taken for one that found nothing.

Exit codes: 0 no finding, 1 a finding, 2 nothing could be looked up, 3 with --current: no
complete list of the last month was asked.
"""

import argparse
import datetime as dt
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

CURRENT_DAYS = 31
Record = dict[str, Any]


class Package(NamedTuple):
    """One package of a lock."""

    name: str
    version: str


class Answer(NamedTuple):
    """What one source said.

    Attributes:
        source: What was asked, and how far it goes.
        looked_up: How many packages it was asked about and knew, or could know.
        findings: One line each.
        until: The day up to which it knows, None where it did not answer.
        is_complete: Whether it knows of all packages, so that silence means something.
    """

    source: str
    looked_up: int
    findings: list[str]
    until: dt.date | None
    is_complete: bool


def packages_of(locks: Iterable[Path]) -> list[Package]:
    """Each package once, also where several locks or several Pythons have it."""
    found = {
        Package(canonicalize_name(name), version)
        for lock in locks
        for name, version in re.findall(
            r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    return sorted(found)


def records_of(path: Path) -> Iterator[Record]:
    """The advisories of an archive, or of one JSON file that holds a list of them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield json.loads(archive.read(name))
    else:
        yield from json.loads(path.read_text(encoding="utf-8"))


def affects(record: Record, package: Package) -> bool:
    """Whether an advisory that was not withdrawn names this version of this package."""
    if "withdrawn" in record:
        return False
    for affected in record.get("affected", []):
        what = affected.get("package", {})
        if what.get("ecosystem") != "PyPI" or canonicalize_name(what["name"]) != package.name:
            continue
        if package.version in affected.get("versions", []):
            return True
        ranges = [r for r in affected.get("ranges", []) if r["type"] == "ECOSYSTEM"]
        if any(_within(r["events"], Version(package.version)) for r in ranges):
            return True
    return False


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """Whether a version lies between an `introduced` and the end that follows it."""
    steps = sorted(
        (_version(text), 1 if kind == "last_affected" else 0, kind)
        for event in events
        for kind, text in event.items()
        if kind != "limit"
    )
    inside = False
    for at, _, kind in steps:
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        # Names no release of PyPI; as an end it counts as never reached, which finds too much.
        return Version("99999")


def ask_list(path: Path, packages: list[Package]) -> Answer:
    """Look the packages up in a file."""
    findings, count, newest = [], 0, ""
    names = {package.name for package in packages}
    for record in records_of(path):
        count += 1
        newest = max(newest, record.get("modified", ""))
        about = {
            canonicalize_name(a["package"]["name"])
            for a in record.get("affected", [])
            if "package" in a
        }
        if names & about:
            findings += [_finding(p, record) for p in packages if affects(record, p)]
    until = dt.date.fromisoformat(newest[:10]) if count else None
    is_complete = zipfile.is_zipfile(path)
    kind = "all advisories about PyPI" if is_complete else "a list kept by hand, not complete"
    source = f"{path.name}: {kind}: {count}, the newest of {until or 'no day'}"
    return Answer(source, len(packages) if count else 0, sorted(findings), until, is_complete)


def _finding(package: Package, record: Record) -> str:
    names = " ".join([record["id"], *record.get("aliases", [])])
    return f"{package.name} {package.version}: {names}: {record.get('summary', '')}".strip(": ")


def ask_pypi(program: str, locks: list[Path], today: dt.date) -> Answer:
    """Have pip-audit ask PyPI. Its exit code does not tell a clean answer from none; JSON does."""
    looked_up, missed, findings, trouble = 0, 0, [], ""
    for lock in locks:
        try:
            done = subprocess.run(  # noqa: S603 - the program that the Makefile installed
                [
                    *(program, "-r", str(lock), "--require-hashes", "--no-deps", "--disable-pip"),
                    *("-s", "pypi", "-f", "json", "--progress-spinner", "off"),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            told = json.loads(done.stdout)["dependencies"]
        except (OSError, ValueError, KeyError) as error:
            said = done.stderr.strip().splitlines() if not isinstance(error, OSError) else []
            trouble = said[-1] if said else str(error)
            continue
        for one in told:
            if "skip_reason" in one:
                missed, trouble = missed + 1, one["skip_reason"]
                continue
            looked_up += 1
            findings += [
                f"{one['name']} {one['version']}: {' '.join([v['id'], *v.get('aliases', [])])}"
                for v in one["vulns"]
            ]
    if trouble or not looked_up:
        source = f"PyPI did NOT answer for {missed or 'any'} of the packages: {trouble}"
        return Answer(source, looked_up, sorted(set(findings)), None, is_complete=False)
    return Answer("PyPI, asked now", looked_up, sorted(set(findings)), today, is_complete=True)


def main(argv: list[str] | None = None) -> int:
    """Ask all sources and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--advisories", action="append", type=Path, default=[], metavar="FILE")
    parser.add_argument("--pip-audit", metavar="PROGRAM")
    parser.add_argument("--current", action="store_true")
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    args = parser.parse_args(argv)
    today = dt.datetime.now(dt.UTC).date()
    packages = packages_of(args.locks)
    answers = [ask_list(path, packages) for path in args.advisories]
    if args.pip_audit:
        answers.append(ask_pypi(args.pip_audit, args.locks, today))
    return report(packages, answers, today, current=args.current)


def report(packages: list[Package], answers: list[Answer], today: dt.date, *, current: bool) -> int:
    """Print each answer and the sentence that follows from all of them."""
    for answer in answers:
        sys.stdout.write(f"{answer.source}\n  {answer.looked_up} packages looked up\n")
        sys.stdout.writelines(f"  FOUND {finding}\n" for finding in answer.findings)
    findings = sum(len(answer.findings) for answer in answers)
    if findings:
        sys.stdout.write(f"{findings} findings in {len(packages)} packages\n")
        return 1
    if not any(answer.until and answer.looked_up for answer in answers):
        sys.stdout.write("Nothing could be looked up: this says nothing about the locks\n")
        return 2
    days = [answer.until for answer in answers if answer.until and answer.is_complete]
    age = (today - max(days)).days if days else None
    sys.stdout.write(f"0 findings in {len(packages)} packages. ")
    if age is None:
        sys.stdout.write("No complete list was asked: there may be vulnerabilities\n")
    elif age == 0:
        sys.stdout.write("Asked today\n")
    else:
        sys.stdout.write(f"What became known in the last {age} days was not looked up\n")
    return 3 if current and (age is None or age > CURRENT_DAYS) else 0


if __name__ == "__main__":
    sys.exit(main())
