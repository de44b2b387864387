"""What can go wrong, named by what the caller may now do."""


class KioskError(Exception):
    """Base of every error that carries a sentence for a technician."""

    exit_code = 70


class UsageError(KioskError):
    """The command was called in a way that cannot work; change the call."""

    exit_code = 2


class SettingsError(KioskError):
    """The configuration cannot be used; each line names file, line, key and what to do."""

    exit_code = 2

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class JournalError(KioskError):
    """The journal cannot be used as it is; for a command that means: nothing found."""

    exit_code = 1


class JournalBusyError(JournalError):
    """Another process writes this journal; ask it through the control socket, or stop it."""

    exit_code = 4


class JournalDamagedError(JournalError):
    """The journal's content is not sound; staff decide what happens with it."""


class JournalNewerError(JournalError):
    """A later version wrote this journal; install that version again."""


class JournalMissingError(JournalError):
    """Traces of an earlier journal stand where it is gone; staff decide."""


class JournalReplacedError(JournalError):
    """Another journal, or an older copy, stands in the place of the one that was in force.

    Attributes:
        is_anothers: It never was in force here.
    """

    is_anothers = False


class JournalWriteError(JournalError):
    """A row could not be made durable; nothing that depends on it may happen."""


class CodeSpentError(JournalError):
    """The code was submitted before; it is never submitted again."""


class GatewayError(KioskError):
    """Base of what the gateway client reports."""


class NotSentError(GatewayError):
    """No byte of the request left the kiosk; the customer may try again."""


class NoAnswerError(GatewayError):
    """The request may have arrived; nobody here can tell what happened. Never send it again."""
