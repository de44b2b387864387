"""How deep the property tests dig: HYPOTHESIS_PROFILE=deep for a long look."""

import os

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "core",
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,  # the ordinary run says the same on every machine
    # Scripts of events are long, and the machine may be busy.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "deep",
    settings.get_profile("core"),
    max_examples=5000,
    derandomize=False,
    phases=(Phase.generate, Phase.target, Phase.shrink),
)
settings.load_profile("deep" if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else "core")
