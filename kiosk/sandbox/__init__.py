"""A gateway that behaves like the real one, with faults on demand, and recorded frames."""
