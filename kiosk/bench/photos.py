"""Recall on a folder of photographs, and false reads on those that show no code."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hardware.recordings import UnreadableError, is_video, list_recordings, load_luma
from kiosk.bench.engines import KIOSK, RIVALS, Kiosk, as_text, load_rivals
from kiosk.bench.figures import Figure, compared
from kiosk.errors import UsageError

NEGATIVES = "falsepositives"
_SHARE = 0.949
"""170 of 179."""
_MOST_SHOWN = 100
_CHARSETS = ("utf-8", "shift_jis", "gb18030", "big5", "latin-1")


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture and the text in its code; None where there is no code."""

    file: Path
    expected: str | None


@dataclass(slots=True)
class PhotoReading:
    """What came of the photographs, for each engine by name.

    Attributes:
        photos: How many show a code.
        negatives: How many do not.
        read: How many were read as the text says.
        wrong: How many were read differently.
        false: How many of the negatives were read.
        differing: Each read that differs from the text: file, engine, and what it read.
        unreadable: Files that are no pictures, each with the reason.
    """

    photos: int = 0
    negatives: int = 0
    read: dict[str, int] = field(default_factory=lambda: dict.fromkeys((KIOSK, *RIVALS), 0))
    wrong: dict[str, int] = field(default_factory=lambda: dict.fromkeys((KIOSK, *RIVALS), 0))
    false: dict[str, int] = field(default_factory=lambda: dict.fromkeys((KIOSK, *RIVALS), 0))
    differing: list[tuple[str, str, str]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def list_photos(folder: Path) -> list[Photo]:
    """Find the pictures of which is known what they show.

    Beside a picture a `.txt` holds the text in its code, whole, but for one final newline; an
    empty one stands for "no code". Without a `.txt`, only a picture in a folder whose name
    begins with `falsepositives` is taken: it shows no code.

    Raises:
        UsageError: There is no such folder, or nothing of the kind in it.
    """
    if not folder.is_dir():
        raise UsageError(f"--photos {folder}: there is no such folder.")
    photos = []
    for file in list_recordings(folder):
        if is_video(file):
            continue
        beside = file.with_suffix(".txt")
        if beside.is_file():
            photos.append(Photo(file, as_text(beside.read_bytes()) or None))
        elif any(part.startswith(NEGATIVES) for part in file.relative_to(folder.parent).parts[:-1]):
            photos.append(Photo(file, None))
    if not photos:
        raise UsageError(
            f"--photos {folder}: no picture with a .txt beside it, and none in a folder "
            f"{NEGATIVES}*."
        )
    return photos


def read_photos(photos: Sequence[Photo], folder: Path) -> PhotoReading:
    """Let all read the photographs.

    Args:
        photos: From `list_photos`.
        folder: Where they lie; files are named from there.
    """
    rivals, ours = load_rivals(), Kiosk()
    result = PhotoReading()
    for photo in photos:
        name = str(photo.file.relative_to(folder))
        try:
            luma = load_luma(photo.file)
        except (UnreadableError, OSError) as error:
            result.unreadable.append(f"{name}: {error}")
            continue
        texts = {one.name: one.read(one.prepare(luma)) for one in rivals}
        texts[KIOSK] = ours.read_still(luma)
        result.photos += photo.expected is not None
        result.negatives += photo.expected is None
        for engine, found in texts.items():
            differing = sorted({text for text in found if not same(text, photo.expected)})
            result.differing += [(name, engine, text[:_MOST_SHOWN]) for text in differing]
            if photo.expected is None:
                result.false[engine] += bool(differing)
            else:
                result.read[engine] += len(differing) < len(set(found))
                result.wrong[engine] += bool(differing)
    return result


def same(text: str, expected: str | None) -> bool:
    """Whether a text is the expected one, but for a final newline and a guessed character set.

    Old symbols do not tell their character set, and each engine guesses another one. So it
    counts whether both can stand for the same bytes.
    """
    if expected is None:
        return False
    text, expected = text.removesuffix("\n"), expected.removesuffix("\n")
    return text == expected or bool(_as_bytes(text) & _as_bytes(expected))


def _as_bytes(text: str) -> set[bytes]:
    found = set()
    for charset in _CHARSETS:
        with contextlib.suppress(UnicodeEncodeError):
            found.add(text.encode(charset))
    return found


def photo_figures(result: PhotoReading) -> list[Figure]:
    """The figures, and a note for each file that was read differently."""
    figures = [
        *compared(f"photographs read, of {result.photos}", dict(result.read)),
        *compared("photographs read differently from their text", dict(result.wrong)),
        *compared(
            f"photographs without a code, read all the same, of {result.negatives}",
            dict(result.false),
        ),
    ]
    engines: dict[str, dict[str, list[str]]] = {}
    for file, engine, text in result.differing:
        engines.setdefault(file, {}).setdefault(text, []).append(engine)
    notes = [
        f"{file} was read differently from its text by {', '.join(by)}: {text!a}"
        for file, texts in engines.items()
        for text, by in texts.items()
    ]
    notes += [f"{why} (left out)" for why in result.unreadable]
    detail: dict[str, object] = {
        "differing": [
            {"file": file, "engine": engine, "read": text}
            for file, engine, text in result.differing
        ]
    }
    if result.photos:
        best = max(RIVALS, key=lambda name: result.read[name])
        figures += [
            Figure(
                figure=f"photographs read by the kiosk, share ({result.read[KIOSK]} of "
                f"{result.photos})",
                measured=round(result.read[KIOSK] / result.photos, 4),
                bar=f">= {_SHARE}",
                detail=detail,
                notes=tuple(notes),
            ),
            Figure(
                figure=f"photographs read by the kiosk, less those of the best engine ({best})",
                measured=result.read[KIOSK] - result.read[best],
                bar=">= 0",
            ),
        ]
    figures.append(
        Figure(
            figure=f"kiosk, false reads on {result.negatives} photographs without a code",
            measured=result.false[KIOSK],
            bar="= 0",
        )
    )
    return figures
