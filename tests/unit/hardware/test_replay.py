"""A recording is shown at a true pace; its folder may change while it is shown."""

import itertools
import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hardware.camera import CameraLostError, CameraMissingError
from hardware.cameras import replay
from hardware.cameras.replay import ReplayCamera


class FakeTime:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now_s = 50.0

    def clock(self):
        return self.now_s

    def sleep(self, seconds):
        assert seconds > 0
        self.now_s += seconds


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    return folder


@pytest.fixture
def open_camera(time):
    def opened(path, **how):
        camera = ReplayCamera(path, clock=time.clock, sleep=time.sleep, **{"fps": 10} | how)
        camera.open()
        return camera

    return opened


def save(path, level):
    """Rename a picture of one level into place, as whoever exchanges frames must."""
    fresh = path.with_name("." + path.name)
    assert cv2.imwrite(str(fresh), np.full((48, 64), level, np.uint8))
    fresh.rename(path)


def levels(camera, count):
    frames = [camera.read(1) for _ in range(count)]
    return [None if frame is None else int(frame.luma[0, 0]) for frame in frames]


def test_a_folder_is_shown_in_order_of_name_and_again(folder, open_camera):
    save(folder / "b.png", 2)
    save(folder / "a.png", 1)
    assert levels(open_camera(folder), 5) == [1, 2, 1, 2, 1]


def test_without_loop_there_is_an_end(folder, open_camera):
    save(folder / "a.png", 1)
    save(folder / "b.png", 2)
    assert levels(open_camera(folder, loop=False), 5) == [1, 2, None, None, None]


def test_frames_come_at_their_pace(folder, open_camera, time):
    save(folder / "a.png", 1)
    camera = open_camera(folder)
    frames = [camera.read(1) for _ in range(4)]
    stamps = [frame.captured_at_s - 50 for frame in frames]
    assert stamps == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [frame.sequence for frame in frames] == [1, 2, 3, 4]


def test_a_frame_that_is_not_due_in_time_is_not_shown(folder, open_camera, time):
    save(folder / "a.png", 1)
    camera = open_camera(folder)
    camera.read(1)
    assert camera.read(0.04) is None
    assert time.now_s == pytest.approx(50.04)
    assert camera.read(0.1) is not None


def test_a_reader_that_was_late_gets_no_burst(folder, open_camera, time):
    save(folder / "a.png", 1)
    camera = open_camera(folder)
    camera.read(1)
    time.now_s += 10
    camera.read(1)
    camera.read(1)
    assert time.now_s == pytest.approx(60.1)


def test_an_exchanged_file_is_shown_at_the_next_pass(folder, open_camera):
    save(folder / "a.png", 1)
    camera = open_camera(folder)
    assert levels(camera, 2) == [1, 1]
    save(folder / "a.png", 9)
    save(folder / "b.png", 8)
    assert levels(camera, 4) == [9, 8, 9, 8]
    (folder / "b.png").unlink()
    assert levels(camera, 2) == [9, 9]


def test_an_unchanged_file_is_read_from_disk_once(folder, open_camera, monkeypatch):
    loads = []
    monkeypatch.setattr(
        replay, "load_luma", lambda path: loads.append(path) or np.zeros((4, 4), np.uint8)
    )
    save(folder / "a.png", 1)
    save(folder / "b.png", 2)
    levels(open_camera(folder), 10)
    assert [path.name for path in loads] == ["a.png", "b.png"]


def test_what_is_kept_in_memory_is_bounded(folder, open_camera, monkeypatch):
    monkeypatch.setattr(replay, "CACHE_BYTES", 2 * 48 * 64)
    for name in "abcd":
        save(folder / f"{name}.png", ord(name))
    camera = open_camera(folder)
    assert levels(camera, 8) == [97, 98, 99, 100] * 2
    assert len(camera._cache) == 2


def test_an_empty_folder_has_no_frames_yet(folder, open_camera):
    camera = open_camera(folder)
    assert levels(camera, 2) == [None, None]
    save(folder / "a.png", 1)
    assert levels(camera, 2) == [1, 1]


def test_an_empty_folder_is_not_listed_faster_than_the_pace(folder, open_camera, time):
    camera = open_camera(folder)
    levels(camera, 11)
    assert time.now_s == pytest.approx(51)


def test_an_unreadable_file_is_named_once_and_skipped(folder, open_camera, caplog):
    (folder / "a.png").write_bytes(b"garbage")
    np.save(folder / "b.npy", np.zeros((0, 0), np.uint8))
    (folder / "c.mp4").write_bytes(b"garbage")
    save(folder / "d.png", 4)
    camera = open_camera(folder)

    with caplog.at_level(logging.WARNING):
        assert levels(camera, 3) == [4, 4, 4]

    named = [Path(record.file).name for record in caplog.records]
    assert named == ["a.png", "b.npy", "c.mp4"]


def test_an_unreadable_file_that_was_mended_is_shown(folder, open_camera):
    (folder / "a.png").write_bytes(b"garbage")
    camera = open_camera(folder)
    assert levels(camera, 1) == [None]
    save(folder / "a.png", 3)
    assert levels(camera, 1) == [3]


def test_a_file_taken_away_after_listing_is_skipped(folder, open_camera):
    save(folder / "a.png", 1)
    save(folder / "b.png", 2)
    camera = open_camera(folder)
    assert levels(camera, 1) == [1]
    (folder / "b.png").unlink()
    assert levels(camera, 2) == [1, 1]


def test_a_photograph_is_shown_smaller(folder, open_camera):
    np.save(folder / "a.npy", np.full((5000, 6000), 7, np.uint8))
    [frame] = [open_camera(folder).read(1)]
    assert frame.luma.shape == (1250, 1500)
    assert (frame.luma == 7).all()


def test_one_picture_is_a_still_scene(folder, open_camera):
    save(folder / "a.png", 5)
    save(folder / "b.png", 6)
    assert levels(open_camera(folder / "a.png"), 3) == [5, 5, 5]


def test_a_video_is_shown_again_and_again(folder, open_camera):
    writer = cv2.VideoWriter(
        str(folder / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48)
    )
    for level in (40, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    shown = levels(open_camera(folder / "clip.avi"), 4)
    assert [level > 100 for level in shown] == [False, True, False, True]


def test_a_missing_recording_is_a_missing_camera(tmp_path, open_camera):
    with pytest.raises(CameraMissingError, match=r"camera\.path"):
        open_camera(tmp_path / "none")


def test_a_recording_taken_away_is_a_lost_camera_until_it_is_back(folder, open_camera):
    save(folder / "a.png", 1)
    camera = open_camera(folder)
    levels(camera, 1)
    shutil.move(folder, folder.with_name("away"))
    with pytest.raises(CameraLostError, match="gone"):
        camera.read(1)
    camera.close()
    with pytest.raises(CameraMissingError):
        camera.open()

    shutil.move(folder.with_name("away"), folder)
    camera.open()
    assert levels(camera, 1) == [1]


def film(path, fps, frames=4):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for level in range(frames):
        writer.write(np.full((48, 64, 3), 10 * level, np.uint8))
    writer.release()


def intervals(camera, count):
    stamps_s = [camera.read(1).captured_at_s for _ in range(count)]
    return [round(after - before, 3) for before, after in itertools.pairwise(stamps_s)]


def test_a_video_is_shown_at_its_own_pace(folder, open_camera):
    film(folder / "a.avi", 20)
    assert intervals(open_camera(folder, fps=10), 8) == [0.05] * 7


def test_pictures_among_videos_keep_the_pace_of_pictures(folder, open_camera):
    film(folder / "a.avi", 20, frames=2)
    save(folder / "b.png", 1)
    save(folder / "c.png", 2)
    assert intervals(open_camera(folder, fps=10), 5) == [0.05, 0.05, 0.1, 0.1]


@pytest.mark.parametrize("claimed", [0.0, 0.001, 1e9, float("nan"), -5.0])
def test_a_video_that_claims_no_possible_pace_has_that_of_pictures(
    folder, open_camera, monkeypatch, claimed
):
    class Video:
        get = staticmethod(lambda prop: claimed)
        release = staticmethod(lambda: None)

    monkeypatch.setattr(replay.cv2, "VideoCapture", lambda path: Video())
    assert replay._video_interval_s(folder / "a.avi") is None
