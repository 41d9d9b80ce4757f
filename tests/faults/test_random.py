"""Clients to whom everything happens at random, in any order and at the same time."""

import asyncio
import itertools
import random
import time
from pathlib import Path

import pytest

from .cluster import Cluster, Databases
from .ledger import Ledger
from .project import Project
from .rounds import Round

SEEDS = [7, 9, 20]


@pytest.mark.fault(15)
@pytest.mark.parametrize("seed", SEEDS)
async def test_random_faults(
    cluster: Cluster, databases: Databases, ledger: Ledger, seed: int
) -> None:
    """Nothing is lost, doubled, out of order or for others, and nothing of it remains."""
    round_ = Round(seed, cluster, databases)
    await round_.run()
    round_.count(ledger)
    ledger.check()


def test_for_as_long_as_one_likes(
    project: Project, databases: Databases, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The same with one seed after another; `make test-random` says for how long."""
    seconds = pytestconfig.getoption("--seconds", 0)
    if not seconds:
        pytest.skip("make test-random seconds=600 runs it")
    first = pytestconfig.getoption("--seed")
    first = random.randrange(1_000_000) if first is None else first
    until = time.monotonic() + seconds
    for seed in itertools.count(first):
        began = time.monotonic()
        print(f"\nseed {seed}: ", end="", flush=True)
        folder = tmp_path / str(seed)
        folder.mkdir()
        cluster = Cluster(project, folder, databases.make("postgresql"))
        asyncio.run(one_round(seed, cluster, databases))
        print(f" in {time.monotonic() - began:.0f} s", end="", flush=True)
        if time.monotonic() > until:
            return


async def one_round(seed: int, cluster: Cluster, databases: Databases) -> None:
    """Run one round, and show what the processes wrote if it fails."""
    round_ = Round(seed, cluster, databases)
    try:
        await round_.run()
        print(", ".join(f"{count} {what}" for what, count in round_.world.counts.items()), end="")
    except BaseException:
        print(*cluster.logs(), sep="\n")
        raise
    finally:
        await cluster.close()
