"""A V4L2 driver behind the system calls: real mapped memory, real structures, no hardware.

It answers the ioctls as drivers do (videobuf2's rules for queued, filled and dequeued buffers)
and breaks in the ways of real ones when told to.
"""

import errno
import mmap
import os
import select
import time
from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np
import videodev2 as v4l2

PADDING = 32  # bytes after each row


@dataclass
class Control:
    value: int
    lowest: int = 0
    highest: int = 10_000
    step: int = 1
    flags: int = 0
    only: tuple[int, ...] | None = None  # the entries of a menu that exist


def usual_controls():
    """Those of an ordinary webcam."""
    return {
        v4l2.V4L2_CID_EXPOSURE_AUTO: Control(3, 0, 3, only=(1, 3)),
        v4l2.V4L2_CID_EXPOSURE_ABSOLUTE: Control(156, 3, 2047),
        v4l2.V4L2_CID_EXPOSURE_AUTO_PRIORITY: Control(1, 0, 1),
        v4l2.V4L2_CID_GAIN: Control(0, 0, 255),
        v4l2.V4L2_CID_FOCUS_AUTO: Control(1, 0, 1),
        v4l2.V4L2_CID_FOCUS_ABSOLUTE: Control(0, 0, 250, step=5),
    }


@dataclass
class FakeDriver:
    """The `Kernel` of one camera. Frames come by themselves, one for each poll, or by `fill`."""

    path: str = "/dev/video0"
    formats: dict[str, int] = field(default_factory=lambda: {"GREY": 30, "YUYV": 30, "MJPG": 30})
    size: tuple[int, int] | None = None  # the only one it has; None: any
    luma: int | np.ndarray = 80
    controls: dict[int, Control] = field(default_factory=usual_controls)
    by_itself: bool = True
    monotonic: bool = True
    clock = staticmethod(time.monotonic)
    buffer_bytes: int | None = None  # smaller or larger than it should be
    capabilities: int = v4l2.V4L2_CAP_VIDEO_CAPTURE | v4l2.V4L2_CAP_STREAMING

    def __post_init__(self):
        self.plugged = True
        self.refuse = {}  # request -> errno, or (errno, how often)
        self.fds = set()
        self.calls = []
        self.set_controls = []
        self.fps = 30
        self.sequence = 0
        self.broken = False  # the queue is in error
        self.memory = None
        self.owner = None
        self._stop()

    # The system calls.

    def open(self, path):
        if not self.plugged:
            raise OSError(errno.ENOENT, "No such file or directory")
        self._maybe_refuse("open")
        fd = os.memfd_create("fake-v4l2")
        self.fds.add(fd)
        return fd

    def close(self, fd):
        self.fds.remove(fd)
        if self.owner == fd:
            self._stop()
        os.close(fd)

    def mmap(self, fd, length, offset):
        self._maybe_refuse("mmap")
        return mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)

    def poll(self, fd, timeout_s):
        if not self.plugged or self.broken or not self.streaming:
            return select.POLLERR
        if not self.filled and self.by_itself:
            time.sleep(min(timeout_s, 0.002))
            self.fill()
        if not self.filled and not self.by_itself:
            self.idle(timeout_s)
        return select.POLLIN if self.filled else 0

    def idle(self, timeout_s):
        """What passes while a reader waits in vain; tests give it a clock of their own."""
        time.sleep(timeout_s)

    def ioctl(self, fd, request, told):
        assert fd in self.fds
        if not self.plugged:
            raise OSError(errno.ENODEV, "No such device")
        name = next(n for n in NAMES if getattr(v4l2, n) == request)
        self.calls.append(name)
        self._maybe_refuse(name)
        getattr(self, f"_{name.removeprefix('VIDIOC_').lower()}")(fd, told)

    # What a test does to it.

    def unplug(self):
        self.plugged = False

    def plug(self):
        self.plugged = True

    def fill(self, luma=None, *, stamp_s=None, flags=0, used=None, data=None):
        """Fill the next buffer, if the reader left one; return whether it did."""
        self.sequence = (self.sequence + 1) & 0xFFFF_FFFF
        if not self.queued:
            return False
        index = self.queued.popleft()
        content = data if data is not None else self._encoded(self.luma if luma is None else luma)
        self.memory.seek(index * self.room)
        self.memory.write(content[: self.room])
        stamp_s = self.clock() if stamp_s is None else stamp_s
        if self.monotonic:
            flags |= v4l2.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC
        used = len(content) if used is None else used
        self.filled.append((index, used, flags, stamp_s, self.sequence))
        return True

    # The ioctls.

    def _querycap(self, fd, told):
        _write(told.card, b"Fake camera")
        told.capabilities = v4l2.V4L2_CAP_DEVICE_CAPS | v4l2.V4L2_CAP_VIDEO_CAPTURE
        told.device_caps = self.capabilities

    def _enum_fmt(self, fd, told):
        if told.index >= len(self.formats):
            raise OSError(errno.EINVAL, "Invalid argument")
        told.pixelformat = _number(list(self.formats)[told.index])

    def _s_fmt(self, fd, told):
        self._not_of_others(fd)
        pix = told.fmt.pix
        name = pix.pixelformat.to_bytes(4, "little").decode("latin-1")
        self.fourcc = name if name in self.formats else next(iter(self.formats))
        self.width, self.height = self.size or (pix.width, pix.height)
        step = 2 if self.fourcc in ("YUYV", "UYVY") else 1
        self.stride = 0 if self.fourcc == "MJPG" else self.width * step + PADDING
        rows = self.height * 3 // 2 if self.fourcc in ("NV12", "YU12") else self.height
        pix.pixelformat = _number(self.fourcc)
        pix.width, pix.height, pix.bytesperline = self.width, self.height, self.stride
        pix.sizeimage = self.bytes = rows * self.stride or self.width * self.height * 2

    def _s_parm(self, fd, told):
        interval = told.parm.capture.timeperframe
        wanted = interval.denominator / interval.numerator
        self.fps = min(wanted, self.formats[self.fourcc])
        interval.numerator, interval.denominator = 100, int(100 * self.fps)

    def _reqbufs(self, fd, told):
        self._not_of_others(fd)
        self._stop()
        if not told.count:
            return
        self.owner = fd
        self.count = told.count
        wanted = self.bytes if self.buffer_bytes is None else self.buffer_bytes
        self.room = -(-max(wanted, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(fd, self.room * told.count)
        self.memory = mmap.mmap(fd, self.room * told.count)

    def _querybuf(self, fd, told):
        told.length = self.bytes if self.buffer_bytes is None else self.buffer_bytes
        told.m.offset = told.index * self.room

    def _qbuf(self, fd, told):
        taken = list(self.queued) + [one[0] for one in self.filled]
        if told.index >= self.count or told.index in taken:
            raise OSError(errno.EINVAL, "Invalid argument")
        self.queued.append(told.index)

    def _dqbuf(self, fd, told):
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        if not self.filled:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        index, used, flags, stamp_s, sequence = self.filled.popleft()
        told.index, told.bytesused, told.flags, told.sequence = index, used, flags, sequence
        told.timestamp.tv_sec = int(stamp_s)
        told.timestamp.tv_usec = round(stamp_s % 1 * 1e6)

    def _streamon(self, fd, told):
        assert told.value == v4l2.V4L2_BUF_TYPE_VIDEO_CAPTURE
        self.streaming = True

    def _streamoff(self, fd, told):
        self.streaming = False
        self.queued.clear()
        self.filled.clear()

    def _queryctrl(self, fd, told):
        control = self._control(told.id)
        told.minimum, told.maximum = control.lowest, control.highest
        told.step, told.flags = control.step, control.flags

    def _g_ctrl(self, fd, told):
        told.value = self._control(told.id).value

    def _s_ctrl(self, fd, told):
        control = self._control(told.id)
        if control.only is not None and told.value not in control.only:
            raise OSError(errno.EINVAL, "Invalid argument")
        value = max(control.lowest, min(control.highest, told.value))
        control.value = value - (value - control.lowest) % control.step
        self.set_controls.append((told.id, told.value))

    # Below.

    def _control(self, number):
        if number not in self.controls:
            raise OSError(errno.EINVAL, "Invalid argument")
        return self.controls[number]

    def _not_of_others(self, fd):
        if self.owner not in (None, fd):
            raise OSError(errno.EBUSY, "Device or resource busy")

    def _stop(self):
        self.owner = None
        self.streaming = False
        self.queued, self.filled = deque(), deque()
        self.memory = None

    def _maybe_refuse(self, what):
        if what in self.refuse:
            number = self.refuse[what]
            if isinstance(number, tuple):
                number, left = number
                self.refuse[what] = (number, left - 1)
                if left == 0:
                    return
            raise OSError(number, os.strerror(number))

    def _encoded(self, luma):
        plane = np.empty((self.height, self.width), np.uint8)
        plane[:] = luma
        if self.fourcc == "MJPG":
            return encode_jpeg(plane)
        rows = np.full((self.bytes // self.stride, self.stride), 200, np.uint8)
        match self.fourcc:
            case "YUYV":
                rows[:, : 2 * self.width : 2] = plane
            case "UYVY":
                rows[:, 1 : 2 * self.width : 2] = plane
            case _:
                rows[: self.height, : self.width] = plane
        return rows.tobytes()


NAMES = [
    *("VIDIOC_QUERYCAP", "VIDIOC_ENUM_FMT", "VIDIOC_S_FMT", "VIDIOC_S_PARM", "VIDIOC_REQBUFS"),
    *("VIDIOC_QUERYBUF", "VIDIOC_QBUF", "VIDIOC_DQBUF", "VIDIOC_STREAMON", "VIDIOC_STREAMOFF"),
    *("VIDIOC_QUERYCTRL", "VIDIOC_G_CTRL", "VIDIOC_S_CTRL"),
]


def encode_jpeg(plane):
    _, packed = cv2.imencode(".jpg", cv2.cvtColor(plane, cv2.COLOR_GRAY2BGR))
    return packed.tobytes()


def _number(fourcc):
    return int.from_bytes(fourcc.encode("latin-1"), "little")


def _write(characters, text):
    for at, character in enumerate(text):
        characters[at] = character
