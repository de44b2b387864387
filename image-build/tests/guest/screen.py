"""In the guest: the phone's screen. Shows the frame whose path comes on stdin; it stays.

The frames go into vivid's output device, which is looped into its capture device: the kiosk's
camera. Runs with the kiosk's own Python packages.
"""

import sys

import cv2
import videodev2 as v4l2
from vivid import Vivid

from hardware.cameras.v4l2_device import LinuxKernel

CABLE, IN_OUTPUT = "HDMI 000-0 Is Connected To", 2
OVERLAY, NONE = "OSD Text Mode", 2


def fourcc_of(camera):
    """The format that the kiosk chose; the driver loops only frames that it need not convert."""
    kernel, told = LinuxKernel(), v4l2.v4l2_format(type=v4l2.V4L2_BUF_TYPE_VIDEO_CAPTURE)
    fd = kernel.open(camera)
    try:
        kernel.ioctl(fd, v4l2.VIDIOC_G_FMT, told)
    finally:
        kernel.close(fd)
    return int(told.fmt.pix.pixelformat).to_bytes(4, "little").decode()


def main():
    driver = Vivid()
    driver.set(CABLE, IN_OUTPUT)
    driver.set(OVERLAY, NONE)
    with driver.screen_in(fourcc_of(driver.camera)) as show:
        for line in sys.stdin:
            luma = cv2.imread(line.strip(), cv2.IMREAD_GRAYSCALE)
            show(luma)
            print("shown", flush=True)


if __name__ == "__main__":
    main()
