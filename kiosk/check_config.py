"""`kiosk check-config`: the effective settings, where each comes from, and what will be sent."""

from __future__ import annotations

import json
import stat
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from kiosk.core.money import TIYIN_PER_SUM, amount_for_gateway, format_sum
from kiosk.errors import SettingsError
from kiosk.payment.request import PATH, request_body
from kiosk.settings import ScanSettings
from kiosk.settings_file import DEFAULT_PATH, Loaded, flatten, is_secret, load_settings
from kiosk.settings_warnings import prices, warnings_about
from kiosk.settings_words import as_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kiosk.settings import Settings

HIDDEN = "(hidden)"
SCANNERS_KEYS = ("scan.engines", "scan.rescues")


def check_config(paths: Sequence[Path], *, as_json: bool) -> int:
    """Validate files and print what they mean.

    Args:
        paths: As for `load_settings`.
        as_json: One object a line: `{"key", "value", "origin"}` for each setting, then
            `{"request"}`, `{"warning"}`, or only `{"error"}` lines.

    Returns:
        0, or 2 where the kiosk would not start with these files.
    """
    try:
        loaded = load_settings(paths)
    except SettingsError as error:
        for finding in error.findings:
            if as_json:
                _print_json({"error": finding})
            else:
                sys.stderr.write(f"{finding}\n")
        return 2
    requests = list(_requests(loaded.settings))
    warnings = [*warnings_about(loaded.settings), *_unseen_by_scanner(paths, loaded)]
    if as_json:
        for line in _json_lines(loaded, requests, warnings):
            _print_json(line)
    else:
        sys.stdout.write("\n".join(_text_lines(loaded, requests, warnings)) + "\n")
    return 0


def _unseen_by_scanner(paths: Sequence[Path], loaded: Loaded) -> Iterator[str]:
    """Settings of the scanner in a file that the user of kiosk-scanner.service may not read."""
    used = [path for path in paths or [DEFAULT_PATH] if not path.stat().st_mode & stat.S_IROTH]
    closed = {name for path in used for name in (path.name, str(path))}
    for key, origin in loaded.origins.items():
        file = origin.rpartition(":")[0]
        is_scanners = key.startswith(("camera.", "scanner.")) or key in SCANNERS_KEYS
        if is_scanners and file in closed:
            yield (
                f"{key}: not everybody may read {file}, so kiosk-scanner.service does not know of "
                "it; put it into board.yaml"
            )


def _requests(settings: Settings) -> Iterator[dict[str, Any]]:
    """The request for each configured price, made by what makes the real one."""
    gateway = settings.gateway
    is_usual = settings.scan.code_pattern == ScanSettings().code_pattern
    for key, label, amount_sum in prices(settings):
        amount = amount_for_gateway(amount_sum, gateway.amount_unit)
        yield {
            "key": key,
            "label": label,
            "amount_sum": amount_sum,
            "amount": amount,
            "unit": gateway.amount_unit,
            "method": "POST",
            "url": f"{gateway.url.rstrip('/')}{PATH}",
            "headers": dict.fromkeys(gateway.headers, HIDDEN),
            "body": request_body(amount, "<20 digits>" if is_usual else "<code>").decode(),
        }


def _json_lines(
    loaded: Loaded, requests: list[dict[str, Any]], warnings: list[str]
) -> Iterator[dict[str, Any]]:
    for key, value in flatten(loaded.settings):
        shown = HIDDEN if is_secret(key) else msgspec.to_builtins(value)
        yield {"key": key, "value": shown, "origin": loaded.origins[key]}
    yield from ({"request": request} for request in requests)
    yield from ({"warning": warning} for warning in warnings)


def _text_lines(
    loaded: Loaded, requests: list[dict[str, Any]], warnings: list[str]
) -> Iterator[str]:
    rows = [
        (key, HIDDEN if is_secret(key) else as_yaml(value), loaded.origins[key])
        for key, value in flatten(loaded.settings)
    ]
    widths = [min(max(len(row[column]) for row in rows), 40) for column in (0, 1)]
    yield from (f"{key:{widths[0]}}  {value:{widths[1]}}  {at}" for key, value, at in rows)
    yield ""
    for each in requests:
        yield _price_line(each)
        if each["unit"] == "tiyin":
            yield f"  the box gets tiyin: {each['amount_sum']:,} sum x {TIYIN_PER_SUM}".replace(
                ",", " "
            )
        if each["headers"]:
            yield f"  with the headers {', '.join(each['headers'])}"
    if not requests:
        yield "no price here: the host names each"
    yield from (f"warning: {warning}" for warning in warnings)
    yield f"ok, with {len(warnings)} to look at again" if warnings else "ok"


def sold(settings: Settings) -> list[str]:
    """What is sold, a line for each price with the exact request; secrets are not in it."""
    return [_price_line(each) for each in _requests(settings)]


def _price_line(request: dict[str, Any]) -> str:
    price = f"{request['label']}  {format_sum(request['amount_sum'])}"
    return f"{price}  ->  {request['method']} {request['url']} {request['body']}"


def _print_json(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
