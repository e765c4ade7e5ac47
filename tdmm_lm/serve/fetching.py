"""A URL out of a request -> a file, without becoming anybody's way into this network.

Only hosts that the settings name, over http(s) at the usual port. A host is resolved once, every address it has must be
a public one, and the connection goes to those very addresses: a name server that answers differently the next time
changes nothing. No redirects, no proxies, no compression, no cookies; size and time are capped while bytes arrive.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tdmm_lm import files
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.settings import Settings

LONGEST = 2048  # characters of a URL
BLOCK = 64 * 1024
HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
WRAPPED = [ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def public(address: Address) -> bool:
    """Whether an address lies in the open internet: no private, loopback, link-local (with clouds' metadata), shared,
    multicast or reserved one, and none that wraps an IPv4 address in IPv6."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None or any(address in net for net in WRAPPED)
    ):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


async def fetch(
    url: str, target: Path, settings: Settings, *, param: str | None = None,
    resolver: AbstractResolver | None = None, allowed: Callable[[Address], bool] = public,
    ports: tuple[int, ...] = (80, 443),
) -> None:
    """Write what a URL holds to ``target``, whole or not at all; ``param`` is the request's field for errors.

    ``resolver``, ``allowed`` and ``ports`` are there for tests on one machine.

    Raises:
        ApiError: 400 url_not_allowed, url_not_reached or url_redirects, 413 file_too_large; one line, which names the
            host at most.
    """
    parsed = checked(url, settings.allowed_hosts, param=param, ports=ports)
    limits = settings.limits
    most, seconds = limits.file_mb << 20, limits.fetch_seconds
    try:
        async with asyncio.timeout(seconds):
            pinned = await _resolved(parsed, resolver, allowed, param)
            connector = aiohttp.TCPConnector(resolver=pinned, use_dns_cache=False, force_close=True, limit=1)
            async with (
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
                    headers={"Accept-Encoding": "identity", "User-Agent": "tdmm_lm"}, max_line_size=4096,
                    max_field_size=4096, timeout=aiohttp.ClientTimeout(total=seconds),
                ) as session,
                session.get(parsed, allow_redirects=False) as answer,
            ):
                await _saved(answer, target, most, param)
    except TimeoutError:
        line = f"url: expected {parsed.host} to send the file within {seconds:g} s, took longer."
        raise ApiError(400, line, param=param, code="url_not_reached") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        what = type(error).__name__
        line = f"url: expected a file from {parsed.host}, could not get it ({what})."
        raise ApiError(400, line, param=param, code="url_not_reached") from None


def checked(url: str, hosts: tuple[str, ...], *, param: str | None = None, ports: tuple[int, ...] = (80, 443)) -> URL:
    """The URL, parsed once for all, if its host is one of ``hosts``: exact names, or ``.example.org`` for those below.

    Only plain ASCII names get this far: no user before the host, no backslash, blank or other letter that parsers
    disagree about, no number in whatever notation that some resolvers take for an address.

    Raises:
        ApiError: 400 url_not_allowed.
    """
    def refused(why: str) -> ApiError:
        return ApiError(400, f"url: {why}", param=param, code="url_not_allowed")

    if len(url) > LONGEST or not url.isascii() or not url.isprintable() or any(sign in url for sign in ' \\"<>^`{|}@'):
        raise refused(f"expected a plain URL of at most {LONGEST} ASCII letters, without user or backslash.")
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        raise refused("expected an http(s):// or a data URL, got another kind.")
    try:
        parsed = URL(url, encoded=True)
        host, port = parsed.raw_host or "", parsed.port
    except ValueError:
        raise refused("expected an http(s) URL, got something that is none.") from None
    written = re.split(r"[/?#]", rest, maxsplit=1)[0].lower()
    name = written.partition(":")[0]
    if not HOST.fullmatch(name) or host.lower() != name or parsed.user is not None or parsed.password is not None:
        raise refused("expected the name of a host, got an address or something else.")
    if written not in (name, f"{name}:{port}") or port not in ports:
        raise refused(f"expected the port {' or '.join(map(str, ports))}.")
    if not any(name.endswith(one.lower()) if one.startswith(".") else name == one.lower() for one in hosts):
        known = f"one of {', '.join(hosts)}" if hosts else "a data URL (this server fetches nothing)"
        raise refused(f"expected {known}, got host {name[:60]}.")
    return parsed


class _Pinned(AbstractResolver):
    """Gives the addresses that were checked, for the host they were checked for, and no others."""

    def __init__(self, host: str, found: list[ResolveResult]) -> None:
        self._host, self._found = host, found

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != self._host:
            raise OSError(f"unexpected host {host}")
        return self._found

    async def close(self) -> None:
        """Nothing is open."""


async def _resolved(
    parsed: URL, resolver: AbstractResolver | None, allowed: Callable[[Address], bool], param: str | None
) -> _Pinned:
    """All addresses of the host; one that is not allowed condemns them all."""
    host = parsed.raw_host or ""
    own = aiohttp.ThreadedResolver() if resolver is None else resolver
    found = await own.resolve(host, parsed.port or 0, socket.AF_UNSPEC)
    kept: list[Any] = []
    for one in found:
        address = ipaddress.ip_address(one["host"])  # ValueError for one with a zone, which is link-local
        if not allowed(address):
            line = f"url: expected {host} in the open internet, got an address inside."
            raise ApiError(400, line, param=param, code="url_not_allowed")
        kept.append({**one, "hostname": host, "host": str(address), "flags": socket.AI_NUMERICHOST})
    if not kept:
        raise OSError("no address")
    return _Pinned(host, kept)


async def _saved(answer: aiohttp.ClientResponse, target: Path, most: int, param: str | None) -> None:
    host = answer.url.host
    if 300 <= answer.status < 400:
        raise ApiError(
            400, f"url: expected a file from {host}, got a redirect; give the final address.", param=param,
            code="url_redirects",
        )
    if answer.status != 200:
        line = f"url: expected a file from {host}, got status {answer.status}."
        raise ApiError(400, line, param=param, code="url_not_reached")
    if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        line = f"url: expected {host} to send the file as it is, got it compressed."
        raise ApiError(400, line, param=param, code="url_not_reached")
    large = ApiError(413, f"url: expected at most {most >> 20} MB.", param=param, code="file_too_large")
    if answer.content_length is not None and answer.content_length > most:
        raise large
    size = 0
    with files.replacing(target) as beside:
        with beside.open("wb") as file:
            async for block in answer.content.iter_chunked(BLOCK):
                size += len(block)
                if size > most:
                    raise large
                file.write(block)
        if not size:
            raise ApiError(400, f"url: expected a file from {host}, got no bytes.", param=param, code="empty_file")
