"""The order of versions, as RAUC has it: semantic versions, of which the last parts may be missing.

What stands behind a `+` does not count, and `1.2.0-rc1` comes before `1.2.0`.
"""

import re

_FORM = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")

Key = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def key(version: str) -> Key:
    """What versions are compared by.

    Raises:
        ValueError: It is not the version of anything.
    """
    found = _FORM.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no version")
    major, minor, patch, before = found.groups()
    parts = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in (before.split(".") if before else ())
    )
    return int(major), int(minor or 0), int(patch or 0), before is None, parts


def is_newer(version: str, than: str) -> bool:
    """Whether the one comes after the other; what is no version is never newer."""
    try:
        return key(version) > key(than)
    except ValueError:
        return False
