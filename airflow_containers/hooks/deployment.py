"""The id of this Airflow deployment, kept in an Airflow Variable."""

from __future__ import annotations

import inspect
import logging
import time
import uuid
from typing import Any, Final

from airflow_containers.api.errors import ConfigurationError

logger = logging.getLogger(__name__)

DEPLOYMENT_VARIABLE: Final = "openai_containers_deployment_id"
"""The Variable's key. ``AIRFLOW_VAR_OPENAI_CONTAINERS_DEPLOYMENT_ID`` on every worker does as well."""

_DESCRIPTION: Final = (
    "Tells the containers of this Airflow deployment from those of others that share the account. Made by "
    "airflow-containers; give a copy of this database an id of its own."
)
_SETTLE_SECONDS: Final = 0.5


def deployment_id() -> str:
    """Return this deployment's id; the first task that asks for it makes it.

    Airflow has nothing that is the same on all workers, differs between deployments and outlives a clear, so
    it is a random text in a Variable. Two first tasks at the same moment agree on what was written last.

    :returns: an empty text outside of Airflow's tasks, as in a unit test, if the Variable is not set.
    :raises ConfigurationError: if the Variable is not there and cannot be made.
    """
    found = known_deployment_id()
    # Airflow takes a failed look for a Variable that is not there; replacing one that is would be worse.
    found = found or known_deployment_id()
    if found:
        return found
    from airflow.providers.common.compat.sdk import Variable

    try:
        Variable.set(DEPLOYMENT_VARIABLE, uuid.uuid4().hex, description=_DESCRIPTION)
    except ImportError:
        # Airflow 3 outside of a task: there is nobody to ask.
        return ""
    except Exception as error:
        raise ConfigurationError(
            f"There is no Variable {DEPLOYMENT_VARIABLE!r}, and it could not be made "
            f"({type(error).__name__}). Set it to a text that no other deployment with the same account has, "
            f"or set AIRFLOW_VAR_{DEPLOYMENT_VARIABLE.upper()} on every worker"
        ) from error
    time.sleep(_SETTLE_SECONDS)
    if made := known_deployment_id():
        logger.info(
            "Made the Variable %r: this Airflow deployment's id in names of containers", DEPLOYMENT_VARIABLE
        )
        return made
    raise ConfigurationError(f"The Variable {DEPLOYMENT_VARIABLE!r} was made and cannot be read")


def known_deployment_id() -> str:
    """Return this deployment's id; an empty text if no task has made it yet."""
    from airflow.providers.common.compat.sdk import Variable

    # Airflow 2 calls the argument `default_var`; without it a missing Variable looks like a failed database.
    keyword = "default" if "default" in inspect.signature(Variable.get).parameters else "default_var"
    absent: dict[str, Any] = {keyword: None}
    try:
        return str(Variable.get(DEPLOYMENT_VARIABLE, **absent) or "").strip()
    except ImportError:
        # Airflow 3.0 outside of a task: there is nobody to ask.
        return ""


def id_in_database() -> str:
    """Return the deployment's id as this process's metadata database has it; an empty text if it has none.

    An id from the environment or a secrets backend says nothing of the database. Not for tasks of Airflow 3,
    which have none.
    """
    try:
        from airflow.models.variable import Variable as Row
        from airflow.utils.session import create_session

        with create_session() as session:
            row = session.query(Row).filter(Row.key == DEPLOYMENT_VARIABLE).one_or_none()
            return "" if row is None else str(row.get_val() or "").strip()  # type: ignore[no-untyped-call, unused-ignore]
    except Exception as error:  # noqa: BLE001 - a database that cannot be read shows nothing
        logger.debug("The metadata database did not tell the deployment's id: %s", type(error).__name__)
        return ""
