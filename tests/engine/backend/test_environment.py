"""Reading settings: what each reader takes, and what it says about anything else."""

import os
from pathlib import Path

import pytest
from backend import environment
from backend.environment import Environment, UnusableSetting, explained, read_file


@pytest.fixture
def env(monkeypatch):
    """A function that gives the environment with these variables, and none from a file."""

    def env(**variables: str) -> Environment:
        monkeypatch.setenv("ENV_FILE", os.devnull)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Environment()

    return env


@pytest.fixture
def written(tmp_path: Path):
    """A function that writes a file of variables."""

    def written(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "some.env"
        path.write_text(text, encoding)
        return path

    return written


@pytest.mark.parametrize("value", ["on", "True", "YES", "y", "t", "1", " on "])
def test_on(env, value: str):
    """On is said in several ways, and off in those that mirror them."""
    off = {"on": "off", "true": "False", "yes": "no", "y": "n", "t": "f", "1": "0"}

    assert env(X=value).bool("X", default=False) is True
    assert env(X=off[value.strip().lower()]).bool("X", default=True) is False


@pytest.mark.parametrize("value", ["", " "])
def test_empty(env, value: str):
    """What is empty is not set, whatever it should be."""
    here = env(X=value)

    assert here.str("X", default="x") == "x"
    assert here.bool("X", default=True) is True
    assert here.int("X", default=5, least=1) == 5
    assert here.float("X", default=0.5, least=0.1) == 0.5
    assert here.list("X", default=["x"]) == ["x"]


def test_numbers(env):
    """Numbers may be at the ends of their bounds."""
    here = env(X="7", Y="0.25", Z="1e3")

    assert here.int("X", least=7, most=7) == 7
    assert here.float("Y", least=0.25, most=0.25) == 0.25
    assert here.float("Z") == 1000
    assert here.float("X") == 7


def test_texts_stay_as_they_are(env):
    """A dollar sign or a number sign in a value, such as a key, means nothing."""
    assert env(X="$up3r#s3cret").str("X") == "$up3r#s3cret"


def test_lists(env):
    """Items are separated by commas, with or without space, and none is empty."""
    assert env(X="a.com, b.com,,c.com,").list("X", form="host") == ["a.com", "b.com", "c.com"]


@pytest.mark.parametrize(
    ("read", "value", "takes"),
    [
        (lambda env: env.bool("X"), "*", "on or off"),
        (lambda env: env.bool("X"), "2", "on or off"),
        (lambda env: env.bool("X"), "on # or off", "on or off"),
        (lambda env: env.int("X"), "abc", "a whole number from 0 to 2147483647"),
        (lambda env: env.int("X"), "1.5", "a whole number"),
        (lambda env: env.int("X"), "65,536", "a whole number"),
        (lambda env: env.int("X"), "-1", "from 0"),
        (lambda env: env.int("X", least=1, most=9), "0", "a whole number from 1 to 9"),
        (lambda env: env.int("X", least=1, most=9), "10", "a whole number from 1 to 9"),
        (lambda env: env.int("X"), "9" * 5_000, "a whole number"),
        (lambda env: env.float("X"), "10s", "a number from 0 to 2147483647"),
        (lambda env: env.float("X"), "nan", "a number"),
        (lambda env: env.float("X"), "inf", "a number"),
        (lambda env: env.float("X"), "-0.1", "a number from 0"),
        (lambda env: env.float("X", least=0.01, most=60), "0", "a number from 0.01 to 60"),
        (lambda env: env.str("X", form="level"), "verbose", "DEBUG, INFO"),
        (lambda env: env.str("X", form="rate"), "10/fortnight", "such as 10/hour"),
        (lambda env: env.str("X", form="rate"), "10/month", "such as 10/hour"),
        (lambda env: env.str("X", form="rate"), "0/hour", "such as 10/hour"),
        (lambda env: env.str("X", form="rate"), "10", "such as 10/hour"),
        (lambda env: env.list("X", form="host"), "https://a.com", "such as example.com"),
        (lambda env: env.list("X", form="host"), "a.com:8000", "such as example.com"),
        (lambda env: env.list("X", form="host"), "::1", "such as example.com"),
        (lambda env: env.list("X", form="origin"), "a.com", "such as https://app.example.com"),
        (lambda env: env.list("X", form="origin"), "https://a.com/", "without a / at the end"),
        (lambda env: env.list("X", form="host or origin"), "a.com:80", "host names or origins"),
    ],
)
def test_a_value_that_cannot_be_used(env, read, value: str, takes: str):
    """The error names the setting, shows the value and says what the setting takes."""
    with pytest.raises(UnusableSetting) as caught:
        read(env(X=value))

    message = str(caught.value)
    assert message.startswith(f"X is '{value[:80]}' in the environment, but takes ")
    assert takes in message


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("level", "debug"),
        ("level", "WARNING"),
        ("rate", "10/hour"),
        ("rate", "1000000/s"),
        ("host", "*"),
        ("host", ".example.com"),
        ("host", "127.0.0.1"),
        ("host", "[::1]"),
        ("origin", "https://app.example.com:8443"),
        ("origin", "https://*.example.com"),
        ("origin", "capacitor://localhost"),
        ("origin", "null"),
        ("host or origin", "example.com"),
        ("host or origin", "http://localhost:5173"),
    ],
)
def test_forms(env, form: str, value: str):
    """What the libraries behind the settings take is taken."""
    assert env(X=value).str("X", form=form) == value


def test_secrets_are_not_shown(env):
    """Neither the value of a secret nor the password in an address is part of an error."""
    with pytest.raises(UnusableSetting, match=r"^API_KEY is \*\*\* in the environment, but"):
        env(API_KEY="secret").int("API_KEY")
    with pytest.raises(UnusableSetting, match=r"'https://\*\*\*@a\.com/'"):
        env(X="https://ada:secret@a.com/").list("X", form="origin")


def test_a_file(written):
    """Comments, quotes, `export` and values of several lines are read, and nothing is replaced."""
    path = written(
        "\ufeff# a comment\n"
        "\n"
        "A=1\n"
        " export B = two words # a comment\n"
        "C=a#b$A\n"
        "D='$single # quotes'\n"
        'E="double \\"quotes\\" $ \\\\ \\n"  # a comment\n'
        "F=\n"
        "G= # nothing\n"
        'H="first\n'
        'second"\n'
        "A=3"
    )

    assert read_file(path) == {
        "A": "3",
        "B": "two words",
        "C": "a#b$A",
        "D": "$single # quotes",
        "E": 'double "quotes" $ \\ \n',
        "F": "",
        "G": "",
        "H": "first\nsecond",
    }


@pytest.mark.parametrize(
    "line", ["hunter2", "A hunter2", "A='hunter2", 'A="hunter2" x', "=hunter2"]
)
def test_a_line_that_cannot_be_read(written, line: str):
    """The error tells the file and the number of the line, and nothing of what it says."""
    path = written(f"A=1\r\nB=2\r\n{line}\r\n")

    with pytest.raises(UnusableSetting) as caught:
        read_file(path)

    assert str(caught.value).startswith(f"Line 3 of {path} cannot be read: write NAME=value")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read(written, tmp_path: Path):
    """A file that is not there or no text is refused, with the way out."""
    with pytest.raises(UnusableSetting, match=r"missing cannot be read: No such file.*ENV_FILE"):
        read_file(tmp_path / "missing")
    with pytest.raises(UnusableSetting, match=r"cannot be read: it is no text in UTF-8"):
        read_file(written("A=1\n", "utf-16"))


def test_the_environment_wins_over_the_file(written, monkeypatch):
    """Also where it says nothing: an empty variable hides what the file says."""
    monkeypatch.setenv("ENV_FILE", str(written("A=file\nB=file\nC=file\n")))
    monkeypatch.setenv("A", "environment")
    monkeypatch.setenv("B", "")
    monkeypatch.delenv("C", raising=False)

    here = Environment()

    assert here.str("A") == "environment"
    assert here.str("B", default="default") == "default"
    assert here.str("C") == os.environ.pop("C") == "file"


def test_where_a_value_comes_from(written, monkeypatch):
    """The error says which of the two places to look at."""
    path = written("A=abc\n")
    monkeypatch.setenv("ENV_FILE", str(path))
    monkeypatch.setenv("A", "abc")

    with pytest.raises(UnusableSetting) as caught:
        Environment().int("A")

    assert str(caught.value).startswith(f"A is 'abc' in {path}, but takes")


def test_no_file_of_that_name_is_needed(monkeypatch, tmp_path: Path):
    """The project's own `.env` may be missing; one that `ENV_FILE` names may not."""
    monkeypatch.delenv("ENV_FILE", raising=False)
    monkeypatch.setattr(environment, "BASE_DIR", tmp_path)
    Environment()

    monkeypatch.setenv("ENV_FILE", str(tmp_path / "named.env"))
    with pytest.raises(UnusableSetting, match=r"named\.env cannot be read"):
        Environment()


def test_an_error_is_one_sentence(capsys):
    """Whoever starts the project sees no traceback, and the status says that it did not start."""
    with pytest.raises(SystemExit) as caught, explained():
        raise UnusableSetting("X is 'abc', but takes a number.")

    assert caught.value.code == 3
    assert capsys.readouterr().err == "Error: X is 'abc', but takes a number.\n"


@pytest.mark.parametrize("missing", ["shop", "shop.settings"])
def test_the_settings_of_another_project(monkeypatch, capsys, missing: str):
    """A DJANGO_SETTINGS_MODULE that is not there is named; any other module is a fault."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")

    with pytest.raises(SystemExit), explained():
        raise ModuleNotFoundError(name=missing)
    assert "DJANGO_SETTINGS_MODULE is 'shop.settings' in the" in capsys.readouterr().err

    with pytest.raises(ModuleNotFoundError), explained():
        raise ModuleNotFoundError(name="shopping")
