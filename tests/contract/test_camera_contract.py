"""What every camera backend promises, whichever it is."""

import time

import cv2
import numpy as np
import pytest
from fake_picamera2 import FakePicamera2
from fake_v4l2 import FakeDriver, encode_jpeg

from hardware.camera import (
    Camera,
    CameraBusyError,
    CameraError,
    CameraLostError,
    CameraMissingError,
)
from hardware.cameras.csi import CsiCamera
from hardware.cameras.replay import ReplayCamera
from hardware.cameras.v4l2 import V4l2Camera
from hardware.frame import Frame

RECORDED = ["replay folder", "replay picture", "replay video"]
DRIVEN = ["v4l2 GREY", "v4l2 NV12", "v4l2 YUYV", "v4l2 MJPG", "csi"]
LEVEL = 80


class Bench:
    """A backend with the means to have it, to take it away and to trouble it."""

    camera: Camera
    zero_copy = True  # and a row is longer than the picture is wide
    tells_that_it_is_gone = True

    def take_away(self):
        raise NotImplementedError

    def bring_back(self):
        raise NotImplementedError

    def pause(self):
        """What waits for a reader who looked away for a while."""

    def damage(self):
        """Make the next frame one that cannot be used."""

    def occupy(self):
        """Let another program use it."""
        raise NotImplementedError

    def left_open(self):
        """What of the system is still held."""
        return 0


class ReplayBench(Bench):
    zero_copy = False

    def __init__(self, what, folder):
        self.there, self.away = folder / "there", folder / "away"
        self.there.mkdir()
        picture = np.full((480, 640), LEVEL, np.uint8)
        path = self.there / ("a.avi" if what == "replay video" else "a.png")
        if what == "replay video":
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 120, (640, 480))
            for _ in range(3):
                writer.write(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
            writer.release()
        else:
            cv2.imwrite(str(path), picture)
        shown = self.there if what == "replay folder" else path
        self.camera = ReplayCamera(shown, fps=120)

    def take_away(self):
        self.there.rename(self.away)

    def bring_back(self):
        self.away.rename(self.there)

    def damage(self):
        (self.there / "0.png").write_bytes(b"\x89PNG broken")


class V4l2Bench(Bench):
    def __init__(self, fourcc, folder):
        self.path = folder / "video0"
        self.path.touch()
        self.driver = FakeDriver(formats={fourcc: 30}, luma=LEVEL)
        self.zero_copy = fourcc != "MJPG"
        self.camera = V4l2Camera(str(self.path), kernel=self.driver)

    def take_away(self):
        self.driver.unplug()
        self.path.unlink()

    def bring_back(self):
        self.driver.plug()
        self.path.touch()

    def pause(self):
        for _ in range(10):
            self.driver.fill(stamp_s=time.monotonic() - 5)

    def damage(self):
        if self.zero_copy:
            self.driver.fill(used=1000)
        else:
            whole = encode_jpeg(np.full((480, 640), LEVEL, np.uint8))
            self.driver.fill(data=whole[: len(whole) // 2])

    def occupy(self):
        other = V4l2Camera(str(self.path), kernel=self.driver)
        other.open()

    def left_open(self):
        return len(self.driver.fds)


class CsiBench(Bench):
    tells_that_it_is_gone = False  # no more frames is all that one sees of a loose cable

    def __init__(self):
        self.module = FakePicamera2()
        self.camera = CsiCamera(load=lambda: self.module)

    def take_away(self):
        self.module.delivers = False
        self.module.cameras = []

    def bring_back(self):
        self.__init__()

    def pause(self):
        self.module.delivers = False
        assert self.camera.read(0) is None  # its request waits on
        self.module.delivers = True
        self.module.camera.deliver(ago_s=5)

    def damage(self):
        def once(pixels):
            self.module.damaged = lambda whole: whole
            return pixels[:10]

        self.module.damaged = once

    def occupy(self):
        self.module.busy = True

    def left_open(self):
        return self.module.mapped + sum(not camera.closed for camera in self.module.opened)


def make_bench(what, folder):
    if what in RECORDED:
        return ReplayBench(what, folder)
    return CsiBench() if what == "csi" else V4l2Bench(what.removeprefix("v4l2 "), folder)


@pytest.fixture(params=RECORDED + DRIVEN)
def bench(request, tmp_path):
    made = make_bench(request.param, tmp_path)
    yield made
    made.camera.close()


@pytest.fixture(params=DRIVEN)
def driven(request, tmp_path):
    made = make_bench(request.param, tmp_path)
    yield made
    made.camera.close()


def read_one(camera):
    """The next frame, however many empty reads come before it."""
    for _ in range(100):
        if (frame := camera.read(0.5)) is not None:
            return frame
    raise AssertionError("no frame")


def read_on(camera):
    """Read more frames than a recording has; a camera that is gone must tell."""
    frames = [camera.read(0.01) for _ in range(200)]
    return [frame for frame in frames if frame is not None]


def test_it_has_a_name(bench):
    assert bench.camera.name


def test_a_frame_is_luma_with_time_and_number(bench):
    bench.camera.open()
    frame = read_one(bench.camera)
    assert isinstance(frame, Frame)
    assert frame.luma.dtype == np.uint8
    assert frame.luma.shape == (480, 640)
    assert np.abs(frame.luma.astype(int) - LEVEL).max() <= 2
    assert abs(time.monotonic() - frame.captured_at_s) < 5
    frame.release()


def test_a_drivers_luma_is_a_view_with_padded_rows(driven):
    driven.camera.open()
    frame = read_one(driven.camera)
    if driven.zero_copy:
        assert not frame.luma.flags.owndata
        assert frame.luma.strides[0] > 640 * frame.luma.strides[1]
    frame.release()


def test_frames_are_in_order(bench):
    bench.camera.open()
    first, second = read_one(bench.camera), read_one(bench.camera)
    assert second.sequence > first.sequence
    assert second.captured_at_s >= first.captured_at_s


def test_it_may_be_closed_twice_and_unopened_and_opened_again(bench):
    bench.camera.close()
    bench.camera.open()
    bench.camera.close()
    bench.camera.close()
    bench.camera.open()
    assert read_one(bench.camera)


def test_opened_twice_it_holds_the_device_once(bench):
    bench.camera.open()
    bench.camera.open()
    read_one(bench.camera).release()
    bench.camera.close()
    assert bench.left_open() == 0


def test_reading_a_closed_camera_is_a_lost_camera(bench):
    with pytest.raises(CameraLostError):
        bench.camera.read(0.1)


def test_a_released_frame_makes_room_for_another(bench):
    bench.camera.open()
    for _ in range(30):
        read_one(bench.camera).release()


def test_a_frame_may_be_released_twice(bench):
    bench.camera.open()
    for _ in range(30):
        frame = read_one(bench.camera)
        frame.release()
        frame.release()


def test_frames_on_loan_stay_as_they_are(driven):
    driven.camera.open()
    held = [read_one(driven.camera) for _ in range(2)]
    copies = [frame.luma.copy() for frame in held]
    for _ in range(10):
        read_one(driven.camera).release()
    assert all(np.array_equal(*pair) for pair in zip(copies, [f.luma for f in held], strict=True))
    for frame in held:
        frame.release()


def test_a_frame_outlives_its_camera_and_is_released_into_the_next_one(bench):
    bench.camera.open()
    frame = read_one(bench.camera)
    bench.camera.close()
    assert abs(int(frame.luma[479, 639]) - LEVEL) <= 2
    bench.camera.open()
    read_one(bench.camera).release()
    frame.release()
    for _ in range(10):
        read_one(bench.camera).release()
    bench.camera.close()
    assert bench.left_open() == 0


def test_after_a_pause_the_frame_is_a_fresh_one(bench):
    bench.camera.open()
    read_one(bench.camera).release()
    bench.pause()
    frame = read_one(bench.camera)
    assert time.monotonic() - frame.captured_at_s < 2


def test_a_reader_who_does_not_wait_gets_a_frame_or_none(bench):
    bench.camera.open()
    for _ in range(20):
        frame = bench.camera.read(0)
        assert frame is None or frame.luma.shape == (480, 640)


def test_a_damaged_frame_is_no_frame_and_no_failure(bench):
    bench.camera.open()
    read_one(bench.camera).release()
    bench.damage()
    for _ in range(10):
        frame = read_one(bench.camera)
        assert frame.luma.shape == (480, 640)
        assert np.abs(frame.luma.astype(int) - LEVEL).max() <= 2
        frame.release()


def test_taken_away_while_open_it_is_lost_or_silent(bench):
    bench.camera.open()
    read_one(bench.camera).release()
    bench.take_away()
    if bench.tells_that_it_is_gone:
        with pytest.raises(CameraLostError):
            read_on(bench.camera)
    else:
        assert read_on(bench.camera) == []
    bench.camera.close()
    assert bench.left_open() == 0


def test_taken_away_before_opening_it_is_missing(bench):
    bench.take_away()
    with pytest.raises(CameraMissingError) as caught:
        bench.camera.open()
    assert isinstance(caught.value, CameraError)
    assert caught.value.detail
    assert caught.value.advice
    assert bench.left_open() == 0


def test_brought_back_it_delivers_again(bench):
    bench.camera.open()
    bench.take_away()
    bench.camera.close()
    bench.bring_back()
    bench.camera.open()
    assert read_one(bench.camera)


def test_in_use_elsewhere_it_is_busy(driven):
    driven.occupy()
    held = driven.left_open()
    with pytest.raises(CameraBusyError) as caught:
        driven.camera.open()
    assert "fuser" in caught.value.advice
    assert driven.left_open() == held


def test_its_exposure_has_a_range_or_cannot_be_set(bench):
    bench.camera.open()
    found = bench.camera.exposure_range()
    if found is None:
        assert bench.camera.expose(123) == 123
        return
    assert found.lowest <= found.now
    assert found.lowest < found.highest
    for wanted in (found.lowest, found.highest, found.lowest - 1000, found.highest * 1000):
        taken = bench.camera.expose(wanted)
        assert taken == min(max(wanted, found.lowest), found.highest)
        assert bench.camera.exposure_range().now == taken
        read_one(bench.camera).release()
    assert bench.camera.exposure_range().now == found.highest


def test_the_exposure_of_a_closed_camera_is_a_lost_camera(bench):
    with pytest.raises(CameraLostError):
        bench.camera.exposure_range()
    with pytest.raises(CameraLostError):
        bench.camera.expose(100)
