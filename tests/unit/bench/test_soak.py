"""The scanner's memory stays flat, and the soak would see if it did not."""

import numpy as np
import pytest

from kiosk.bench import soak
from kiosk.sandbox import corpus, renderer
from kiosk.scanner.decoder import Decoder

FRAMES = 1500


@pytest.fixture(scope="module")
def lumas():
    rng = np.random.default_rng(3)
    scenes = [corpus.random_scene(rng, severity / 8) for severity in range(8)]
    return [renderer.render(scene, seed) for seed, scene in enumerate(scenes)]


def test_memory_is_flat(lumas):
    reports = list(soak.soak(lumas, FRAMES))

    assert reports[-1].frames >= FRAMES
    assert soak.grown_bytes(reports) <= soak.GROWTH_BYTES


def test_a_leak_is_seen(lumas, monkeypatch):
    kept = []
    decode = Decoder.decode

    def leak(self, luma, now_s):
        kept.append(luma[:64].copy())
        return decode(self, luma, now_s)

    monkeypatch.setattr(Decoder, "decode", leak)

    assert soak.grown_bytes(list(soak.soak(lumas, FRAMES))) > soak.GROWTH_BYTES


def test_the_command_fails_if_memory_grew(lumas, monkeypatch, capsys):
    monkeypatch.setattr(soak, "_scenes", lambda folder: lumas)
    assert soak.main(["--frames", "60"]) == 0
    assert "flat" in capsys.readouterr().out

    monkeypatch.setattr(soak, "GROWTH_BYTES", -(1 << 40))
    assert soak.main(["--frames", "60"]) == 1
    assert "GROWS" in capsys.readouterr().out
