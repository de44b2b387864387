"""What can be wrong with boards and sensors, told to the person who can mend it."""


class HardwareError(Exception):
    """A board or sensor is not as it was said to be.

    Attributes:
        detail: What is wrong, one sentence.
        advice: What to do about it, one or two sentences; may be empty.
    """

    def __init__(self, detail: str, *, advice: str = "") -> None:
        """Keep the two halves apart for reports; `str()` joins them."""
        super().__init__(f"{detail} {advice}".strip())
        self.detail = detail
        self.advice = advice


class PinsError(HardwareError):
    """The pins cannot be had or do not obey; nobody can be shown or asked anything."""
