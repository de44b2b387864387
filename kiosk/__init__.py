"""A self-service payment kiosk: scan a Payme Go code, charge once, record what happened."""

__version__ = "0.1.0"
RELEASED = "2026-11-24"
"""No clock that says an earlier day is right. Set with each release; a test holds it."""
