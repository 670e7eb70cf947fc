"""A store that speaks enough of S3 on the loopback to be listed and read, for one bucket of files in memory."""

from __future__ import annotations

import contextlib
import http.server
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

_LIST = (
    "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
    "<IsTruncated>false</IsTruncated>{}</ListBucketResult>"
)
_KEY = (
    "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{}</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


@contextlib.contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """The environment that leads an S3 client to these files (by key)."""

    class Store(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            return

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            url = urllib.parse.urlparse(self.path)
            asked = urllib.parse.parse_qs(url.query, keep_blank_values=True)
            key = urllib.parse.unquote(url.path.lstrip("/").partition("/")[2])
            if "list-type" in asked:
                self._send(200, _listing(files, asked["prefix"][0], asked.get("delimiter", [""])[0]).encode())
            elif key not in files:
                self._send(404 if key else 200, b"")
            else:
                self._send(200, files[key], self.headers.get("Range"))

        def _send(self, status: int, content: bytes, wanted: str | None = None) -> None:
            headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"1"'}
            if wanted:
                first, last = wanted.removeprefix("bytes=").split("-")
                end = min(int(last or len(content)), len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
                status, content = 206, content[int(first) : end + 1]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listing(files: Mapping[str, bytes], prefix: str, delimiter: str) -> str:
    keys, folders = [], set()
    for key in sorted(files):
        if not key.startswith(prefix):
            continue
        folder, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if found:
            folders.add(f"{prefix}{folder}{delimiter}")
        else:
            keys.append(_KEY.format(key, len(files[key])))
    prefixes = [f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in sorted(folders)]
    return _LIST.format("".join(keys + prefixes))
