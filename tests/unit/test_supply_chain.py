"""What a kiosk is made of: pinned by hash, licensed, looked up, and listed."""

import datetime as dt
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from builder import lock
from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tools import figure, need

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / ".lock"
DEBS = LOCK / "image-debian.txt"  # read strictly by builder.lock, and by a test of its own here
LOCKS = sorted(set(LOCK.glob("*.txt")) - {DEBS})
AUDIT_PYTHON = ROOT / ".venv/audit/bin/python"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LICENCES = json.loads((LOCK / "licences.json").read_text(encoding="utf-8"))
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "MIT", "MPL-2.0"),
    *("Unlicense", "Zlib"),
}
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, LOCK / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit = loaded("audit")


def blocks(text):
    """Each requirement of a lock with its hashes, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines).strip())


def what_is_loose(text):
    """Why pip could install from a lock what nobody has looked at."""
    found = []
    for block in blocks(text):
        first, *rest = [line.strip().removesuffix("\\").strip() for line in block.splitlines()]
        if not re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.!+]+( ; [^\\]+)?", first):
            found.append(f"not pinned by name and version: {first}")
        if not rest or not all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h) for h in rest):
            found.append(f"not pinned by hash: {first}")
    return found


def locked(name):
    """Names and versions of a lock; one name can have several, for several Pythons."""
    found = {}
    for block in blocks((LOCK / f"{name}.txt").read_text(encoding="utf-8")):
        package, version = re.match(r"([^=]+)==([^ \\\n]+)", block).groups()
        found.setdefault(package, set()).add(version)
    return found


def what_is_missing(wanted, found):
    """Dependencies that a lock lacks, or has in a version that was not asked for."""
    asked = [Requirement(line) for line in wanted]
    missing, fits = [], {}
    for line, one in zip(wanted, asked, strict=True):
        # One package may be asked for twice, in other versions for other Pythons.
        name = canonicalize_name(one.name)
        versions = {v for v in found.get(name, set()) if one.specifier.contains(v)}
        fits.setdefault(name, set()).update(versions)
        if not versions:
            missing.append(line)
    return missing + [f"{name}=={v}" for name in fits for v in found.get(name, set()) - fits[name]]


# The locks


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_pins_everything_by_hash_and_names_no_place(lock):
    text = lock.read_text(encoding="utf-8")

    assert what_is_loose(text) == []
    assert not re.search(r"https?:|--(?!hash=)|^-| @ ", text, re.MULTILINE)


def test_the_lock_of_the_card_pins_each_debian_package_once_and_names_no_place():
    text = DEBS.read_text(encoding="utf-8")
    debs = lock.parse(text)

    assert len(debs) > 200
    pinned = [(deb.role, deb.name, deb.arch) for deb in debs]
    assert len(set(pinned)) == len(pinned)
    assert not re.search(r"://|\.(?:org|com|net|uz)\b", text)


@pytest.mark.parametrize(
    "line",
    [
        "urllib3>=2",
        "urllib3==2.8.0",
        "urllib3==2.8.0 \\\n    --hash=md5:" + "a" * 32,
        "urllib3 @ https://example.invalid/urllib3.whl \\\n    --hash=sha256:" + "a" * 64,
        "--index-url https://example.invalid/simple",
        "-e .",
    ],
)
def test_control_a_loose_line_is_noticed(line):
    sound = (LOCK / "run.txt").read_text(encoding="utf-8")

    assert what_is_loose(f"{sound}\n{line}\n") != []


def dependencies():
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    run = project["dependencies"]
    return {
        "run": [*run, *groups["build"]],
        "pi": [*run, *project["optional-dependencies"]["pi"]],
        "dev": [*run, *groups["build"], *groups["dev"]],
        "audit": groups["audit"],
    }


@pytest.mark.parametrize("name", [path.stem for path in LOCKS])
def test_a_lock_has_every_dependency_in_a_version_that_was_asked_for(name):
    assert what_is_missing(dependencies()[name], locked(name)) == []


def test_control_a_dependency_that_no_lock_has_is_noticed():
    wanted = ["urllib3>=2", "urllib3>=99", "requests"]

    assert what_is_missing(wanted, locked("run")) == ["urllib3>=99", "requests"]


def test_the_kiosk_runs_on_the_very_versions_that_are_tested():
    run, tested = locked("run"), locked("dev")
    assert {name: tested.get(name) for name in run} == run
    pi = locked("pi")
    assert {name: versions for name, versions in pi.items() if name in run} == {
        name: run[name] for name in pi if name in run
    }


# Licences


def licence_of(metadata):
    """As the package's own metadata has it, in the words of SPDX; None where they do not say."""
    if expression := metadata.get("License-Expression"):
        return canonicalize_license_expression(expression)
    found = {
        CLASSIFIERS.get(text.rpartition(" :: ")[2], text)
        for text in metadata.get_all("Classifier", [])
        if text.startswith("License :: OSI Approved ::")
    }
    return " AND ".join(sorted(found)) or metadata.get("License")


def what_is_not_allowed(licences):
    return {
        name: expression
        for name, expression in licences.items()
        if not set(re.split(r" (?:AND|OR|WITH) ", expression)) <= ALLOWED
    }


def test_each_part_has_a_licence_that_may_be_shipped():
    assert LICENCES.keys() == {*locked("run"), *locked("pi")}
    assert what_is_not_allowed(LICENCES) == {}
    figure(f"licences: {len(LICENCES)} packages, all among {len(ALLOWED)} allowed ones")


def test_control_a_licence_that_may_not_be_shipped_is_noticed():
    assert what_is_not_allowed({"a": "MIT", "b": "MIT AND GPL-3.0-only"}) == {
        "b": "MIT AND GPL-3.0-only"
    }


# lgpio is installed on a Pi only; its metadata of 0.2.2.0 says "unlicense.org".
@pytest.mark.parametrize("name", sorted(LICENCES.keys() - {"lgpio"}))
def test_a_licence_is_the_one_that_the_package_states(name):
    assert licence_of(importlib.metadata.metadata(name)) == LICENCES[name]


# Known vulnerabilities

TODAY = dt.datetime.now(dt.UTC).date()


def an_advisory(*events, name="Some.Package", ecosystem="PyPI", **more):
    return {
        "id": "TEST-1",
        "modified": f"{TODAY}T00:00:00Z",
        "affected": [
            {
                "package": {"ecosystem": ecosystem, "name": name},
                "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
            }
        ],
        **more,
    }


@pytest.fixture
def a_lock(tmp_path):
    def make(*pins):
        lock = tmp_path / "some.txt"
        text = "".join(f"{pin} \\\n    --hash=sha256:{'a' * 64}\n" for pin in pins)
        lock.write_text(text, encoding="utf-8")
        return str(lock)

    return make


@pytest.fixture
def an_archive(tmp_path):
    def make(*records):
        path = tmp_path / "all.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number, record in enumerate(records):
                archive.writestr(f"TEST-{number}.json", json.dumps(record))
        return str(path)

    return make


BETWEEN = ({"introduced": "1.0"}, {"fixed": "1.5"})
TWICE = ({"introduced": "0"}, {"fixed": "1.26.18"}, {"introduced": "2.0.0"}, {"fixed": "2.0.7"})
UP_TO = ({"introduced": "0"}, {"last_affected": "1.5"})


@pytest.mark.parametrize(
    ("events", "hit", "missed"),
    [
        (BETWEEN, ["1.0", "1.4.9", "1.5rc1"], ["0.9", "1.5", "1.5.post1", "2"]),
        (TWICE, ["1.26.4", "2.0.0", "2.0.6"], ["1.26.18", "1.27", "2.0.7", "2.8.0"]),
        (TWICE[2:] + TWICE[:2], ["1.26.4", "2.0.6"], ["1.26.18", "2.0.7"]),
        (UP_TO, ["0.1", "1.5"], ["1.5.1", "2"]),
        (({"introduced": "0"},), ["0.1", "99"], []),
    ],
)
def test_a_version_is_found_where_the_advisory_says(events, hit, missed):
    record = an_advisory(*events)

    def found(version):
        return audit.affects(record, audit.Package("some-package", version))

    assert [version for version in hit + missed if found(version)] == hit


@pytest.mark.parametrize(
    "record",
    [
        an_advisory(*UP_TO, name="other"),
        an_advisory(*UP_TO, ecosystem="npm"),
        an_advisory(*UP_TO, withdrawn="2026-01-01T00:00:00Z"),
    ],
)
def test_an_advisory_about_something_else_is_no_finding(record):
    assert not audit.affects(record, audit.Package("some-package", "1.0"))


def test_a_version_that_is_named_alone_is_found():
    record = an_advisory()
    record["affected"][0]["versions"] = ["1.0"]

    assert audit.affects(record, audit.Package("some-package", "1.0"))
    assert not audit.affects(record, audit.Package("some-package", "1.1"))


def test_nothing_that_runs_on_a_kiosk_is_known_to_be_vulnerable(capsys):
    arguments = ["--advisories", str(LOCK / "advisories.json")]

    assert audit.main([*arguments, str(LOCK / "run.txt"), str(LOCK / "pi.txt")]) == 0

    said = capsys.readouterr().out
    assert "No complete list was asked" in said
    figure("audit, offline: " + said.splitlines()[0] + "; " + said.splitlines()[-1])


@pytest.mark.parametrize(
    ("pin", "known_as"),
    [
        ("urllib3==1.26.4", "CVE-2021-33503"),
        ("urllib3==2.6.2", "CVE-2026-21441"),
        ("pyyaml==5.3", "CVE-2020-14343"),
        ("opencv-python-headless==4.7.0.72", "CVE-2023-4863"),
    ],
)
def test_control_an_old_version_in_a_lock_is_found(a_lock, capsys, pin, known_as):
    assert audit.main(["--advisories", str(LOCK / "advisories.json"), a_lock(pin)]) == 1

    assert known_as in capsys.readouterr().out


def test_the_archive_of_all_advisories_is_enough_without_a_network(a_lock, an_archive, capsys):
    archive = an_archive(an_advisory(*BETWEEN), an_advisory(*BETWEEN, name="other"))
    arguments = ["--current", "--advisories", archive]

    assert audit.main([*arguments, a_lock("some-package==1.5")]) == 0
    assert "0 findings in 1 packages. Asked today" in capsys.readouterr().out
    assert audit.main([*arguments, a_lock("some-package==1.4")]) == 1
    assert "FOUND some-package 1.4: TEST-1" in capsys.readouterr().out


def test_an_old_archive_says_how_old_and_is_not_current(a_lock, an_archive, capsys):
    old = TODAY - dt.timedelta(days=40)
    archive = an_archive(an_advisory(*BETWEEN, modified=f"{old}T00:00:00Z"))
    arguments = ["--advisories", archive, a_lock("some-package==2")]

    assert audit.main(arguments) == 0
    assert "in the last 40 days was not looked up" in capsys.readouterr().out
    assert audit.main(["--current", *arguments]) == 3


def test_an_empty_archive_is_no_good_news(a_lock, an_archive, capsys):
    assert audit.main(["--advisories", an_archive(), a_lock("some-package==2")]) == 2
    assert "this says nothing about the locks" in capsys.readouterr().out


SKIPPED = '{"name": "b", "skip_reason": "Dependency not found on PyPI"}'
CLEAN = '{"name": "a", "version": "1", "vulns": []}'
FOUND = '{"name": "a", "version": "1", "vulns": [{"id": "X-1", "aliases": ["CVE-1"]}]}'


@pytest.fixture
def pip_audit(tmp_path):
    """In place of the program, what it prints: its JSON, and 0 also where PyPI knew nothing."""

    def says(*told, code=0, raw=None):
        program = tmp_path / "pip-audit"
        text = raw if raw is not None else f'{{"dependencies": [{", ".join(told)}]}}'
        program.write_text(f"#!/bin/sh\ncat <<'X'\n{text}\nX\nexit {code}\n", encoding="utf-8")
        program.chmod(0o755)
        return ["--pip-audit", str(program)]

    return says


@pytest.mark.parametrize(
    ("told", "raw", "code", "sentence"),
    [
        ([CLEAN], None, 0, "0 findings in 1 packages. Asked today"),
        ([FOUND], None, 1, "FOUND a 1: X-1 CVE-1"),
        ([SKIPPED], None, 2, "PyPI did NOT answer for 1"),
        ([SKIPPED, FOUND], None, 1, "PyPI did NOT answer for 1"),
        ([], None, 2, "PyPI did NOT answer"),
        ([], "connection refused", 2, "PyPI did NOT answer"),
    ],
)
def test_pypi_that_did_not_answer_is_never_good_news(
    a_lock, pip_audit, capsys, told, raw, code, sentence
):
    assert audit.main([*pip_audit(*told, raw=raw), a_lock("a==1")]) == code

    said = capsys.readouterr().out
    assert sentence in said
    assert ("0 findings" in said) == (code == 0)


def test_a_pip_audit_that_is_not_there_is_no_good_news(a_lock, capsys):
    assert audit.main(["--pip-audit", "/nowhere/pip-audit", a_lock("a==1")]) == 2
    assert "PyPI did NOT answer" in capsys.readouterr().out


# The list of parts


@pytest.fixture(scope="module")
def sbom(tmp_path_factory):
    need((ROOT / ".venv/.audit-ready").exists(), "the tools of `make sbom` are not here: run it")
    made = []
    for name in ("one", "two"):
        out = tmp_path_factory.mktemp("sbom") / f"{name}.cdx.json"
        subprocess.run([str(AUDIT_PYTHON), str(LOCK / "sbom.py"), str(out)], check=True)
        made.append(out.read_bytes())
    assert made[0] == made[1]
    return json.loads(made[0])


def test_the_list_of_parts_has_what_the_locks_have_with_hashes_and_licences(sbom):
    parts = {(part["name"], part["version"]): part for part in sbom["components"]}

    assert parts.keys() == {
        (name, version)
        for lock in ("run", "pi")
        for name, versions in locked(lock).items()
        for version in versions
    }
    text = (LOCK / "run.txt").read_text("utf-8") + (LOCK / "pi.txt").read_text("utf-8")
    hashes = {h["content"] for p in parts.values() for r in _files(p) for h in r["hashes"]}
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", text))
    assert all(part["licenses"] for part in parts.values())
    assert {name for (name, _), part in parts.items() if part["scope"] == "required"} == {
        *locked("pi")
    }
    needs = {one["ref"]: one["dependsOn"] for one in sbom["dependencies"]}
    assert needs["pkg:pypi/gpiozero@2.0.1.post3"] == ["pkg:pypi/colorzero@2.0"]
    assert len(needs["payme-kiosk"]) >= len(PROJECT["project"]["dependencies"])
    assert "serialNumber" not in sbom
    assert "timestamp" not in sbom["metadata"]
    figure(f"SBOM: {len(parts)} parts, {len(hashes)} hashes; valid, twice the same bytes")


def _files(part):
    return [r for r in part["externalReferences"] if r["type"] == "distribution"]


def test_control_a_list_against_the_schema_is_refused():
    need((ROOT / ".venv/.audit-ready").exists(), "the tools of `make sbom` are not here: run it")
    sound = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "components": [{"type": "library", "name": "a", "licenses": [{"license": {"id": "MIT"}}]}],
    }
    check = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import sbom; "
        "print([sbom.why_invalid(json.dumps(d)) is None for d in json.load(sys.stdin)])"
    )
    nameless = {**sound, "components": [{"type": "library"}]}
    unlicensed = json.loads(json.dumps(sound).replace('"MIT"', '"no licence"'))

    done = subprocess.run(
        [str(AUDIT_PYTHON), "-B", "-c", check, str(LOCK)],
        input=json.dumps([sound, nameless, unlicensed]),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[True, False, False]"
