"""What `REDIS_URL` says: one server, several that share the hints, or the one that Sentinels name.

    redis://:password@host:6379/0
    redis://one:6379/0,redis://two:6379/0
    redis+sentinel://:password@one:26379,two:26379,three:26379/mymaster/0
    unix://:password@/run/redis.sock?db=0

The password is that of the master; `?sentinel_password=…` is what the Sentinels want, if they do.
"""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis import ConnectionPool
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from .environment import UnusableSetting

SENTINEL_SCHEME = "redis+sentinel://"
SENTINEL_PORT = 26379
# Seconds for one Sentinel: short, so that one that is away leaves time to ask the next.
SENTINEL_TIMEOUT_SECONDS = 0.5
# What begins with hosts and ports, and so not with a password that lacks its @.
_HOSTS = re.compile(r"([\w+]+://([\w.-]+(:\d+)?,?)+|[\w.-]+:\d+)(?![^/?,])")


def split(value: str) -> list[str]:
    """Return the URLs of a value, in which commas separate URLs and the Sentinels of one URL.

    Raises:
        UnusableSetting: one of them cannot be used; it is shown without its passwords.
    """
    urls = [url.strip() for url in re.split(r",(?=\s*[\w+]+://|\s*$)", value)]
    urls = [url for url in urls if url]
    for url in urls:
        try:
            if url.startswith(SENTINEL_SCHEME):
                _parts(url)
            else:
                _check(url)
        except ValueError as error:
            raise UnusableSetting(
                f"REDIS_URL holds {_masked(url)}, which cannot be used: {error}. Write "
                "redis://:password@host:6379/0, several of them separated by commas, "
                "unix:///path/to/redis.sock, or "
                "redis+sentinel://:password@host:26379,other-host:26379/name-of-the-master/0"
            ) from None
    return urls


def layer_host(url: str, **options: Any) -> dict[str, Any]:
    """Return a URL as channels_redis wants it, as one of its `hosts`, with redis-py's `options`."""
    if not url.startswith(SENTINEL_SCHEME):
        if url.startswith("unix://"):
            # There is no connection to keep alive, and redis-py does not take the option.
            options.pop("socket_keepalive", None)
        return {"address": url, **options}
    sentinels, master, login, sentinel_login = _parts(url)
    return {
        "sentinels": sentinels,
        "master_name": master,
        "sentinel_kwargs": _patience(AsyncRetry(NoBackoff(), 0)) | sentinel_login,
        **login,
        **options,
    }


class Pool:
    """Makes the connections of a URL; Django's cache asks for no more of its `pool_class`."""

    @staticmethod
    def from_url(url: str, **options: Any) -> ConnectionPool:
        """Return a connection pool; `options` are those of redis-py's connections."""
        if not url.startswith(SENTINEL_SCHEME):
            return ConnectionPool.from_url(url, **options)
        sentinels, master, login, sentinel_login = _parts(url)
        patience = _patience(Retry(NoBackoff(), 0))
        asked = Sentinel(sentinels, sentinel_kwargs=patience | sentinel_login)
        return SentinelConnectionPool(master, asked, **login, **options)


def _parts(
    url: str,
) -> tuple[list[tuple[str, int]], str, dict[str, Any], dict[str, str]]:
    """Read a Sentinel URL: the Sentinels, the master's name, and what to say to each kind."""
    # Several addresses at once are no URL for Python 3.14, where one of them is of IPv6.
    several, slash, rest = url.removeprefix(SENTINEL_SCHEME).partition("/")
    parts = _split(f"{SENTINEL_SCHEME}host{slash}{rest}")
    user, _, addresses = several.rpartition("@")
    username, _, password = user.partition(":")
    master, _, db = parts.path[1:].partition("/")
    options = dict(parse_qsl(parts.query))
    sentinels = []
    for address in addresses.split(","):
        sentinel = _split(f"//{address.strip()}")
        if not sentinel.hostname:
            raise ValueError("a Sentinel has no host name")
        sentinels.append((sentinel.hostname, _port(sentinel) or SENTINEL_PORT))
    if not master:
        raise ValueError("the name of the master is missing")
    if unknown := sorted(set(options) - {"sentinel_password"}):
        raise ValueError(f"the option {unknown[0]!r} is unknown; sentinel_password is the only one")
    login: dict[str, Any] = {"db": _number(db)}
    login |= {"username": unquote(username)} if username else {}
    login |= {"password": unquote(password)} if password else {}
    sentinel_password = options.get("sentinel_password")
    sentinel_login = {"password": sentinel_password} if sentinel_password else {}
    return sentinels, unquote(master), login, sentinel_login


def _check(url: str) -> None:
    """Refuse what redis-py refuses, now or when it connects, and what it would misunderstand."""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError(
            "it begins with none of redis://, rediss://, unix:// and redis+sentinel://"
        )
    parts = _split(url)
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("the path is missing")
    else:
        # Before redis-py looks at it, which would quote it.
        _port(parts)
        _number(parts.path[1:])
    parse_url(url)
    if parts.scheme != "unix" and not parts.hostname:
        raise ValueError("the host is missing")
    try:
        ConnectionPool.from_url(url).make_connection()
    except TypeError:
        raise ValueError("an option after the ? is unknown") from None


def _split(url: str) -> SplitResult:
    """Take a URL apart, unless a character of its password does."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Its message may quote the password.
        raise ValueError("its host or password has characters that no URL has") from None
    if "@" in url and "@" not in parts.netloc:
        raise ValueError("in a password write / as %2F, ? as %3F, # as %23 and @ as %40")
    return parts


def _number(db: str) -> int:
    if db and not db.isdecimal():
        raise ValueError(f"the database {db!r} is no number")
    return int(db or 0)


def _patience(retry: Any) -> dict[str, Any]:
    return {
        "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
        "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
        "retry": retry,
    }


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        # Python's own message may quote a part of the password.
        raise ValueError("the port is no number up to 65535, or the host is missing") from None


def _masked(url: str) -> str:
    """Leave nothing of a URL that may be a password."""
    if "@" in url:
        url = re.sub(r"^([\w+]+://)?.*@", r"\1***@", url)
    elif not _HOSTS.match(url):
        url = re.sub(r"(?<=://).*|^(?!.*://).*", "***", url)
    return re.sub(r"(?<=password=)[^&]*", "***", url)
