"""The tests' hand inside the rendered project: a process of its own that does jobs with Django."""

import asyncio
import json
from pathlib import Path
from typing import Any

from .. import logs
from .project import Project

STOP_SECONDS = 10
# A line holds everything that a job answers, such as the whole history of fifty users.
LINE_BYTES = 64 * 1024 * 1024


class JobFailed(Exception):
    """A job raised; the message names the exception's type first."""


class Job:
    """Something that the desk does, until it is done or told to stop."""

    def __init__(self, desk: "Desk", number: int) -> None:
        self._desk = desk
        self._number = number
        self.notes: list[dict[str, Any]] = []
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.noted = asyncio.Condition()

    async def stop(self) -> Any:
        """Tell it to come to an end and give its result."""
        await self._desk.write({"stop": self._number})
        return await self.result

    async def until_noted(self, count: int = 1) -> None:
        """Wait until the job has noted so many things."""
        async with self.noted:
            await self.noted.wait_for(lambda: len(self.notes) >= count or self.result.done())


class Desk:
    """A process of the project that takes orders; see `inside/newsroom/desk.py` for which."""

    def __init__(self, name: str, folder: Path, project: Project, environment: dict[str, str]):
        self.name = name
        self._log = folder / f"{name}.log"
        self._project = project
        self._environment = environment
        self._jobs: dict[int, Job] = {}

    async def __aenter__(self) -> "Desk":
        with self._log.open("ab") as log:
            logs.keep(self._log)
            self.process = await asyncio.create_subprocess_exec(
                *(str(self._project.python), "-m", "newsroom.desk"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self._project.folder,
                env=self._environment,
                limit=LINE_BYTES,
            )
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        await self.process.wait()
        await self._listener
        for job in self._jobs.values():
            job.result.cancel()

    async def begin(self, action: str, **arguments: Any) -> Job:
        """Order a job and give it while it is being done."""
        job = self._jobs[len(self._jobs)] = Job(self, len(self._jobs))
        await self.write({"job": len(self._jobs) - 1, "do": action, "with": arguments})
        return job

    async def do(self, action: str, **arguments: Any) -> Any:
        """Order a job, wait for it, and give its result.

        Raises:
            JobFailed: it raised.
        """
        return await (await self.begin(action, **arguments)).result

    async def write(self, order: dict[str, Any]) -> None:
        """Send one order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            message = json.loads(line)
            job = self._jobs[message["job"]]
            async with job.noted:
                if "note" in message:
                    job.notes.append(message["note"])
                elif "error" in message:
                    job.result.set_exception(JobFailed(message["error"]))
                else:
                    job.result.set_result(message["result"])
                job.noted.notify_all()
