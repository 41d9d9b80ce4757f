"""A machine as a stranger has it: one Python, the pip that came with it, and nothing of ours."""

import os
import re
from pathlib import Path

# What reaches the package registries, and what a program cannot do without.
PASSED_ON = re.compile(
    r"PIP_(CERT|FIND_LINKS|INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT)|SSL_CERT_\w+|UV_CACHE_DIR"
    r"|REQUESTS_CA_BUNDLE|UV_(DEFAULT_INDEX|INDEX_URL|NATIVE_TLS)|NODE_EXTRA_CA_CERTS"
    r"|(HTTPS?|NO)_PROXY|(https?|no)_proxy|CI|TERM"
)
SYSTEM = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def bare(folder: Path, *tools: str | Path, **extra: str) -> dict[str, str]:
    """Return the environment of a machine whose home, in the new `folder`, is empty.

    Args:
        folder: does not exist yet.
        tools: programs that come first on PATH; a Python is `python3` there.
        extra: further variables.
    """
    (folder / "bin").mkdir(parents=True)
    (folder / "home").mkdir()
    for tool in map(Path, tools):
        name = "python3" if re.fullmatch(r"python[\d.]*", tool.name) else tool.name
        (folder / "bin" / name).symlink_to(tool.resolve() if name == "python3" else tool)
    passed_on = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    return passed_on | {
        "HOME": str(folder / "home"),
        "PATH": f"{folder / 'bin'}:{SYSTEM}",
        "LANG": "C.UTF-8",
        **extra,
    }
