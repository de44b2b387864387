"""What ends a build."""


class BuildError(Exception):
    """The image cannot be made; the message says why and what to do, for who started it."""
