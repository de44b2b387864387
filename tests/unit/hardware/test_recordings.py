"""Files of every kind, sound or not, give uint8 luma or an error that names them."""

import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest

from hardware.recordings import (
    MAX_PIXELS,
    UnreadableError,
    is_recording,
    list_recordings,
    load_luma,
    to_luma,
    video_lumas,
)

LUMA = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64).astype(np.uint8)


def saved(path, pixels):
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        assert cv2.imwrite(str(path), pixels)
    return path


def test_a_gray_picture_is_its_luma(tmp_path):
    assert (load_luma(saved(tmp_path / "a.png", LUMA)) == LUMA).all()
    assert (load_luma(saved(tmp_path / "a.npy", LUMA)) == LUMA).all()


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("colour.png", np.full((48, 64, 3), 90, np.uint8)),
        ("alpha.png", np.full((48, 64, 4), 90, np.uint8)),
        ("deep.png", np.full((48, 64), 90 << 8, np.uint16)),
        ("deep-colour.png", np.full((48, 64, 3), 90 << 8, np.uint16)),
        ("colour.npy", np.full((48, 64, 3), 90, np.uint8)),
        ("alpha.npy", np.full((48, 64, 4), 90, np.uint8)),
        ("one-channel.npy", np.full((48, 64, 1), 90, np.uint8)),
        ("deep.npy", np.full((48, 64), 90 << 8, np.uint16)),
        ("photo.jpg", np.full((48, 64, 3), 90, np.uint8)),
    ],
)
def test_other_depths_and_channels_become_luma(tmp_path, name, pixels):
    luma = load_luma(saved(tmp_path / name, pixels))
    assert luma.dtype == np.uint8
    assert luma.shape == (48, 64)
    assert abs(int(luma[20, 20]) - 90) <= 1


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("empty.npy", np.zeros((0, 0), np.uint8)),
        ("flat.npy", np.zeros((480, 0), np.uint8)),
        ("float.npy", np.zeros((48, 64))),
        ("long.npy", np.zeros(640, np.uint8)),
        ("two-channels.npy", np.zeros((48, 64, 2), np.uint8)),
        ("four-dimensions.npy", np.zeros((2, 2, 2, 2), np.uint8)),
        ("objects.npy", np.array([{"a": 1}], dtype=object)),
    ],
)
def test_what_is_no_frame_is_refused_by_name(tmp_path, name, pixels):
    np.save(tmp_path / name, pixels, allow_pickle=True)
    with pytest.raises(UnreadableError, match=name):
        load_luma(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".npy"])
def test_damaged_files_are_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="bad"):
        load_luma(path)


def test_a_truncated_picture_is_refused_or_read_never_a_crash(tmp_path):
    path = saved(tmp_path / "cut.png", LUMA)
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with contextlib.suppress(UnreadableError):
            assert load_luma(path).shape == (48, 64)


def test_a_header_that_claims_more_than_there_is_costs_no_memory(tmp_path):
    path = tmp_path / "huge.npy"
    np.save(path, LUMA)
    path.write_bytes(path.read_bytes().replace(b"(48, 64)", b"(9999999, 64)", 1))
    with pytest.raises(UnreadableError, match="huge"):
        load_luma(path)


def test_too_many_pixels_are_refused():
    side = int(MAX_PIXELS**0.5) + 1
    wide = np.broadcast_to(np.uint8(0), (side, side))
    with pytest.raises(UnreadableError, match="too large"):
        to_luma(wide, "wide")


def test_a_huge_picture_is_refused(tmp_path):
    # A well-formed header of 60000 x 60000 pixels, and next to nothing behind it.
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableError, match="bomb"):
        load_luma(path)


def test_a_missing_file_is_missing(tmp_path):
    for name in ("a.png", "a.npy"):
        with pytest.raises(FileNotFoundError):
            load_luma(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        list_recordings(tmp_path / "none")


def test_a_folder_where_a_picture_was_named_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UnreadableError):
        load_luma(tmp_path / "folder.png")


def test_a_folder_is_listed_recursively_in_order_of_name(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a.npy", "c.mp4", "a.txt", ".hidden.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [str(file.relative_to(tmp_path)) for file in list_recordings(tmp_path)]
    assert names == ["a.npy", "b/1.JPG", "b/2.png", "c.mp4"]


def test_a_file_being_written_is_not_a_recording(tmp_path):
    assert not is_recording(tmp_path / "frame.png.tmp")
    assert is_recording(tmp_path / "frame.png")


def test_a_video_gives_each_frame_in_order(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    assert writer.isOpened()
    for level in (20, 120, 220):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()

    levels = [int(luma.mean()) for luma in video_lumas(path)]

    assert len(levels) == 3
    assert levels == sorted(levels)


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_a_damaged_video_is_refused(tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="bad"):
        list(video_lumas(path))
