"""The V4L2 camera over a driver behind the system calls: formats, controls, time, failures.

What holds for every camera is in the contract tests; a real driver is in tests/vm.
"""

import errno
import logging
import os
import select

import cv2
import numpy as np
import pytest
import videodev2 as v4l2
from fake_v4l2 import PADDING, Control, FakeDriver, encode_jpeg
from hypothesis import given
from hypothesis import strategies as st

from hardware.camera import CameraBusyError, CameraLostError, CameraMissingError
from hardware.cameras import v4l2_errors
from hardware.cameras.v4l2 import BUFFERS, V4l2Camera
from hardware.cameras.v4l2_device import LinuxKernel, PixelFormat
from hardware.cameras.v4l2_formats import FORMATS, is_possible, jpeg_size, luma_of_jpeg

NODE = "/dev/null"  # something that is there


class Clock:
    """Time that passes only while a reader waits in vain."""

    def __init__(self, driver, now_s=1000.0):
        self.now_s = now_s
        driver.clock, driver.idle, driver.by_itself = self, self.pass_by, False

    def __call__(self):
        return self.now_s

    def pass_by(self, seconds):
        self.now_s += seconds


@pytest.fixture
def driver():
    return FakeDriver()


@pytest.fixture
def clock(driver):
    return Clock(driver)


@pytest.fixture
def opened(driver):
    """Opens a camera of this driver."""
    made = []

    def make(**how):
        made.append(V4l2Camera(NODE, kernel=driver, clock=driver.clock, **how))
        made[-1].open()
        return made[-1]

    yield make
    for camera in made:
        camera.close()


def control(name):
    return getattr(v4l2, f"V4L2_CID_{name}")


# Formats.


@pytest.mark.parametrize(
    ("formats", "chosen"),
    [
        (("MJPG", "YUYV", "NV12", "GREY"), "GREY"),
        (("MJPG", "YUYV", "NV12"), "NV12"),
        (("MJPG", "YUYV"), "YUYV"),
        (("H264", "MJPG"), "MJPG"),
        (("UYVY",), "UYVY"),
        (("RGB3", "YU12"), "YU12"),
    ],
)
def test_the_format_nearest_to_luma_is_taken(driver, opened, formats, chosen):
    driver.formats = dict.fromkeys(formats, 30)
    opened()
    assert driver.fourcc == chosen


def test_a_format_too_slow_at_this_size_is_passed_over(driver, opened):
    driver.formats = {"YUYV": 10, "MJPG": 30}
    opened(width=1280, height=720)
    assert driver.fourcc == "MJPG"


def test_a_camera_that_has_only_slow_formats_is_used_with_a_warning(driver, opened, caplog):
    driver.formats = {"MJPG": 5, "YUYV": 5}
    opened()
    assert driver.fourcc == "YUYV"
    [told] = [one for one in caplog.records if "not what was asked for" in one.getMessage()]
    assert (told.format, told.size, told.fps) == ("YUYV", [640, 480], 5.0)


def test_a_camera_with_one_size_is_used_with_a_warning(driver, opened, caplog):
    driver.size = (320, 240)
    assert opened().read(1).luma.shape == (240, 320)
    assert "not what was asked for" in caplog.text


def test_a_driver_without_a_say_in_the_pace_is_fine(driver, opened, caplog):
    driver.refuse["VIDIOC_S_PARM"] = errno.ENOTTY
    assert opened().read(1)
    assert "not what was asked for" not in caplog.text


@pytest.mark.parametrize("formats", [("H264", "RGGB"), ()])
def test_a_camera_without_a_format_of_ours_is_missing(driver, opened, formats):
    driver.formats = dict.fromkeys(formats, 30)
    with pytest.raises(CameraMissingError, match="csi"):
        opened()
    assert driver.fds == set()


@pytest.mark.parametrize("fourcc", FORMATS)
def test_each_format_shows_its_luma(driver, opened, fourcc):
    driver.formats = {fourcc: 30}
    driver.luma = np.arange(480 * 640, dtype=np.uint32).reshape(480, 640).astype(np.uint8)
    luma = opened().read(1).luma
    if fourcc == "MJPG":
        assert luma.shape == (480, 640)
    else:
        assert np.array_equal(luma, driver.luma)
        assert luma.strides[0] == 640 * luma.strides[1] + PADDING
        assert not luma.flags.writeable


@pytest.mark.parametrize(
    "pixels",
    [
        PixelFormat("GREY", 0, 480, 640, 307_200),
        PixelFormat("GREY", 640, 0, 640, 307_200),
        PixelFormat("GREY", 1 << 20, 1 << 20, 1 << 20, 1 << 31),
        PixelFormat("GREY", 640, 480, 639, 307_200),
        PixelFormat("GREY", 640, 480, 1 << 24, 1 << 31),
        PixelFormat("GREY", 640, 480, 640, 307_199),
        PixelFormat("YUYV", 640, 480, 640, 614_400),
        PixelFormat("MJPG", 640, 480, 0, 0),
    ],
)
def test_a_format_that_cannot_be_is_not_believed(pixels):
    assert not is_possible(pixels)


@pytest.mark.parametrize("size", [(0, 0), (60_000, 60_000)])
def test_a_driver_that_claims_an_impossible_size_is_missing(driver, opened, size):
    driver.size = size
    with pytest.raises(CameraMissingError):
        opened()
    assert driver.fds == set()


@pytest.mark.parametrize("bytes_", [0, 1000])
def test_buffers_smaller_than_a_frame_are_not_used(driver, opened, bytes_):
    driver.formats = {"GREY": 30}
    driver.buffer_bytes = bytes_
    with pytest.raises(CameraMissingError):
        opened()
    assert driver.fds == set()


# Reading.


def test_the_newest_of_several_frames_is_lent_and_the_others_go_back(driver, opened, clock):
    camera = opened()
    for level in (1, 2, 3):
        assert driver.fill(level)
    frame = camera.read(1)
    assert frame.luma[0, 0] == 3
    assert len(driver.queued) == BUFFERS - 1


def test_a_reader_who_holds_all_buffers_gets_no_more(driver, opened, clock):
    camera = opened()
    held = []
    for _ in range(BUFFERS):
        driver.fill()
        held.append(camera.read(1))
    assert driver.fill() is False
    assert camera.read(0.2) is None
    held[2].release()
    assert not driver.queued  # the thread that reads gives it back, not the one that releases
    assert camera.read(0.2) is None
    assert len(driver.queued) == 1


def test_no_frame_in_time_is_no_frame(driver, opened, clock):
    assert opened().read(0.2) is None
    assert clock.now_s == pytest.approx(1000.2)


def test_frames_from_before_a_pause_are_passed_over(driver, opened, clock):
    camera = opened()
    for _ in range(BUFFERS):
        driver.fill()
    clock.now_s += 5
    assert camera.read(0.2) is None
    assert len(driver.queued) == BUFFERS
    driver.fill(9)
    assert camera.read(0.2).luma[0, 0] == 9


@pytest.mark.parametrize(
    ("stamp_s", "expected_s"),
    [(999.98, 999.98), (1000.5, 1000.0), (0.0, 1000.0), (1_700_000_000.0, 1000.0)],
)
def test_the_drivers_time_is_taken_where_it_can_be_true(driver, opened, clock, stamp_s, expected_s):
    camera = opened()
    # It comes while the reader waits, so it is new whatever its stamp says.
    clock.pass_by = driver.idle = lambda seconds: driver.fill(stamp_s=stamp_s)
    assert camera.read(1).captured_at_s == pytest.approx(expected_s)


def test_without_a_monotonic_stamp_the_time_is_now(driver, opened, clock):
    driver.monotonic = False
    camera = opened()
    driver.fill(stamp_s=999.0)
    assert camera.read(1).captured_at_s == 1000.0


def test_the_drivers_count_may_wrap_and_may_stand_still(driver, opened, clock):
    camera = opened()
    numbers = []
    for count in (0xFFFF_FFFD, 0xFFFF_FFFE, 0, 3, 3):
        driver.sequence = count - 1
        driver.fill()
        frame = camera.read(1)
        frame.release()
        numbers.append(frame.sequence)
    assert [after - numbers[0] for after in numbers] == [0, 1, 3, 6, 7]


@pytest.mark.parametrize(
    "how",
    [
        {"flags": v4l2.V4L2_BUF_FLAG_ERROR},
        {"used": 0},
        {"used": (480 - 1) * (640 + PADDING) + 639},
    ],
)
def test_a_damaged_frame_is_dropped_and_its_buffer_used_again(driver, opened, clock, caplog, how):
    driver.formats = {"GREY": 30}
    camera = opened()
    for _ in range(50):
        driver.fill(**how)
        assert camera.read(0.1) is None
    assert len(driver.queued) == BUFFERS
    told = [one for one in caplog.records if one.getMessage() == "camera frame dropped"]
    assert [one.dropped for one in told] == [1]  # five seconds: one report


def test_a_frame_of_just_enough_bytes_is_whole(driver, opened, clock):
    driver.formats = {"GREY": 30}
    camera = opened()
    driver.fill(used=(480 - 1) * (640 + PADDING) + 640)
    assert camera.read(0.1)


# JPEG.

WHOLE = encode_jpeg(np.full((480, 640), 120, np.uint8))
AGREED = PixelFormat("MJPG", 640, 480, 0, 614_400)


def decoded(data):
    return luma_of_jpeg(np.frombuffer(data, np.uint8), AGREED)


def resized(width, height):
    """The JPEG with another size in its header."""
    at = WHOLE.index(b"\xff\xc0")
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return WHOLE[: at + 5] + size + WHOLE[at + 9 :]


def without_tables():
    """As webcams send it: without the Huffman tables, which are always the same."""
    kept, at = WHOLE[:2], 2
    while WHOLE[at + 1] != 0xDA:
        length = 2 + int.from_bytes(WHOLE[at + 2 : at + 4], "big")
        kept += b"" if WHOLE[at + 1] == 0xC4 else WHOLE[at : at + length]
        at += length
    return kept + WHOLE[at:]


@pytest.mark.parametrize("data", [WHOLE, without_tables(), WHOLE + bytes(500)])
def test_only_the_luma_of_a_jpeg_is_decoded(data):
    luma = decoded(data)
    assert luma.shape == (480, 640)
    assert np.abs(luma.astype(int) - 120).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8 broken",
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:100],
        WHOLE[2:],
        resized(65_535, 65_535),
        resized(0, 0),
        resized(320, 240),
    ],
)
def test_a_damaged_jpeg_or_one_of_another_size_is_no_frame(data):
    assert decoded(data) is None


def test_opencv_failing_is_no_frame(monkeypatch):
    def fail(data, flags):
        raise cv2.error("x")

    monkeypatch.setattr(cv2, "imdecode", fail)
    assert decoded(WHOLE) is None


@given(st.binary(max_size=300))
def test_no_header_upsets_the_reader_of_jpeg_sizes(data):
    for start in (b"", b"\xff\xd8", b"\xff\xd8\xff"):
        jpeg_size(start + data)


def test_a_damaged_jpeg_is_dropped_and_its_buffer_used_again(driver, opened, clock, caplog):
    driver.formats = {"MJPG": 30}
    camera = opened()
    driver.fill(data=WHOLE[:2000])
    assert camera.read(0.1) is None
    assert len(driver.queued) == BUFFERS
    assert "camera frame dropped" in caplog.text
    driver.fill()
    assert camera.read(0.1)
    assert len(driver.queued) == BUFFERS


# Controls.


def test_auto_is_set_as_auto(driver, opened):
    driver.controls[control("EXPOSURE_AUTO")].value = 1  # somebody left it so
    driver.controls[control("FOCUS_AUTO")].value = 0
    opened()
    assert driver.controls[control("EXPOSURE_AUTO")].value == v4l2.V4L2_EXPOSURE_APERTURE_PRIORITY
    assert driver.controls[control("FOCUS_AUTO")].value == 1
    assert driver.controls[control("EXPOSURE_AUTO_PRIORITY")].value == 0
    touched = {number for number, _ in driver.set_controls}
    assert not touched & {control("EXPOSURE_ABSOLUTE"), control("GAIN"), control("FOCUS_ABSOLUTE")}
    assert control("POWER_LINE_FREQUENCY") not in touched


def test_numbers_are_set_as_numbers(driver, opened):
    driver.controls[control("AUTOGAIN")] = Control(1, 0, 1)
    opened(exposure=80, gain=5, focus=30)
    values = {name: driver.controls[control(name)].value for name in (
        "EXPOSURE_AUTO", "EXPOSURE_ABSOLUTE", "AUTOGAIN", "GAIN", "FOCUS_AUTO", "FOCUS_ABSOLUTE",
    )}  # fmt: skip  # words, not one a line
    assert list(values.values()) == [v4l2.V4L2_EXPOSURE_MANUAL, 80, 0, 5, 0, 30]


def test_a_camera_whose_automatic_exposure_is_the_other_one(driver, opened):
    driver.controls[control("EXPOSURE_AUTO")] = Control(1, 0, 2, only=(0, 2))
    opened().close()
    assert driver.controls[control("EXPOSURE_AUTO")].value == v4l2.V4L2_EXPOSURE_AUTO
    opened(exposure=80)
    assert driver.controls[control("EXPOSURE_AUTO")].value == v4l2.V4L2_EXPOSURE_SHUTTER_PRIORITY


@pytest.mark.parametrize(("asked", "actual"), [(33, 30), (1_000_000, 250)])
def test_a_number_that_the_camera_does_not_obey_is_a_warning(opened, caplog, asked, actual):
    with caplog.at_level(logging.WARNING):
        opened(focus=asked)
    [told] = [one for one in caplog.records if "obey" in one.getMessage()]
    assert (told.control, told.asked, told.actual) == ("focus", asked, actual)


def test_a_camera_without_controls_is_used_and_warns_of_numbers_only(driver, opened, caplog):
    driver.controls = {}
    with caplog.at_level(logging.WARNING):
        camera = opened(exposure=80, gain="auto", focus="auto")
    assert [one.control for one in caplog.records if "obey" in one.getMessage()] == ["exposure"]
    assert camera.exposure_range() is None


def test_a_control_that_fails_is_no_reason_to_be_without_camera(driver, opened):
    driver.refuse["VIDIOC_S_CTRL"] = errno.EIO
    driver.refuse["VIDIOC_QUERYCTRL"] = errno.EPIPE
    camera = opened(exposure=80)
    assert camera.read(1)
    assert camera.exposure_range() is None
    assert camera.expose(40) == 156  # as it was


def test_an_exposure_that_cannot_be_read_back_is_taken_as_told(driver, opened):
    driver.refuse["VIDIOC_G_CTRL"] = errno.EACCES
    camera = opened()
    assert camera.exposure_range().now == 333
    assert camera.expose(40) == 40


def test_screen_begins_as_auto_and_the_first_expose_takes_over(driver, opened):
    driver.controls[control("AUTOGAIN")] = Control(1, 0, 1)
    camera = opened(exposure="screen")
    mode = driver.controls[control("EXPOSURE_AUTO")]
    assert mode.value == v4l2.V4L2_EXPOSURE_APERTURE_PRIORITY
    assert camera.expose(50) == 50
    assert mode.value == v4l2.V4L2_EXPOSURE_MANUAL
    assert driver.controls[control("AUTOGAIN")].value == 0
    assert camera.exposure_range().now == 50
    driver.set_controls.clear()
    camera.expose(60)
    assert driver.set_controls == [(control("EXPOSURE_ABSOLUTE"), 60)]


def test_an_exposure_by_hand_is_no_longer_than_a_frame_and_in_steps(driver, opened):
    driver.controls[control("EXPOSURE_ABSOLUTE")] = Control(156, 3, 2047, step=10)
    camera = opened(fps=30)
    assert camera.exposure_range().highest == 333
    assert camera.expose(9999) == 333
    assert camera.expose(48) == 43
    assert camera.expose(-5) == 3


def test_a_disabled_or_only_readable_exposure_cannot_be_set(driver, opened):
    camera = opened()
    for flag in (v4l2.V4L2_CTRL_FLAG_DISABLED, v4l2.V4L2_CTRL_FLAG_READ_ONLY):
        driver.controls[control("EXPOSURE_ABSOLUTE")].flags = flag
        assert camera.exposure_range() is None


def test_a_camera_unplugged_while_its_exposure_is_set_is_lost(driver, opened):
    camera = opened()
    driver.unplug()
    with pytest.raises(CameraLostError, match="unplugged"):
        camera.exposure_range()
    with pytest.raises(CameraLostError, match="unplugged"):
        camera.expose(50)


# Refusals.


@pytest.mark.parametrize(
    ("call", "number", "expected", "advice"),
    [
        ("open", errno.EACCES, CameraMissingError, "usermod"),
        ("open", errno.ENODEV, CameraMissingError, "plugged in"),
        ("open", errno.EBUSY, CameraBusyError, "fuser"),
        ("VIDIOC_QUERYCAP", errno.ENOTTY, CameraMissingError, "is no camera"),
        ("VIDIOC_ENUM_FMT", errno.EIO, CameraMissingError, "plugged in"),
        ("VIDIOC_S_FMT", errno.EBUSY, CameraBusyError, "fuser"),
        ("VIDIOC_S_PARM", errno.EIO, CameraMissingError, "plugged in"),
        ("VIDIOC_S_CTRL", errno.ENODEV, CameraMissingError, "plugged in"),
        ("VIDIOC_REQBUFS", errno.EBUSY, CameraBusyError, "fuser"),
        ("VIDIOC_QUERYBUF", errno.EINVAL, CameraMissingError, "is no camera"),
        ("mmap", errno.ENOMEM, CameraMissingError, "plugged in"),
        ("VIDIOC_STREAMON", errno.ENOSPC, CameraMissingError, "USB bus"),
        ("VIDIOC_STREAMON", errno.EPROTO, CameraMissingError, "plugged in"),
    ],
)
def test_a_refusal_says_what_to_do_and_leaves_nothing_open(
    driver, opened, call, number, expected, advice
):
    driver.refuse[call] = number
    with pytest.raises(expected, match=advice):
        opened()
    assert driver.fds == set()
    driver.refuse.clear()
    assert opened().read(1)


def test_a_node_without_pictures_is_named(driver, opened):
    driver.capabilities = v4l2.V4L2_CAP_META_CAPTURE | v4l2.V4L2_CAP_STREAMING
    with pytest.raises(CameraMissingError, match="index0"):
        opened()
    assert driver.fds == set()


@pytest.mark.parametrize("path", ["/dev/video-none", "/dev/null", "/dev"])
def test_what_is_no_camera_is_missing_for_the_real_kernel_too(path):
    with pytest.raises(CameraMissingError, match="Set camera"):
        V4l2Camera(path).open()


def test_a_file_is_no_camera(tmp_path):
    (tmp_path / "video0").write_bytes(b"")
    with pytest.raises(CameraMissingError, match="is no camera"):
        V4l2Camera(str(tmp_path / "video0")).open()


def broken(driver):
    driver.broken = True


def refusing(call):
    def refuse(driver):
        driver.fill()
        driver.refuse[call] = errno.EIO

    return refuse


@pytest.mark.parametrize("break_", [broken, refusing("VIDIOC_DQBUF"), refusing("VIDIOC_QBUF")])
def test_a_stream_that_breaks_is_a_lost_camera(driver, opened, clock, break_):
    camera = opened()
    driver.fill()
    camera.read(1).release()
    break_(driver)
    with pytest.raises(CameraLostError, match="any more"):
        camera.read(0.2)
    camera.close()
    assert driver.fds == set()


def test_an_unplugged_camera_can_be_closed(driver, opened, clock):
    camera = opened()
    driver.unplug()
    with pytest.raises(CameraLostError, match="cable"):
        camera.read(0.2)
    camera.close()
    assert driver.fds == set()


def test_the_name_that_stays_is_told(driver, opened, tmp_path, monkeypatch):
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    link = by_id / "usb-ACME_Camera_1234-video-index0"
    link.symlink_to(NODE)
    (by_id / "usb-Other-video-index0").symlink_to("/dev/zero")
    monkeypatch.setattr(v4l2_errors, "STABLE_NAMES", by_id)

    camera = opened()
    driver.unplug()
    link.unlink()
    with pytest.raises(CameraLostError, match=str(link)):
        camera.read(0.2)
    link.symlink_to(NODE)
    with pytest.raises(CameraMissingError, match=f"{link} or .*usb-Other"):
        camera.open()
    driver.plug()
    driver.refuse["VIDIOC_S_FMT"] = errno.EBUSY
    with pytest.raises(CameraBusyError, match=str(link)):
        camera.open()


def test_whoever_uses_the_name_that_stays_is_not_told_it(tmp_path, monkeypatch, driver):
    link = tmp_path / "usb-ACME_Camera_1234-video-index0"
    link.symlink_to(NODE)
    monkeypatch.setattr(v4l2_errors, "STABLE_NAMES", tmp_path)
    driver.refuse["open"] = errno.EBUSY
    with pytest.raises(CameraBusyError) as caught:
        V4l2Camera(str(link), kernel=driver).open()
    assert "stays" not in caught.value.advice


# The system calls themselves.


def test_the_kernel_opens_without_blocking_and_maps_for_reading():
    kernel = LinuxKernel()
    fd = os.memfd_create("memory")
    os.truncate(fd, 4096)
    mapping = kernel.mmap(fd, 4096, 0)
    with pytest.raises(TypeError):
        mapping[0] = 1
    mapping.close()
    kernel.close(fd)
    fd = kernel.open("/dev/null")
    assert os.get_blocking(fd) is False
    kernel.close(fd)


def test_the_kernel_waits_for_what_can_be_read():
    kernel = LinuxKernel()
    reader, writer = os.pipe()
    assert kernel.poll(reader, 0) == 0
    os.write(writer, b".")
    assert kernel.poll(reader, 1) == select.POLLIN
    os.close(writer)
    os.close(reader)


def test_a_signal_does_not_end_a_call(monkeypatch):
    answers = [InterruptedError(), None]

    def ioctl(fd, request, argument):
        assert request == 0xC058_5611  # as the kernel has it, not as a negative number
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    LinuxKernel().ioctl(3, v4l2.VIDIOC_DQBUF, None)
    assert not answers
