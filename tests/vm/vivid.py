"""The test driver `vivid` from the outside: its controls, its inputs, its output device."""

import contextlib
import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
import videodev2 as v4l2

from hardware.cameras.v4l2_device import LinuxKernel

WEBCAM, HDMI = 0, 1  # the inputs, as run.py makes them
SIZE = (640, 480)
OUTPUT = v4l2.V4L2_BUF_TYPE_VIDEO_OUTPUT


def device(kind):
    """The path of its capture or output device: vid-cap, vid-out."""
    for name in Path("/sys/class/video4linux").glob("video*/name"):
        if name.read_text().strip().endswith(kind):
            return f"/dev/{name.parent.name}"
    raise LookupError(kind)


class Vivid:
    """Somebody at the controls. Each use opens and closes the device, as Disconnect demands."""

    def __init__(self):
        self.camera = device("vid-cap")
        self.screen = device("vid-out")
        self._kernel = LinuxKernel()
        with self._opened(self.camera) as fd:
            self._numbers = dict(self._controls(fd))

    def set(self, name, value=1):
        """Set a control or press a button, by its name."""
        with self._opened(self.camera) as fd:
            self._ask(
                fd, v4l2.VIDIOC_S_CTRL, v4l2.v4l2_control(id=self._numbers[name], value=value)
            )

    def get(self, name):
        told = v4l2.v4l2_control(id=self._numbers[name])
        with self._opened(self.camera) as fd:
            self._ask(fd, v4l2.VIDIOC_G_CTRL, told)
        return told.value

    def select(self, number):
        """Choose an input."""
        with self._opened(self.camera) as fd:
            self._ask(fd, v4l2.VIDIOC_S_INPUT, ctypes.c_int(number))

    def connect(self):
        """Put a cable from the HDMI output into the HDMI input, 640x480 at 59.94 Hz."""
        if "Loop Video" in self._numbers:
            self.set("Loop Video")
        else:  # since Linux 6.12
            self.set("HDMI 000-0 Is Connected To", 2)
        self.set("OSD Text Mode", 2)  # none
        for path in (self.camera, self.screen):
            told = v4l2.v4l2_dv_timings(type=v4l2.V4L2_DV_BT_656_1120)
            bt = told.u.bt
            # CEA-861 and VESA agree about this one.
            bt.width, bt.height, bt.pixelclock = *SIZE, 25_175_000
            bt.hfrontporch, bt.hsync, bt.hbackporch = 16, 96, 48
            bt.vfrontporch, bt.vsync, bt.vbackporch = 10, 2, 33
            with self._opened(path) as fd:
                self._ask(fd, v4l2.VIDIOC_S_DV_TIMINGS, told)

    @contextlib.contextmanager
    def screen_in(self, fourcc):
        """The output device, showing frames of this format; the last one shown stays."""
        told = v4l2.v4l2_format(type=OUTPUT)
        pix = told.fmt.pix
        (pix.width, pix.height), pix.field = SIZE, v4l2.V4L2_FIELD_NONE
        pix.pixelformat = int.from_bytes(fourcc.encode(), "little")
        with self._opened(self.screen) as fd, contextlib.ExitStack() as mapped:
            self._ask(fd, v4l2.VIDIOC_S_FMT, told)
            wanted = v4l2.v4l2_requestbuffers(count=3, type=OUTPUT, memory=v4l2.V4L2_MEMORY_MMAP)
            self._ask(fd, v4l2.VIDIOC_REQBUFS, wanted)
            free = [_output_buffer(index) for index in range(wanted.count)]
            memory = {}
            for buffer in free:
                self._ask(fd, v4l2.VIDIOC_QUERYBUF, buffer)
                mapping = mmap.mmap(fd, buffer.length, offset=buffer.m.offset)
                memory[buffer.index] = mapped.enter_context(contextlib.closing(mapping))
            self._ask(fd, v4l2.VIDIOC_STREAMON, ctypes.c_int(OUTPUT))
            os.set_blocking(fd, True)

            def show(luma):
                if not free:
                    free.append(_output_buffer(0))
                    self._ask(fd, v4l2.VIDIOC_DQBUF, free[0])
                buffer = free.pop()
                content = encode(fourcc, luma, pix.bytesperline, pix.sizeimage)
                memory[buffer.index][: len(content)] = content
                buffer.bytesused = len(content)
                self._ask(fd, v4l2.VIDIOC_QBUF, buffer)

            yield show

    @contextlib.contextmanager
    def _opened(self, path):
        fd = self._kernel.open(path)
        try:
            yield fd
        finally:
            self._kernel.close(fd)

    def _ask(self, fd, request, argument):
        self._kernel.ioctl(fd, request, argument)

    def _controls(self, fd):
        told = v4l2.v4l2_queryctrl(id=0)
        while True:
            told.id |= v4l2.V4L2_CTRL_FLAG_NEXT_CTRL
            try:
                self._ask(fd, v4l2.VIDIOC_QUERYCTRL, told)
            except OSError:
                return
            yield bytes(told.name).partition(b"\0")[0].decode(), told.id


def _output_buffer(index):
    return v4l2.v4l2_buffer(index=index, type=OUTPUT, memory=v4l2.V4L2_MEMORY_MMAP)


def encode(fourcc, luma, stride, size):
    """A frame of this format with gray chroma."""
    height, width = luma.shape
    rows = np.full(size, 128, np.uint8)
    plane = rows[: stride * height].reshape(height, stride)
    match fourcc:
        case "YUYV":
            plane[:, : 2 * width : 2] = luma
        case "UYVY":
            plane[:, 1 : 2 * width : 2] = luma
        case _:
            plane[:, :width] = luma
    return rows.tobytes()
