"""One V4L2 device that streams into mapped buffers: its ioctls, without judgement.

Structures and numbers are those of `videodev2`, Raspberry Pi's translation of the kernel's
header (see decision 0012). Whatever the driver refuses is an OSError with its errno.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import videodev2 as v4l2
from numpy.typing import NDArray

GONE = (errno.ENODEV, errno.ENXIO)
"""What a driver answers when its camera was unplugged."""

_MOST_BUFFERS = 32
_CAPTURE = v4l2.V4L2_BUF_TYPE_VIDEO_CAPTURE


class Kernel(Protocol):
    """The system calls that a device is made of; a test puts a driver of its own behind them."""

    def open(self, path: str) -> int: ...  # noqa: D102 - as in os
    def close(self, fd: int) -> None: ...  # noqa: D102 - as in os
    def ioctl(self, fd: int, request: int, argument: Any) -> None: ...  # noqa: D102 - as in fcntl

    def mmap(self, fd: int, length: int, offset: int) -> mmap.mmap:
        """Map a buffer, shared and for reading."""

    def poll(self, fd: int, timeout_s: float) -> int:
        """Wait until there is a filled buffer; return poll's event bits, 0 for none in time."""


class LinuxKernel:
    """The kernel that this runs on."""

    def open(self, path: str) -> int:
        """Open so that no call waits for a frame."""
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close; the driver stops by itself."""
        os.close(fd)

    def ioctl(self, fd: int, request: int, argument: Any) -> None:
        """Call the driver, which fills `argument` in."""
        while True:
            try:
                fcntl.ioctl(fd, request & 0xFFFF_FFFF, argument)
            except InterruptedError:
                continue
            return

    def mmap(self, fd: int, length: int, offset: int) -> mmap.mmap:
        """Map a buffer, shared and for reading."""
        return mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)

    def poll(self, fd: int, timeout_s: float) -> int:
        """Wait until there is a filled buffer."""
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return next((events for _, events in poller.poll(timeout_s * 1000)), 0)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a driver lays out a frame.

    Attributes:
        fourcc: Four letters, such as YUYV.
        width: Pixels.
        height: Pixels.
        stride: Bytes from one row to the next.
        size: Bytes of a frame at most.
    """

    fourcc: str
    width: int
    height: int
    stride: int
    size: int


@dataclass(frozen=True, slots=True)
class Filled:
    """A buffer that the driver gave up.

    Attributes:
        index: Which buffer.
        used: Bytes in it.
        damaged: The driver says that it is not whole.
        stamp_s: Seconds on the monotonic clock, or None where the driver has another clock.
        sequence: The driver's count, which wraps at 32 bits.
    """

    index: int
    used: int
    damaged: bool
    stamp_s: float | None
    sequence: int


@dataclass(frozen=True, slots=True)
class ControlRange:
    """What a control takes."""

    lowest: int
    highest: int
    step: int


class Device:
    """An open device.

    Threads: one thread uses it. What was mapped stays mapped for as long as somebody holds a
    view of it, also after `close`: the last view to go unmaps it.
    """

    def __init__(self, path: str, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fd = kernel.open(path)
        self._mappings: list[mmap.mmap] = []
        self.buffers: list[NDArray[np.uint8]] = []

    def close(self) -> None:
        """Stop, give the buffers back and close; twice is fine."""
        fd = self._fd
        if fd < 0:
            return
        # In words, not by closing alone: a mapping that is still on loan keeps the file open,
        # and the driver would go on streaming and be busy when the camera is opened again.
        with contextlib.suppress(OSError):
            self._ask(v4l2.VIDIOC_STREAMOFF, ctypes.c_int(_CAPTURE))
        with contextlib.suppress(OSError):
            self._ask(v4l2.VIDIOC_REQBUFS, _buffers(0))
        self.buffers.clear()
        for mapping in self._mappings:
            # BufferError: a frame of it is on loan; the last view to go unmaps it.
            with contextlib.suppress(BufferError):
                mapping.close()
        self._mappings.clear()
        self._fd = -1
        self._kernel.close(fd)

    def capability(self) -> tuple[str, bool]:
        """The camera's name, and whether this node delivers pictures into mapped buffers."""
        told = v4l2.v4l2_capability()
        self._ask(v4l2.VIDIOC_QUERYCAP, told)
        bits = told.capabilities
        if bits & v4l2.V4L2_CAP_DEVICE_CAPS:
            bits = told.device_caps
        needed = v4l2.V4L2_CAP_VIDEO_CAPTURE | v4l2.V4L2_CAP_STREAMING
        return _text(told.card), bits & needed == needed

    def formats(self) -> list[str]:
        """The pixel formats that it can deliver."""
        found: list[str] = []
        for index in range(256):
            told = v4l2.v4l2_fmtdesc(index=index, type=_CAPTURE)
            try:
                self._ask(v4l2.VIDIOC_ENUM_FMT, told)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    break  # no more of them
                raise
            found.append(_fourcc(told.pixelformat))
        return found

    def set_format(self, fourcc: str, width: int, height: int) -> PixelFormat:
        """Ask for a format; the driver answers with the nearest that it has."""
        told = v4l2.v4l2_format(type=_CAPTURE)
        told.fmt.pix.width = width
        told.fmt.pix.height = height
        told.fmt.pix.pixelformat = int.from_bytes(fourcc.encode("latin-1"), "little")
        told.fmt.pix.field = v4l2.V4L2_FIELD_NONE
        self._ask(v4l2.VIDIOC_S_FMT, told)
        pix = told.fmt.pix
        return PixelFormat(
            _fourcc(pix.pixelformat), pix.width, pix.height, pix.bytesperline, pix.sizeimage
        )

    def set_fps(self, fps: int) -> float | None:
        """Ask for a frame rate and return the one that the driver took; None: it has no say."""
        told = v4l2.v4l2_streamparm(type=_CAPTURE)
        told.parm.capture.timeperframe.numerator = 1
        told.parm.capture.timeperframe.denominator = fps
        try:
            self._ask(v4l2.VIDIOC_S_PARM, told)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                return None
            raise
        interval = told.parm.capture.timeperframe
        if not interval.numerator or not interval.denominator:
            return None
        return float(interval.denominator / interval.numerator)

    def start(self, buffers: int) -> None:
        """Map buffers, queue them all and let frames come."""
        told = _buffers(buffers)
        self._ask(v4l2.VIDIOC_REQBUFS, told)
        for index in range(min(told.count, _MOST_BUFFERS)):
            buffer = self._buffer(index)
            self._ask(v4l2.VIDIOC_QUERYBUF, buffer)
            if not buffer.length:
                raise OSError(errno.EIO, "a buffer without room")
            mapping = self._kernel.mmap(self._fd, buffer.length, buffer.m.offset)
            self._mappings.append(mapping)
            self.buffers.append(np.frombuffer(mapping, np.uint8))
            self.queue(index)
        self._ask(v4l2.VIDIOC_STREAMON, ctypes.c_int(_CAPTURE))

    def queue(self, index: int) -> None:
        """Give a buffer to the driver, to be filled."""
        self._ask(v4l2.VIDIOC_QBUF, self._buffer(index))

    def dequeue(self) -> Filled | None:
        """Take the oldest filled buffer; None if there is none."""
        buffer = self._buffer(0)
        try:
            self._ask(v4l2.VIDIOC_DQBUF, buffer)
        except BlockingIOError:
            return None
        stamp_s = None
        clock = buffer.flags & v4l2.V4L2_BUF_FLAG_TIMESTAMP_MASK
        if clock == v4l2.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC:
            stamp_s = buffer.timestamp.tv_sec + buffer.timestamp.tv_usec / 1e6
        damaged = bool(buffer.flags & v4l2.V4L2_BUF_FLAG_ERROR)
        return Filled(buffer.index, buffer.bytesused, damaged, stamp_s, buffer.sequence)

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is a filled buffer, or not."""
        events = self._kernel.poll(self._fd, timeout_s)
        if events and not events & select.POLLIN:
            self.capability()  # of an unplugged camera this says so
            raise OSError(errno.EIO, "the driver stopped the stream")
        return bool(events)

    def range_of(self, control: int) -> ControlRange | None:
        """What a control takes; None if there is no such control to be set."""
        told = v4l2.v4l2_queryctrl(id=control)
        try:
            self._ask(v4l2.VIDIOC_QUERYCTRL, told)
        except OSError as error:
            if error.errno in GONE:
                raise
            return None  # also of those that are listed, some cannot be asked
        if told.flags & (v4l2.V4L2_CTRL_FLAG_DISABLED | v4l2.V4L2_CTRL_FLAG_READ_ONLY):
            return None
        return ControlRange(told.minimum, told.maximum, max(1, told.step))

    def get(self, control: int) -> int:
        """What a control is set to."""
        told = v4l2.v4l2_control(id=control)
        self._ask(v4l2.VIDIOC_G_CTRL, told)
        return int(told.value)

    def set(self, control: int, value: int) -> None:
        """Set a control; the driver may take something near."""
        self._ask(v4l2.VIDIOC_S_CTRL, v4l2.v4l2_control(id=control, value=value))

    def _ask(self, request: int, argument: Any) -> None:
        self._kernel.ioctl(self._fd, request, argument)

    @staticmethod
    def _buffer(index: int) -> Any:
        return v4l2.v4l2_buffer(index=index, type=_CAPTURE, memory=v4l2.V4L2_MEMORY_MMAP)


def _buffers(count: int) -> Any:
    return v4l2.v4l2_requestbuffers(count=count, type=_CAPTURE, memory=v4l2.V4L2_MEMORY_MMAP)


def _fourcc(number: int) -> str:
    return number.to_bytes(4, "little").decode("latin-1")


def _text(characters: Any) -> str:
    return bytes(characters).partition(b"\0")[0].decode("utf-8", "replace")
