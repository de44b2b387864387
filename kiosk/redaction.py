"""Takes out of a text what nobody outside may read. The second line of defence.

The first is that nothing of it is written into logs and findings at all.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_SHORTEST_SECRET = 6
"""A shorter word of a header's value stands in half of all lines."""
_PATTERNS = (
    # Codes, longer and shorter ones of other providers too; the fiscal sign has fewer digits.
    (re.compile(r"\d{16,}"), "(digits)"),
    (re.compile(r"\+?998[ -]?\d{2}[ -]?\d{3}[ -]?\d{2}[ -]?\d{2}(?!\d)"), "(phone)"),
    (re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{24}(?![0-9A-Za-z])"), "(payment id)"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "(uuid)"),
    (re.compile(r"(?<=://)[^/@\s\"']+(?=@)"), "(user)"),
    (re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL), "(key)"),
)
_FLOW = re.compile(r"""\bheaders["']?\s*:\s*\{([^}]*)""")  # {A: b}, over lines as well
_BLOCK = re.compile(
    r"""^([ \t]*)(["']?)headers\2[ \t]*:[^\n]*\n((?:\1[ \t]+[^\n]*\n?|[ \t]*\n)*)""", re.MULTILINE
)


class Redaction:
    """Knows this kiosk's own secrets beside the shapes that all have."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets`: values of headers; each of their words is hidden, plain and in base64."""
        words: set[str] = set()
        for secret in secrets:
            for word in (secret, *re.split(r"[\s\"':,;=]+", secret)):
                if len(word) >= _SHORTEST_SECRET:
                    words.update((word, base64.b64encode(word.encode()).decode().rstrip("=")))
        longest_first = sorted(words, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def apply(self, text: str) -> str:
        """The text with everything hidden that may not leave."""
        text = self._words.sub("(hidden)", text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


def secrets_in_files(paths: Sequence[Path]) -> list[str]:
    """What stands under `headers:` in files that need not be good YAML."""
    found: list[str] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        blocks = _FLOW.findall(text) + [block for _, _, block in _BLOCK.findall(text)]
        lines = re.split(r"[\n,]", "\n".join(blocks))
        found += [line.partition(":")[2].strip().strip("\"'[]{},") for line in lines]
    return found
