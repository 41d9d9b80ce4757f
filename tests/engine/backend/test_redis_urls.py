"""What `REDIS_URL` may say."""

from typing import Any

import pytest
from backend.environment import UnusableSetting
from backend.redis_urls import Pool, layer_host, split
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelPool
from redis.sentinel import SentinelConnectionPool

SENTINELS = "redis+sentinel://app:p%40ss@one:26380,two,[::1]:26381/mymaster/3"


@pytest.mark.parametrize("value", ["", " ", ","])
def test_no_redis(value: str):
    """Nothing is none."""
    assert split(value) == []


def test_several_urls():
    """A comma ends a URL only where another one begins, so that Sentinels can be listed."""
    first, second = "redis://:secret@one:6379/0", "rediss://two"

    assert split(f"{first}, {SENTINELS},{second},") == [first, SENTINELS, second]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost:6379", "begins with none of redis://"),
        ("hunter2", "begins with none of redis://"),
        ("redis://one:6379/0,localhost:6379", "'0,localhost:6379'"),
        ("http://:hunter2@redis:6379/0", "begins with none of redis://"),
        ("redis://:hunter2@one:port/0", "port"),
        ("redis://:hun#ter2@one:6379/0", "# as %23"),
        ("redis://:12#hunter2@one:6379/0", "# as %23"),
        ("redis://:12/hunter2@one:6379/0", "/ as %2F"),
        ("redis://:12?hunter2@one:6379/0", "? as %3F"),
        ("redis://:hun[ter2@one:6379/0", "characters that no URL has"),
        ("redis://:hun\u2100ter2@one:6379/0", "characters that no URL has"),
        ("redis://:hunter2", "the host is missing"),
        ("redis://:hunter2/0", "the host is missing"),
        ("redis://:12345", "the host is missing"),
        ("redis://one?option=2", "an option after the ? is unknown"),
        ("redis://one?socket_timeout=long", "'socket_timeout'"),
        ("unix://", "the path is missing"),
        ("redis://one:6379,two:6379/0", "port"),
        ("redis+sentinel://:hunter2@one:99999/mymaster", "port"),
        ("redis+sentinel://:hunter2@one", "name of the master"),
        ("redis+sentinel://:hunter2@one,/mymaster", "host name"),
        ("redis+sentinel://:hunter2@one/mymaster/zero", "'zero'"),
        ("redis+sentinel://one/mymaster?sentinel_password=hunter2&ssl=on", "'ssl'"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, reason: str):
    """The error names the URL and what is wrong with it, and no password."""
    with pytest.raises(UnusableSetting) as caught:
        split(url)

    message = str(caught.value)
    assert message.startswith("REDIS_URL holds ")
    assert reason in message
    assert "@" not in url or f"@{url.rpartition('@')[2]}"[:10] in message
    assert not any(part in message for part in ("hun", "ter2", "12345"))
    assert caught.value.__suppress_context__


def test_the_layer_and_the_cache_ask_the_same_sentinels():
    """One URL becomes what channels_redis and what redis-py need, login and database included."""
    url = f"{SENTINELS}?sentinel_password=other"
    host = layer_host(url)
    kwargs = host.pop("sentinel_kwargs")
    pool = Pool.from_url(url, socket_timeout=1)

    assert host == {
        "sentinels": [("one", 26380), ("two", 26379), ("::1", 26381)],
        "master_name": "mymaster",
        "username": "app",
        "password": "p@ss",
        "db": 3,
    }
    assert kwargs["password"] == "other"
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    login = {name: pool.connection_kwargs[name] for name in ("username", "password", "db")}
    assert login == {"username": "app", "password": "p@ss", "db": 3}
    assert pool.connection_kwargs["socket_timeout"] == 1
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in asked_by(pool)]
    assert [(each["host"], each["port"]) for each in asked] == host["sentinels"]
    assert {each["password"] for each in asked} == {"other"}


def test_channels_redis_takes_the_host():
    """channels_redis makes a pool that asks the Sentinels for the master."""
    from channels_redis.utils import create_pool

    pool = create_pool(layer_host(SENTINELS) | {"socket_timeout": 5})

    assert isinstance(pool, AsyncSentinelPool)
    assert pool.connection_kwargs["socket_timeout"] == 5
    assert len(asked_by(pool)) == 3


def test_a_plain_url_is_left_to_redis_py():
    """A single server needs nothing but its address."""
    assert layer_host("redis://one:6379/0") == {"address": "redis://one:6379/0"}
    assert Pool.from_url("redis://one:6380/2").connection_kwargs["port"] == 6380


def test_a_socket_file():
    """The layer and the cache make connections to one, without the options of TCP."""
    from channels_redis.utils import create_pool

    url = "unix://:secret@/run/redis.sock?db=2"
    assert split(url) == [url]
    options = {"socket_connect_timeout": 2, "socket_keepalive": True}

    pools: list[Any] = [
        create_pool(layer_host(url, **options)),
        Pool.from_url(url, socket_connect_timeout=1),
    ]

    for connection in (pool.make_connection() for pool in pools):
        assert (connection.path, connection.db) == ("/run/redis.sock", 2)


def asked_by(pool):
    """Return the clients of the Sentinels of a pool."""
    return pool.sentinel_manager.sentinels
