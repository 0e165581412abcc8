"""What counts as a whole number, in pages, the API and files."""

from __future__ import annotations

import pytest

from gridtally_cloud.digits import LARGEST, whole


@pytest.mark.parametrize(
    ("text", "most", "number"),
    [
        ("0", 5, 0), ("5", 5, 5), ("6", 5, None), ("0005", 5, 5), ("", 5, None), ("-1", 5, None), ("+1", 5, None), ("1.0", 5, None),
        ("²", 5, None), ("३", 5, None), ("１", 5, None), ("1_0", 99, None), (" 1", 5, None), ("00000001" + "9" * 30, 5, None),
        (str(LARGEST), LARGEST, LARGEST), (str(LARGEST + 1), LARGEST, None), ("9" * 5000, LARGEST, None), ("0" * 5000 + "7", 9, 7),
    ],
)  # fmt: skip
def test_digits_from_nought_to_nine_up_to_a_bound_and_nothing_else(text: str, most: int, number: int | None) -> None:
    assert whole(text, most) == number
