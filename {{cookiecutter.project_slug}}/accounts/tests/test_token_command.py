"""`manage.py token`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts import tokens
from accounts.models import User


def test_prints_an_access_token(user: User):
    """The output is an access token and nothing else."""
    output = StringIO()

    call_command("token", "ada", stdout=output)

    assert tokens.authenticate(output.getvalue().rstrip("\n")).user == user


def test_unknown_user(db):
    """An unknown user is named, with the way out."""
    with pytest.raises(CommandError, match=r"no user 'nobody'.*make superuser"):
        call_command("token", "nobody")


def test_inactive_user(user: User):
    """No token is issued that nothing would accept."""
    user.is_active = False
    user.save()

    with pytest.raises(CommandError, match="inactive"):
        call_command("token", "ada")
