"""The scanner process: frames in, payloads out. No pins, no network, no journal."""
