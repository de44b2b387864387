"""What a gateway's address and headers must look like, with a sentence for each mistake."""

import re
from collections.abc import Iterator

_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "transfer-encoding",
    }
)


def url_problem(url: str) -> str | None:
    """Say what is wrong with the gateway's address; never repeats a password in it."""
    such_as = "write it like http://192.168.1.50:8080 or https://box.example"
    if "@" in url:
        return f"names a user or has a stray @; credentials belong in headers; {such_as}"
    if re.search(r"\s", url):
        return f"{url!r} has a space in it; {such_as}"
    if odd := re.search(r"[^!-~]", url):
        return f"{url!r} has {odd[0]!r}, no Latin letter though it may look like one; type it again"
    if not url.startswith(("http://", "https://")):
        rest = re.sub(r"^[A-Za-z]{0,6}(:/*|/+)(?![0-9]+(/|$))", "", url)
        scheme = "https" if re.match(r"(?i)h?t{0,3}ps[:/]", url) else "http"
        meant = f"{scheme}://{rest or '192.168.1.50:8080'}"
        return f"{url!r} does not begin with http:// or https://; did you mean {meant}?"
    if odd := re.search(r"[?#\\]", url):
        return f"{url!r} has a {odd[0]!r}; give only scheme, host, port and path; {such_as}"
    authority, _, path = url.partition("://")[2].partition("/")
    if f"/{path.rstrip('/')}".endswith("/payment/payme"):
        return "is the base; leave /payment/payme away, the kiosk adds it"
    return authority_problem(url, authority)


def authority_problem(url: str, authority: str) -> str | None:
    """Say what is wrong with host and port."""
    host, colon, port = authority, "", ""
    if not authority.endswith("]"):
        before, colon, after = authority.rpartition(":")
        host, port = (before, after) if colon else (authority, "")
    if not host:
        return f"{url!r} names no host; write it like http://192.168.1.50:8080"
    if colon and not re.fullmatch(r"[0-9]{1,5}", port):
        return f"{url!r}: {port!r} after the last colon is no port; 1 to 65535, or none"
    if colon and not 1 <= int(port) <= 65535:
        return f"{url!r}: port {port} is out of range (1 to 65535)"
    if re.fullmatch(r"[0-9.]+", host):
        octets = host.split(".")
        if len(octets) != 4 or not all(re.fullmatch(r"0|[1-9][0-9]{0,2}", o) for o in octets):
            return f"{url!r}: {host} is no IPv4 address; four numbers such as 192.168.1.50"
        if any(int(octet) > 255 for octet in octets):
            return f"{url!r}: {host} is no IPv4 address; each number is 0 to 255"
        return None
    if re.fullmatch(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]", host):
        return None
    if not re.fullmatch(r"(?!.*\.\.)[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?", host):
        return f"{url!r}: {host!r} is no host name; an IPv6 address stands in [brackets]"
    return None


def header_problems(headers: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Name each header that cannot be sent, without its value: it may be a secret."""
    seen: set[str] = set()
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            yield (name, f"{name!r} is no header name; letters, digits and hyphens")
        elif name.lower() in _OWN_HEADERS:
            yield (name, "is set by the kiosk itself; delete it")
        elif name.lower() in seen:
            yield (name, "stands there twice in different spelling; keep one")
        if not re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|", value):
            yield (name, "its value must be printable ASCII without spaces around it")
        seen.add(name.lower())
