"""URLs of clients: hosts that are named, addresses that are public, and a server at the other end that means harm."""

import asyncio
import gzip
import ipaddress
import socket
import time

import pytest
from aiohttp.abc import AbstractResolver

from tdmm_lm.serve import fetching
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.settings import Limits, Settings

HOST = "media.example.org"
SETTINGS = Settings(allowed_hosts=(HOST, ".cdn.example.org"), limits=Limits(file_mb=1, fetch_seconds=1.0))


class Names(AbstractResolver):
    """Answers with the next of its lists of addresses at every question."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {"hostname": host, "host": one, "port": port, "family": socket.AF_INET6 if ":" in one else socket.AF_INET,
             "proto": 0, "flags": 0}
            for one in found
        ]

    async def close(self):
        pass


def fetch(answer, target, *, names=None, allowed=lambda address: True, path="/a.npz", settings=SETTINGS):
    """What is fetched from a server on this machine that sends ``answer``: bytes, or a function of its writer."""
    heard = []

    async def serve(reader, writer):
        try:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await fetching.fetch(
                f"http://{HOST}:{port}{path}", target, settings, param="p", allowed=allowed, ports=(port,),
                resolver=Names(["127.0.0.1"]) if names is None else names,
            )

    try:
        asyncio.run(run())
    finally:
        assert [path.name for path in target.parent.iterdir()] in ([], [target.name])
    return heard


def refused(answer, target, **kwargs):
    with pytest.raises(ApiError) as caught:
        fetch(answer, target, **kwargs)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    assert caught.value.param == "p"
    return caught.value


def reply(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]).encode() + body


def test_a_file_arrives_whole_and_the_request_says_little(tmp_path):
    (request,) = fetch(reply(b"motion"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"motion"
    assert request.startswith(b"GET /a.npz HTTP/1.1\r\nHost: media.example.org")
    assert b"Accept-Encoding: identity" in request
    assert b"ookie" not in request


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "ftp://media.example.org/a", "gopher://media.example.org/", "//media.example.org/a", "",
    "media.example.org/a", "http:/media.example.org/a", "http:///a", "http://", "http://127.0.0.1/a", "http://[::1]/a",
    "http://2130706433/a", "http://0x7f000001/a", "http://0177.0.0.1/a", "http://127.1/a", "http://0x7f.0.0.1/a",
    "http://[::ffff:127.0.0.1]/a", "http://169.254.169.254/latest/meta-data", "http://localhost/a",
    "http://media.example.org@127.0.0.1/a", "http://user:pass@media.example.org/a", "http://evil.org#@media.example.org/",
    "http://evil.org\\@media.example.org/a", "http://media.example.org\\.evil.org/a", "http://media.example.org%2eevil.org/",
    "http://media.example.org%00.evil.org/", "http://media.example.org.evil.org/a", "http://xmedia.example.org/a",
    "http://media.example.org./a", "http://evil.org/media.example.org", "http://evil.org?media.example.org",
    "http://cdn.example.org/a", "http://evilcdn.example.org/a", "http://a..cdn.example.org/a",
    "http://m\u0435dia.example.org/a", "http://media\u3002example.org/a", "http://\u2460.cdn.example.org/a",
    "http://xn--mdia-example.org/a", "http://media.example.org:22/a", "http://media.example.org:/a",
    "http://media.example.org:080/a", "http://media.example.org:80:80/a", "http://media.example.org:99999/a",
    "http://media.example.org:-1/a", "http:// media.example.org/a", "http://media.example.org/a\r\nHost: evil.org",
    "http://media.example.org/\ta", "http://media.example.org/" + "a" * 3000, "http://-.cdn.example.org/",
])
def test_urls_that_are_refused_before_anything_is_asked(url, tmp_path):
    names = Names(["93.184.215.14"])
    with pytest.raises(ApiError, match=r"^url: ") as caught:
        asyncio.run(fetching.fetch(url, tmp_path / "a", SETTINGS, param="p", resolver=names))
    assert (caught.value.status, caught.value.code) == (400, "url_not_allowed")
    assert not names.asked


@pytest.mark.parametrize(("url", "host"), [
    ("http://media.example.org/a", HOST), ("HTTPS://MEDIA.example.org:443/a?b=%2F", HOST),
    ("https://one.two.cdn.example.org/a", "one.two.cdn.example.org"),
])
def test_urls_that_pass(url, host):
    assert fetching.checked(url, SETTINGS.allowed_hosts).host == host


def test_no_hosts_named_means_nothing_is_fetched():
    with pytest.raises(ApiError, match="this server fetches nothing"):
        fetching.checked("http://media.example.org/a", ())


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1",
    "ff02::1", "::ffff:93.184.215.14", "::ffff:127.0.0.1", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
    "2002:7f00:1::", "2001:0:1::1", "2001:db8::1", "fd00:ec2::254",
])
def test_addresses_inside_are_refused(address, tmp_path):
    assert not fetching.public(ipaddress.ip_address(address))
    error = refused(reply(b"x"), tmp_path / "a", names=Names([address]), allowed=fetching.public)
    assert error.code == "url_not_allowed"
    assert "address inside" in str(error)
    assert address not in str(error)


def test_addresses_outside_are_public():
    assert fetching.public(ipaddress.ip_address("93.184.215.14"))
    assert fetching.public(ipaddress.ip_address("2606:2800:21f:cb07:6820:80da:af6b:8b2c"))


def test_one_bad_address_condemns_all(tmp_path):
    error = refused(reply(b"x"), tmp_path / "a", names=Names(["93.184.215.14", "10.0.0.1"]), allowed=fetching.public)
    assert error.code == "url_not_allowed"


def test_a_zone_is_no_address(tmp_path):
    assert refused(reply(b"x"), tmp_path / "a", names=Names(["fe80::1%lo"]), allowed=fetching.public).status == 400


def test_a_name_that_changes_its_address_is_asked_once(tmp_path):
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    seen = []
    fetch(reply(b"motion"), tmp_path / "a", names=names, allowed=lambda one: seen.append(str(one)) or True)
    assert names.asked == [HOST]
    assert seen == ["127.0.0.1"]


def test_redirects_are_not_followed(tmp_path):
    for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
        answer = reply(b"", "Location: http://169.254.169.254/latest", status=status)
        assert refused(answer, tmp_path / "a").code == "url_redirects"
    assert refused(reply(b"", "Refresh: 0; url=http://localhost/"), tmp_path / "a").code == "empty_file"


def test_an_endless_body_ends_at_the_limit(tmp_path):
    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(100_000))
            await writer.drain()

    assert refused(endless, tmp_path / "a").status == 413


def test_endless_chunks_and_headers_end(tmp_path):
    async def chunks(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"186A0\r\n" + bytes(100_000) + b"\r\n")
            await writer.drain()

    async def headers(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: " + b"a" * 100_000)
            await writer.drain()

    assert refused(chunks, tmp_path / "a").status == 413
    assert refused(headers, tmp_path / "a").code == "url_not_reached"


def test_a_slow_drip_is_cut_off(tmp_path):
    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def silent(writer):
        await asyncio.sleep(3)

    for server in (drip, silent):
        start = time.monotonic()
        error = refused(server, tmp_path / "a")
        assert time.monotonic() - start < 2.5
        assert "within 1 s" in str(error)


def test_lengths_that_lie(tmp_path):
    assert refused(reply(b"x", length=5 << 20), tmp_path / "a").status == 413
    assert refused(reply(b"x", length=100), tmp_path / "a").code == "url_not_reached"  # cut off
    assert refused(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx", tmp_path / "a").code == "url_not_reached"
    assert refused(reply(b"motion and more", length=6), tmp_path / "a").code == "url_not_reached"


def test_compressed_answers_are_not_unpacked(tmp_path):
    bomb = gzip.compress(bytes(50 << 20), 9)
    for name in ("gzip", "deflate", "br", "GZIP, gzip"):
        error = refused(reply(bomb, f"Content-Encoding: {name}"), tmp_path / "a")
        assert "compressed" in str(error)


def test_failures_name_the_host_alone(tmp_path):
    assert "status 404" in str(refused(reply(b"secret", status="404 Not Found"), tmp_path / "a"))
    assert refused(b"SSH-2.0-OpenSSH\r\n", tmp_path / "a").code == "url_not_reached"
    assert refused(b"", tmp_path / "a").code == "url_not_reached"
    error = refused(reply(b"x"), tmp_path / "a", names=Names([]))
    assert str(error) == "url: expected a file from media.example.org, could not get it (OSError)."
