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
from codemae_geo.raster.source import reads_network


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """Serves ``tmp_path`` with byte ranges; ``server.asked`` lists the paths and byte counts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = tmp_path / self.path.lstrip("/")
            if httpd.failing:  # type: ignore[attr-defined]
                self.send_error(503)
                return
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
    httpd.failing = False  # type: ignore[attr-defined]
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


def test_a_server_that_fails_in_the_middle_is_an_error_and_no_zeros(
    make_raster: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    data = np.random.default_rng(0).integers(1, 255, (3, 512, 512), dtype="u1")
    path = make_raster("fails.tif", data, tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    scene = Scene.open(f"http://127.0.0.1:{server.server_port}/{path.name}")
    server.failing = True
    with AlignedReader(scene, scene.geobox, threads=2) as reader, pytest.raises(InputError, match=r"fails\.tif"):
        reader.read_rows(0, 512)


def test_a_local_mosaic_of_remote_files_reads_the_network(tmp_path: Path) -> None:
    for name, source, expected in (("a.vrt", "/vsicurl/http://x/a.tif", True), ("b.vrt", "b.tif", False)):
        (tmp_path / name).write_text(f"<VRTDataset><SourceFilename>{source}</SourceFilename></VRTDataset>")
        assert reads_network(str(tmp_path / name)) is expected
    assert reads_network("s3://bucket/a.tif")
