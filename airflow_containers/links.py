"""The button on a task that opens its container in the service's dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from collections.abc import Mapping

_ATTRIBUTE = "_container_link"


class ContainerLink(BaseOperatorLink):  # type: ignore[misc, unused-ignore]
    """A link to the container of a task, where the service has a dashboard.

    Airflow 3 asks for the link in the worker, after the task has run; Airflow 2 asks in the web server.
    So an operator says what it is with :meth:`persist`, first of all that there is none yet::

        ContainerLink.persist(context, None)
        ...
        ContainerLink.persist(context, hook.dashboard_url(container.id))
    """

    name: ClassVar[str] = "OpenAI container"
    xcom_push_key: ClassVar[str] = "container_link"
    """XCom of a task instance that holds the URL."""

    @classmethod
    def persist(cls, context: Mapping[str, Any], url: str | None) -> None:
        """Keep ``url`` as the link of the running task instance.

        :param context: the task's context; ``ti`` is used.
        :param url: where to point; ``None`` or an empty text for no link, and then nothing goes to XCom.
        """
        ti = context["ti"]
        # Kept beside the XCom: looking for one that is not there puts an error into the task's log.
        object.__setattr__(ti.task, _ATTRIBUTE, url or "")
        if url:
            ti.xcom_push(key=cls.xcom_push_key, value=url)

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL of the task instance, or an empty text, for which Airflow 3 shows no button.

        :param operator: the task that ran, or its serialized form in the web server of Airflow 2.
        :param ti_key: whose XCom to read if this process did not run the task (or ran it after a deferral).
        """
        from airflow.providers.common.compat.sdk import XCom

        kept = getattr(operator, _ATTRIBUTE, None)
        if isinstance(kept, str):
            return kept
        url = XCom.get_value(key=self.xcom_push_key, ti_key=ti_key)
        return url if isinstance(url, str) else ""
