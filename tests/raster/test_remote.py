"""Rasters over HTTP, served on this machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codemae_geo.errors import InputError
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """Serves ``tmp_path`` with byte ranges; ``server.asked`` lists the paths and byte counts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = tmp_path / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            body = path.read_bytes()
            span = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first, last = (int(span[1]), min(int(span[2] or len(body)), len(body) - 1)) if span else (0, len(body) - 1)
            self.send_response(206 if span else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            if self.command == "GET":
                httpd.asked.append((self.path, last + 1 - first))  # type: ignore[attr-defined]
                self.wfile.write(body[first : last + 1])

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_a_url_is_read_in_parts(make_raster: Any, server: Any, prefix: str) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 1024, 1024), dtype="u1")
    path = make_raster(f"a{len(prefix)}.tif", data, tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    scene = Scene.open(f"{prefix}http://127.0.0.1:{server.server_port}/{path.name}")
    size = path.stat().st_size
    assert sum(n for _, n in server.asked) < size / 10  # the header only
    with AlignedReader(scene, scene.geobox) as reader:
        np.testing.assert_array_equal(reader.read_rows(256, 300).data, data[:, 256:300])
        assert sum(n for _, n in server.asked) < size / 2
    assert {name for name, _ in server.asked} == {f"/{path.name}"}  # no listing, no probing of neighbours


def test_a_missing_url_is_named(server: Any) -> None:
    url = f"http://127.0.0.1:{server.server_port}/missing.tif"
    with pytest.raises(InputError) as error:
        Scene.open(url)
    assert url in str(error.value)
