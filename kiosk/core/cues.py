"""What the customer should understand; how it looks and sounds is the indicator's business."""

import enum


class Cue(enum.Enum):
    """One meaning each. SOLID light belongs to APPROVED alone, see the indicator."""

    READY = "ready"
    WAITING = "waiting"  # a host has made no offer: nobody is invited
    PRESS_TO_PAY = "press_to_pay"
    PRESS_SOON = "press_soon"  # the offer to confirm ends in a few seconds
    SUBMITTING = "submitting"
    STILL_SUBMITTING = "still_submitting"
    APPROVED = "approved"
    DECLINED = "declined"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    NOT_ACCEPTED = "not_accepted"
    OUT_OF_SERVICE = "out_of_service"


class Reason(enum.Enum):
    """Why the kiosk invites nobody."""

    JOURNAL_DAMAGED = "journal_damaged"
    JOURNAL_NEWER = "journal_newer"
    JOURNAL_MISSING = "journal_missing"
    JOURNAL_REPLACED = "journal_replaced"
    JOURNAL_UNWRITABLE = "journal_unwritable"
    CLOCK_IMPLAUSIBLE = "clock_implausible"
    GATEWAY_UNREACHABLE = "gateway_unreachable"
    GATEWAY_NOT_READY = "gateway_not_ready"
    SCANNER_DOWN = "scanner_down"
    CAMERA_DOWN = "camera_down"
    OUTCOME_UNSAVED = "outcome_unsaved"
    UNKNOWN_PAUSE = "unknown_pause"
    UNRESOLVED_LIMIT = "unresolved_limit"
