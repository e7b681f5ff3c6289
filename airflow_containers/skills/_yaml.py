"""Reads the YAML of a front matter; apart from the rest because it imports a parser."""

from __future__ import annotations

from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]


class _Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """YAML without merge keys (``<<``): a few lines of them grow to more than any memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    problem="a merge key (<<) is not taken here", problem_mark=key.start_mark
                )
        super().flatten_mapping(node)


def load(text: str) -> Any:
    """Return what a text says.

    :raises yaml.YAMLError: if it is no YAML; what a value breaks may raise anything else.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
