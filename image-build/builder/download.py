"""Files from a mirror."""

import urllib.error
import urllib.request

from builder.trouble import BuildError


class AbsentError(BuildError):
    """The mirror answers, and has no such file."""


def get(url: str, variable: str) -> bytes:
    """A whole file.

    Args:
        url: Its address.
        variable: What names another mirror, for the message.

    Raises:
        AbsentError: The mirror does not have it.
        BuildError: The mirror cannot be reached.
    """
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the mirror's scheme
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise AbsentError(
                f"{url} is not there (404). {variable}= names another mirror."
            ) from error
        raise BuildError(f"{url} is refused: {error}. {variable}= names another mirror.") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise BuildError(
            f"{url} does not answer: {reason}. {variable}= names another mirror."
        ) from error
