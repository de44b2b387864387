"""A self-service payment kiosk: scan a Payme Go code, charge once, record what happened."""

__version__ = "0.1.0"
