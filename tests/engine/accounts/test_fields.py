"""Fields take their own type and nothing that could be taken for it."""

import pytest
from accounts.fields import FlagField, NumberField, TextField
from rest_framework.exceptions import ValidationError


@pytest.mark.parametrize(
    ("field", "value"),
    [(TextField(), "7"), (NumberField(), 7), (NumberField(), 7.0), (FlagField(), False)],
)
def test_what_is_taken(field, value):
    """A value of the field's type stays what it is."""
    assert field.run_validation(value) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (TextField(), 7),
        (TextField(), True),
        (NumberField(), "7"),
        (NumberField(), True),
        (NumberField(), 7.5),
        (NumberField(), float("inf")),
        (FlagField(), 0),
        (FlagField(), "yes"),
        (FlagField(), []),
    ],
)
def test_what_is_refused(field, value):
    """Text that holds a number is none, and neither is a number that could mean no."""
    with pytest.raises(ValidationError):
        field.run_validation(value)
