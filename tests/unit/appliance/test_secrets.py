"""Where a secret stands in a file, and what is left of the file without it."""

import codecs
from itertools import pairwise

import pytest
from appliance.secrets import (
    SpreadError,
    are_taken,
    is_between,
    is_from,
    is_taken,
    secrets_of,
    spans_of,
    without,
)
from hypothesis import given
from hypothesis import strategies as st

from kiosk.settings_file import load_settings

PASSWORD, HEADER = "device.wifi_password", "gateway.headers.X-Api-Key"
KEYS = {PASSWORD, HEADER}
FILE = """\
gateway:
  url: http://box:8080   # the box
  headers: {{"X-Api-Key": {header}, X-B: "b"}}
offer: {{amount_sum: 15000}}
device:
  wifi_ssid: Do'kon ў
  wifi_password:   {password}   # written by Dilnoza
  host_name: kiosk-3
"""


def as_quoted(text):
    return '"' + "".join({"\\": "\\\\", '"': '\\"'}.get(sign, sign) for sign in text) + '"'


def as_single(text):
    return "'" + text.replace("'", "''") + "'"


def as_escapes(text):
    return '"' + "".join(f"\\u{ord(sign):04x}" for sign in text) + '"'


texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=8, max_size=63)
words = texts.map(str.strip).filter(bool)


@given(
    words,
    texts,
    st.sampled_from([as_quoted, as_single, as_escapes]),
    st.sampled_from([as_quoted, as_single, as_escapes]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_only_the_secrets_change_and_the_size_does_not(
    tmp_path_factory, header, password, write_header, write_password, ends, with_mark
):
    text = FILE.format(header=write_header(header), password=write_password(password))
    data = (codecs.BOM_UTF8 if with_mark else b"") + text.replace("\n", ends).encode()
    path = tmp_path_factory.getbasetemp() / "kiosk.yaml"
    path.write_bytes(data)
    before = load_settings([path])

    spans = spans_of(data, KEYS)
    left = without(data, spans)

    assert {span.key: span.value for span in spans} == {HEADER: header, PASSWORD: password}
    assert len(left) == len(data)
    assert left.count(b"\n") == data.count(b"\n")
    path.write_bytes(left)
    after = load_settings([path])
    assert after.origins == before.origins
    found = secrets_of(after.settings)
    assert found[HEADER] == "x" * len(header)
    assert found[PASSWORD] == "x" * len(password)
    assert is_between(left, data, left)
    # Nothing outside the secrets changed: with them put back, all is as before.
    outside = [slice(a.end, b.start) for a, b in pairwise(spans)]
    for part in (slice(0, spans[0].start), *outside, slice(spans[-1].end, None)):
        assert left[part] == data[part]


def test_a_plain_word_gives_way_to_as_many_x():
    data = FILE.format(header="abc", password="tall trees by the sea").encode()

    left = without(data, spans_of(data, KEYS)).decode()

    assert '"X-Api-Key": xxx, X-B: "b"' in left
    assert f"wifi_password:   {'x' * 21}   # written by Dilnoza\n" in left
    assert left.count("x" * 21) == 1


@pytest.mark.parametrize(
    "value", ['"one\n    two three"', "|-\n    one two", ">-\n    one\n    two"]
)
def test_a_secret_over_several_lines_is_refused(value):
    data = FILE.format(header="abc", password=value).encode()

    with pytest.raises(
        SpreadError, match=r"device\.wifi_password runs over several lines"
    ) as error:
        spans_of(data, KEYS)

    assert error.value.line == 7


def test_what_a_cut_in_the_middle_leaves_is_recognised():
    whole, taken = b"psk: secret\n", b"psk: xxxxxx\n"

    assert all(
        is_between(found, whole, taken)
        for found in (whole, taken, b"psk: secrxx\n", b"psk: xxcret\n", b"psk: xexrxt\n")
    )
    assert not is_between(b"psk: Secret\n", whole, taken)
    assert not is_between(b"psk: secret\n\n", whole, taken)
    assert is_from(b"xxcret", b"secret")
    assert not is_from(b"yxcret", b"secret")


def test_only_x_means_taken():
    assert is_taken("x")
    assert not is_taken("")
    assert not is_taken("xX")
    assert are_taken(b"xxx\r\n")
    assert not are_taken(b"\n")
