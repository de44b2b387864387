"""Boards and sensors, usable without the kiosk. Nothing here imports `kiosk`."""
