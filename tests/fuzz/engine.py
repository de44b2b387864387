"""Tries one target for so long, or so often, and reports: `python engine.py payload_check ...`.

A process of its own: a fuzzer ends it, and a hang or a crash of the interpreter is a finding too.
"""

import argparse
import base64
import contextlib
import importlib
import itertools
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

HANG_S = 30
"""For one input; all of them are small, and a kiosk has better things to do."""
MOST_MEMORY_BYTES = 2 << 30
_BATCH = 1000
SHORT_BYTES = 2048
"""What grows by chance is kept short: long inputs cost many tries. The seeds hold long ones."""


class Tries:
    """Counts, stops in time, and writes down what was found."""

    def __init__(self, target, args):
        self._target = target
        self._args = args
        self._until_s = time.monotonic() + args.seconds
        self._count = 0
        self._found = None

    def __call__(self, data):
        """One input; does not return from the last."""
        if self._found is None and self._is_enough():
            self.end()
        self._count += 1
        signal.setitimer(signal.ITIMER_REAL, HANG_S)
        try:
            self._target.try_one(data)
        except BaseException as error:
            self._note(data, error)
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    @property
    def has_found(self):
        return self._found is not None

    def _is_enough(self):
        return self._count >= self._args.tries or time.monotonic() >= self._until_s

    def _note(self, data, error):
        first = self._found["tries"] if self._found else self._count
        self._found = {
            "tries": first,
            "input": base64.b64encode(data).decode(),
            "error": "".join(traceback.format_exception(error, limit=-6))[-3000:],
        }

    def end(self):
        """Write the report and end the process, whatever fuzzer is in charge of it."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report = {"tries": self._count, "mb": usage.ru_maxrss // 1024, "found": self._found}
        self._args.report.write_text(json.dumps(report), encoding="utf-8")
        sys.stdout.flush()
        os._exit(0)


def by_hypothesis(target, tries, seed):
    """The seeds as they are, then what the target's strategy makes and mutations of the seeds."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    short = st.sampled_from([data for data in target.SEEDS if len(data) <= SHORT_BYTES])
    changes = st.tuples(st.integers(0, 3), st.integers(0, 1 << 17), st.binary(max_size=4))
    mutations = st.builds(_mutated, short, st.lists(changes))
    inputs = target.inputs | target.inputs | mutations | st.binary(max_size=300)
    how = settings(
        max_examples=_BATCH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),  # how well it searches is no finding
        derandomize=False,
    )
    try:
        for number in itertools.count(seed * 1_000_000):
            how(seeded(number)(given(inputs)(lambda data: tries(data))))()
    except Exception:  # noqa: BLE001 - noted already; hypothesis made it small
        tries.end()


def _mutated(data, changes):
    for kind, place, piece in changes:
        at = place % (len(data) + 1)
        match kind:
            case 0:
                data = data[:at] + piece + data[at + len(piece) :]
            case 1:
                data = data[:at] + piece + data[at:]
            case 2:
                data = data[:at] + data[at + 1 + place % 7 :]
            case _:
                data = data[:at] + data[at : at + 30] * 2 + data[at:]
    return data


def by_atheris(target, tries, seed, folder):
    """Guided by which branches of the kiosk an input reaches."""
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(target.SEEDS):
        if len(data) <= SHORT_BYTES:
            (corpus / f"{number:03}").write_bytes(data)
    words = folder / "words"
    written = ["".join(f"\\x{byte:02x}" for byte in word) for word in target.WORDS]
    words.write_text("".join(f'"{word}"\n' for word in written), encoding="ascii")

    def try_one(data):
        try:
            tries(data)
        except Exception:  # noqa: BLE001 - noted already
            tries.end()

    options = {
        "seed": seed,
        "max_len": SHORT_BYTES,
        "timeout": 0,
        "dict": words,
        "verbosity": 0,
        "rss_limit_mb": 0,
        "handle_alrm": 0,
        "artifact_prefix": f"{folder}/",
        "reload": 0,
    }
    atheris.Setup([sys.argv[0], *(f"-{k}={v}" for k, v in options.items()), str(corpus)], try_one)
    atheris.Fuzz()


def _hangs(_number, _frame):
    raise TimeoutError(f"one input took more than {HANG_S} s")


def main():
    """Run; the report is `{tries, mb, found: null or {tries, input, error}}`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--tries", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault")
    parser.add_argument("--no-seeds", action="store_true", help="begin with what is made up")
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    args.report = args.folder / "report.json"
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _hangs)
    instrumented = contextlib.nullcontext()
    if args.engine == "atheris":
        import atheris

        instrumented = atheris.instrument_imports(include=["kiosk"])
    with instrumented:
        target = importlib.import_module(args.target)
    fault = target.FAULTS[args.fault]() if args.fault else contextlib.nullcontext()
    with fault:
        tries = Tries(target, args)
        with contextlib.suppress(Exception):  # noted; `end` reports it
            for data in () if args.no_seeds else target.SEEDS:
                tries(data)
        if tries.has_found:
            tries.end()
        if args.engine == "atheris":
            by_atheris(target, tries, args.seed, args.folder)
        else:
            by_hypothesis(target, tries, args.seed)


if __name__ == "__main__":
    main()
