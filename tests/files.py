"""The files that a rendered project consists of."""

ALWAYS = """
"""

# (question, answer) -> the files that this answer adds
ADDED = {
    ("database", "postgresql"): """
        backend/postgres.py
    """,
    ("use_chat", True): """
    """,
    ("use_nginx", True): """
        nginx.conf
    """,
}


def expected_files(combination: dict) -> set[str]:
    """Return the files of a project that was rendered with these answers."""
    added = [names for (name, answer), names in ADDED.items() if combination[name] == answer]
    return set(" ".join([ALWAYS, *added]).split())
