"""Links that open without a key: signed for one path, one owner and a time, so that they work in any browser."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import urlencode


def signature(secret: bytes, path: str, owner: str, expires: int) -> str:
    """Of a link, in hex."""
    return hmac.new(secret, f"{path}\n{owner}\n{expires}".encode(), hashlib.sha256).hexdigest()


def signed(secret: bytes, path: str, owner: str, seconds: float) -> str:
    """The path with what a browser needs to be let in for so long."""
    expires = int(time.time() + seconds)
    query = {"owner": owner, "expires": expires, "signature": signature(secret, path, owner, expires)}
    return f"{path}?{urlencode(query)}"


def owner_of(secret: bytes, path: str, query: Mapping[str, str]) -> str | None:
    """Whose link this is, or None where it is none, out of date or changed."""
    owner, expires, given = query.get("owner", ""), query.get("expires", ""), query.get("signature", "")
    if not (owner and given and expires.isdecimal() and len(expires) < 12) or int(expires) < time.time():
        return None
    right = signature(secret, path, owner, int(expires))
    return owner if hmac.compare_digest(given.encode(), right.encode()) else None
