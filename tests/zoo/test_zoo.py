import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import open_clip
import pytest
import yaml

from segplugins.zoo import entries, entry_of, fetch
from segplugins.zoo.entries import Entry, read_entries
from segplugins.zoo.fetch import cache_folder

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 64


class Handler(BaseHTTPRequestHandler):
    """Gives out CONTENT; /broken ends after half of it, /page is a web page."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        if self.path == "/missing":
            self.send_error(404)
            return
        content = b"<!DOCTYPE html><p>too large to scan" if self.path == "/page" else CONTENT
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if self.path == "/no-range":
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        half = self.path == "/broken" and not start
        self.wfile.write(content[start : len(content) // 2 if half else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def entry(server, tmp_path, monkeypatch):
    """Makes entries of the server; the cache is a folder of the test."""
    monkeypatch.setenv("SEGPLUGINS_CACHE", str(tmp_path / "cache"))
    base = {"config": "a.yaml", "page": "the page", "file": "w.pth", "licence": "none"}

    def make(path="/file", **keys):
        address = f"http://127.0.0.1:{server.server_address[1]}{path}"
        return Entry(name="toy", **{**base, "address": address, **keys})

    return make


def test_a_file_is_fetched_once_and_checked(entry, server):
    toy = entry(size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    path = fetch(toy)
    assert path == cache_folder() / "toy" / "w.pth" and path.read_bytes() == CONTENT
    assert fetch(toy) == path and len(server.asked) == 1
    assert [file.name for file in path.parent.iterdir()] == ["w.pth"]


def test_an_interrupted_download_goes_on_where_it_stopped(entry, server):
    assert fetch(entry("/broken")).read_bytes() == CONTENT
    assert server.asked == [("/broken", None), ("/broken", f"bytes={len(CONTENT) // 2}-")]


@pytest.mark.parametrize("path", ["/file", "/no-range"])
def test_what_an_earlier_process_fetched_is_used_if_the_server_can(entry, path):
    partial = cache_folder() / "toy" / "w.pth.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:100])
    assert fetch(entry(path)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "path, keys, message",
    [
        ("/file", {"size": 7}, "16384 bytes, expected 7. Nothing of it is kept"),
        ("/file", {"sha256": "0" * 64}, "SHA-256 .*, expected 0000"),
        ("/page", {}, "a web page. Nothing of it is kept; fetch it by hand from the page"),
    ],
)
def test_another_file_than_the_published_is_refused(entry, path, keys, message):
    with pytest.raises(ValueError, match=message):
        fetch(entry(path, **keys))
    assert list((cache_folder() / "toy").iterdir()) == []


def test_what_cannot_be_fetched_is_told_with_what_to_put_where(entry):
    where = r"w.pth from the page and put it at '.*cache/toy/w.pth' \(\$SEGPLUGINS_CACHE"
    for toy, reason in (
        (entry("/missing"), "404"),
        (entry(address="http://127.0.0.1:1/none"), "refused"),
        (entry(address=None), "a page, not an address"),
    ):
        with pytest.raises(OSError, match=f"{reason}.*{where}"):
            fetch(toy)
    by_hand = cache_folder() / "toy" / "w.pth"
    by_hand.parent.mkdir(parents=True, exist_ok=True)
    by_hand.write_bytes(b"weights")
    assert fetch(entry(address=None)) == by_hand


def test_every_entry_names_a_config_and_a_converter_that_are_here():
    assert {"sed_convnext_b", "sed_convnext_l", "unilseg_20"} <= set(entries())
    for name, each in entries().items():
        assert (ROOT / each.config).is_file(), name
        if each.converter:
            assert (ROOT / "projects" / each.converter / "weights.py").is_file(), name
        assert each.page.startswith("https://") and each.licence
    with pytest.raises(ValueError, match="has no 'sed_convnxt_b'; the nearest is 'sed_convnext_b'"):
        entry_of("sed_convnxt_b")


def test_the_table_of_the_docs_is_that_of_the_file():
    page = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
    for name, each in entries().items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` ")]
        assert each.config in row and each.page in row and each.licence in row
        for metric, value in each.expected.items():
            assert f"{metric} {value}" in row


def test_the_clips_of_the_docs_are_tags_of_open_clip_that_the_configs_name():
    page = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(configs/[^`]+)` \|$", page, re.MULTILINE)
    assert len(rows) == 2
    for name, tag, config in rows:
        assert open_clip.get_pretrained_cfg(name, tag), (name, tag)
        node = yaml.safe_load((ROOT / config).read_text())["MODEL"]["CLIP"]
        assert (node["NAME"], node["WEIGHTS"]) == (name, tag)


def test_an_entry_with_an_unknown_key_is_refused(tmp_path):
    file = tmp_path / "zoo.yaml"
    file.write_text("a: {config: c, page: p, file: f, licence: l, sha: x}")
    with pytest.raises(ValueError, match="'a': keys .*'sha'.* required are"):
        read_entries(file)
