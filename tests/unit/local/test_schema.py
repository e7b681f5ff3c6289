"""The words and codes of the schema walker."""

from __future__ import annotations

import re

import pytest

from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.schema import Array, Boolean, Enum, Integer, Number, Object, Schema, Text, Union

_INNER = Object({"a": Integer(), "b": Array(Text(min_length=1), min_items=1)}, required=("a",))
_ROOT = Object(
    {
        "inner": _INNER,
        "many": Array(_INNER),
        "either": Union({"x": Object({"type": Enum(("x",))}), "y": Object({"type": Enum(("y",))})}),
    }
)


@pytest.mark.parametrize(
    ("schema", "value", "message", "code"),
    [
        (Text(), 1, "Invalid type for 'f': expected a string, but got an integer instead.", "invalid_type"),
        (Text(), None, "Invalid type for 'f': expected a string, but got null instead.", "invalid_type"),
        (Text(), [], "Invalid type for 'f': expected a string, but got an array instead.", "invalid_type"),
        (
            Text(min_length=1),
            "",
            (
                "Invalid 'f': empty string. "
                "Expected a string with minimum length 1, but got an empty string instead."
            ),
            "empty_string",
        ),
        (
            Text(min_length=3),
            "ab",
            (
                "Invalid 'f': string too short. Expected a string with minimum length 3, "
                "but got a string with length 2 instead."
            ),
            "string_below_min_length",
        ),
        (
            Text(max_length=64),
            "a" * 65,
            (
                "Invalid 'f': string too long. Expected a string with maximum length 64, "
                "but got a string with length 65 instead."
            ),
            "string_above_max_length",
        ),
        (
            Text(pattern=re.compile("a+")),
            "aab",
            "Invalid 'f': string does not match pattern. Expected a string that matches the pattern '^a+$'.",
            "invalid_value",
        ),
        (
            Integer(),
            1.0,
            "Invalid type for 'f': expected an integer, but got a decimal number instead.",
            "invalid_type",
        ),
        (
            Integer(),
            True,
            "Invalid type for 'f': expected an integer, but got a boolean instead.",
            "invalid_type",
        ),
        (
            Integer(minimum=1),
            0,
            "Invalid 'f': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "integer_below_min_value",
        ),
        (
            Integer(maximum=20),
            21,
            "Invalid 'f': integer above maximum value. Expected a value <= 20, but got 21 instead.",
            "integer_above_max_value",
        ),
        (
            Number(0, 1),
            1.5,
            "Invalid 'f': decimal above maximum value. Expected a value <= 1, but got 1.5 instead.",
            "decimal_above_max_value",
        ),
        (
            Boolean(),
            1,
            "Invalid type for 'f': expected a boolean, but got an integer instead.",
            "invalid_type",
        ),
        (
            Enum(("1g", "4g", "16g")),
            "2g",
            "Invalid value: '2g'. Supported values are: '1g', '4g', and '16g'.",
            "invalid_value",
        ),
        (Enum(("a", "b")), "c", "Invalid value: 'c'. Supported values are: 'a' and 'b'.", "invalid_value"),
        (Enum(("a",)), "c", "Invalid value: 'c'. Value must be 'a'.", "invalid_value"),
        (
            Enum(("a", "b", "c")),
            {},
            "Invalid type for 'f': expected one of 'a', 'b', or 'c', but got an object instead.",
            "invalid_type",
        ),
        (
            Array(Text(), min_items=1),
            [],
            (
                "Invalid 'f': empty array. "
                "Expected an array with minimum length 1, but got an empty array instead."
            ),
            "empty_array",
        ),
        (
            Array(Text()),
            {},
            "Invalid type for 'f': expected an array, but got an object instead.",
            "invalid_type",
        ),
    ],
)
def test_refusals_use_the_platforms_words(schema: Schema, value: object, message: str, code: str) -> None:
    """A wrong value gets the platform's sentence and code, and names the field."""
    with pytest.raises(InvalidRequestError) as caught:
        Object({"f": schema}).check({"f": value}, "")

    assert (message, code, "f") == (caught.value.message, caught.value.code, caught.value.param)


@pytest.mark.parametrize(
    ("value", "param", "code"),
    [
        ({"other": 1}, "other", "unknown_parameter"),
        ({"inner": {}}, "inner.a", "missing_required_parameter"),
        ({"inner": {"a": 1, "z": 1}}, "inner.z", "unknown_parameter"),
        ({"inner": {"a": 1, "b": ["x", ""]}}, "inner.b[1]", "empty_string"),
        ({"many": [{"a": 1}, {"a": "1"}]}, "many[1].a", "invalid_type"),
        ({"either": {}}, "either.type", "missing_required_parameter"),
        ({"either": {"type": "z"}}, "either.type", "invalid_value"),
        ({"either": {"type": ["x"]}}, "either.type", "invalid_type"),
        ({"either": {"type": "x", "z": 1}}, "either.z", "unknown_parameter"),
        ({"either": []}, "either", "invalid_type"),
    ],
)
def test_param_is_the_path_of_the_field(value: object, param: str, code: str) -> None:
    """`param` leads to the field at fault through objects and arrays."""
    with pytest.raises(InvalidRequestError) as caught:
        _ROOT.check(value, "")

    assert (param, code) == (caught.value.param, caught.value.code)


def test_valid_values_pass() -> None:
    """What keeps the rules raises nothing."""
    _ROOT.check({"inner": {"a": 1, "b": ["x"]}, "many": [], "either": {"type": "y"}}, "")


def test_a_huge_number_is_not_spelled_out() -> None:
    """An integer too long to print is refused like any other."""
    with pytest.raises(InvalidRequestError, match="but got a number outside that range instead"):
        Integer(maximum=20).check(10**5000, "f")


def test_a_long_value_is_echoed_in_part() -> None:
    """An error is short, whatever was sent."""
    with pytest.raises(InvalidRequestError) as caught:
        Enum(("a",)).check("x" * 100_000, "f")

    assert len(caught.value.message) < 200
