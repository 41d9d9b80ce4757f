"""Fields that take the JSON type that the schema says, and no other for what it could mean."""

from typing import Any

from django.db import models
from rest_framework import serializers


class TextField(serializers.CharField):
    """Text; the framework's own field takes a number for its digits."""

    def to_internal_value(self, data: Any) -> str:
        """Refuse what is no string."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NumberField(serializers.IntegerField):
    """A whole number; the framework's own field takes text that holds one."""

    def to_internal_value(self, data: Any) -> int:
        """Refuse what is no number."""
        if not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """True or false; the framework's own field takes 1, "yes" and the like."""

    def to_internal_value(self, data: Any) -> bool:
        """Refuse what is neither."""
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class ModelSerializer(serializers.ModelSerializer):
    """The framework's own, with the fields of this module."""

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.CharField: TextField,
        models.BooleanField: FlagField,
    }
