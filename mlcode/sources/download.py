"""Fetch a small file over a network that may fail.

The standard library does it: `torch.hub.download_url_to_file` has neither retry nor timeout, and
pooch would be one more dependency for two files. The file stays in memory until it is whole and its
checksum fits, so that there is never a half of it for anybody to find.
"""

import hashlib
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

CHUNK = 1 << 16  # bytes
TIMEOUT = 30.0  # seconds without a single byte
PAUSES = (1.0, 2.0, 4.0)  # seconds before each further attempt
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may change when asked again


class DownloadError(ConnectionError):
    """The file could not be had from the network."""


def download(url: str, *, md5: str) -> bytes:
    """The content of `url`, once it is whole, tried four times.

    A further attempt goes on where the last one stopped if the server can do so, and begins again
    otherwise. What arrives whole but wrong is thrown away and fetched again.

    Args:
        url: An address of http or https.
        md5: The content's MD5, as its publisher or torchvision states it, in hexadecimal. It tells
            a damaged file from a whole one; it is no protection from a forger.

    Raises:
        DownloadError: If no attempt gave the right content, with the reason of the last one.
    """
    received = bytearray()
    reason = ""
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        try:
            _fetch(url, received)
        except HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            received.clear()  # 416: there is nothing behind what we hold
            if error.code not in TRANSIENT | {416}:
                break
        except (OSError, HTTPException) as error:  # nothing is written here: it is the network
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        else:
            found = hashlib.md5(received, usedforsecurity=False).hexdigest()
            if found == md5:
                return bytes(received)
            reason = f"expected a file with MD5 {md5}, got {len(received)} bytes with {found}"
            received.clear()
    raise DownloadError(f"{url} could not be downloaded: {reason}.")


def _fetch(url: str, received: bytearray) -> None:
    """Add to `received`, in place, what is still missing; raise if the server stops half-way."""
    headers = {"Range": f"bytes={len(received)}-"} if received else {}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
        if response.status != 206:  # the server sends all of it, from the beginning
            received.clear()
        length = response.headers.get("Content-Length")
        total = len(received) + int(length) if length else None
        for chunk in _shown(response, url, len(received), total):
            received += chunk
    if total is not None and len(received) < total:
        raise ConnectionError(f"the server stopped after {len(received)} of {total} bytes")


def _shown(response: HTTPResponse, url: str, start: int, total: int | None) -> Iterator[bytes]:
    """The chunks of a response, behind a progress bar where somebody can watch it."""
    name = url.rsplit("/", 1)[-1]
    bar = tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None)
    with bar:
        while chunk := response.read(CHUNK):
            bar.update(len(chunk))
            yield chunk
