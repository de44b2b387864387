"""The kiosk as an appliance: what runs on the card beside the kiosk itself, as root."""
