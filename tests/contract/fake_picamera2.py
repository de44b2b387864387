"""What CsiCamera uses of picamera2, with its rules: counted requests, few buffers, jobs in order.

After picamera2 0.3.38: a request goes back to the camera when its count is zero and may not go
below; a job that waits for a frame holds up `stop`; cancelled jobs raise CancelledError.
"""

import mmap
import os
import time
from concurrent.futures import CancelledError, Future

import numpy as np

STRIDE_PADDING = 64


class Request:
    def __init__(self, camera, index, stamp_ns):
        self.camera, self.index, self.stamp_ns = camera, index, stamp_ns
        self.ref_count = 1
        self.stop_count = camera.stop_count

    def release(self):
        self.ref_count -= 1
        if self.ref_count < 0:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        if self.ref_count == 0 and self.stop_count == self.camera.stop_count:
            self.camera.free.append(self.index)

    def get_metadata(self):
        return {
            "ExposureTime": self.camera.exposure_us,
            "AnalogueGain": self.camera.gain,
            "SensorTimestamp": self.stamp_ns,
        }


class FakePicamera2:
    """The module: `Picamera2`, `MappedArray`; the rest is for tests."""

    def __init__(self):
        self.cameras = [{"Model": "imx708", "Num": 0}]
        self.busy = False
        self.delivers = True
        self.fails = None  # an exception that waiting for a frame raises
        self.level = 80
        self.controls = {
            "AeEnable": (False, True, True),
            "ExposureTime": (26, 112_015_553, 20_000),
            "AnalogueGain": (1.0, 16.0, 1.0),
            "AfMode": (0, 2, 0),
            "LensPosition": (0.0, 15.0, 1.0),
            "FrameDurationLimits": (33_333, 120_000, 33_333),
        }
        self.opened = []
        self.mapped = 0  # MappedArrays that were entered and not left
        module = self

        class Picamera2(_Camera):
            @staticmethod
            def global_camera_info():
                return module.cameras

            def __init__(self, number):
                super().__init__(module, number)

        class MappedArray:
            def __init__(self, request, stream, reshape=True, write=True):
                assert (stream, write) == ("main", False)
                self._request = request

            def __enter__(self):
                module.mapped += 1
                self.array = module.damaged(self._request.camera.pixels(self._request.index))
                return self

            def __exit__(self, *error):
                module.mapped -= 1
                del self.array

        self.Picamera2, self.MappedArray = Picamera2, MappedArray
        self.damaged = lambda pixels: pixels

    @property
    def camera(self):
        return self.opened[-1]


class _Camera:
    def __init__(self, module, number):
        if module.busy:
            inner = RuntimeError("Failed to acquire camera: Device or resource busy")
            raise RuntimeError("Camera __init__ sequence did not complete.") from inner
        self.module, self.number = module, number
        self.camera_controls = dict(module.controls)
        self.started = self.closed = False
        self.stop_count = 0
        self.frames = 0
        self.exposure_us, self.gain = 20_000, 2.5
        self.set = {}
        self.jobs = []
        self.free = []
        module.opened.append(self)

    def create_video_configuration(self, main, **more):
        return {"main": dict(main), **more}

    def configure(self, config):
        assert config["queue"] is False
        assert config["main"]["format"] == "YUV420"
        assert set(config["controls"]) <= set(self.camera_controls)
        width, height = config["main"]["size"]
        config["main"]["size"] = width, height = width - width % 2, height - height % 2
        config["main"]["stride"] = width + STRIDE_PADDING
        self.config = config
        self.set |= config["controls"]
        self.rows, self.stride = height * 3 // 2, width + STRIDE_PADDING
        self.room = -(-self.rows * self.stride // mmap.PAGESIZE) * mmap.PAGESIZE
        fd = os.memfd_create("fake-csi")
        os.ftruncate(fd, self.room * config["buffer_count"])
        self.memory = mmap.mmap(fd, 0)
        os.close(fd)

    def camera_configuration(self):
        return self.config

    def start(self):
        self.free = list(range(self.config["buffer_count"]))
        self.started = True

    def capture_request(self, wait):
        assert wait is False
        job = Future()
        self.jobs.append(job)
        return job

    def wait(self, job, timeout):
        if not job.done():
            if self.module.fails is not None:
                self.jobs.remove(job)
                raise self.module.fails
            time.sleep(min(timeout, 0.002))
            self.deliver()
        if not job.done():
            time.sleep(timeout)
        return job.result(timeout=0)

    def deliver(self, *, ago_s=0.0):
        """A frame comes: for the job that waits longest, else for nobody."""
        self.frames += 1
        if not (self.module.delivers and self.started and self.free and self.jobs):
            return
        index = self.free.pop(0)
        self.pixels(index)[:] = self.module.level
        stamp_ns = time.monotonic_ns() - round(ago_s * 1e9)
        self.jobs.pop(0).set_result(Request(self, index, stamp_ns))

    def pixels(self, index):
        flat = np.frombuffer(self.memory, np.uint8, self.rows * self.stride, index * self.room)
        return flat.reshape(self.rows, self.stride)

    def set_controls(self, controls):
        assert set(controls) <= set(self.camera_controls)
        self.set |= controls
        self.exposure_us = controls.get("ExposureTime", self.exposure_us)

    def cancel_all_and_flush(self):
        for job in self.jobs:
            job.set_exception(CancelledError())
        self.jobs = []

    def stop(self):
        assert not self.jobs, "a job that waits for a frame holds up stop for ever"
        if self.started:
            self.stop_count += 1
            self.started = False

    def close(self):
        self.stop()
        self.closed = True
