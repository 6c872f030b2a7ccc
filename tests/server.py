"""A real HTTP server on this machine that misbehaves as it is told."""

import contextlib
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """How one request is answered; the last answer of a list goes on for ever."""

    status: int = 200
    stop_after: int | None = None  # bytes of this response, then the connection is cut
    ranges: bool = False  # whether "Range: bytes=…-" is understood
    length: bool = True  # whether the length is told
    silence: float = 0.0  # seconds before the body
    content: bytes | None = None  # something else than the file
    pause: float = 0.0  # seconds between pieces of 64 KiB


@contextlib.contextmanager
def serving(files: dict[str, bytes], *answers: Answer):
    """A server of `files`; it has an `address` and keeps each request's Range in `asked`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.files, server.answers, server.asked = files, list(answers or [Answer()]), []
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        content = server.files[self.path] if answer.content is None else answer.content
        start = 0
        if answer.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = content[start:]
        self.send_response(206 if start else answer.status)
        if answer.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        time.sleep(answer.silence)
        # A client that was killed or gave up is the point of some tests.
        with contextlib.suppress(ConnectionError):
            for piece in range(0, len(body[: answer.stop_after]), 1 << 16):
                self.wfile.write(body[: answer.stop_after][piece : piece + (1 << 16)])
                time.sleep(answer.pause)

    def log_message(self, *arguments):
        pass
