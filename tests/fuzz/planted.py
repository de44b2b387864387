"""Faults for the controls, and sizes around the limits that the targets must keep."""

import contextlib

from hypothesis import strategies as st

sizes = st.sampled_from([3, 70, 301, 2_001, 30_000, 65_480, 65_536, 65_537, 140_000])
"""Few, and on both sides of each limit: long inputs cost many tries."""


@contextlib.contextmanager
def planted(owner, **names):
    """Replace what these names stand for in a module or a class."""
    real = {name: getattr(owner, name) for name in names}
    for name, value in names.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in real.items():
            setattr(owner, name, value)
