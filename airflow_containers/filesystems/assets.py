"""What OpenLineage is told about a path in a container."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit


def to_openlineage(asset: Any, lineage_context: Any) -> Any:  # noqa: ARG001 - the signature is Airflow's
    """Return a path in a container as a dataset of OpenLineage.

    The namespace is the container, the name the path in it. The connection is left out: two tasks that reach
    one container by different connections share its files.

    :param asset: the asset or, on Airflow 2.11, dataset; only its ``uri`` is looked at.
    :param lineage_context: who asks; not needed.
    :returns: a ``Dataset``, or ``None`` for a URI that names no file in a container.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    parts = urlsplit(asset.uri)
    container_id = parts.netloc.rpartition("@")[2]
    if not container_id or not parts.path.strip("/"):
        return None
    return Dataset(namespace=f"{parts.scheme}://{container_id}", name=unquote(parts.path))
