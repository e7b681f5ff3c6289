"""The Containers API on the wire: request and response models, errors, retry rules and two clients.

Free of Airflow, so a plain script can use it::

    from airflow_containers.api import ClientOptions, ContainersClient, CreateContainerRequest

    with ContainersClient(ClientOptions(api_key="sk-...")) as client:
        container = client.create(CreateContainerRequest(name="report", memory_limit="4g"))
        client.delete(container.id)

Names are loaded on first use, because Airflow imports the modules above this one while it parses DAGs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_containers.api.bodies import BytesSource, PathSource
    from airflow_containers.api.client import AsyncContainersClient, ContainersClient
    from airflow_containers.api.errors import (
        AmbiguousCreateError,
        AmbiguousUploadError,
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        ConflictError,
        ContainerFileNotFoundError,
        ContainerGoneError,
        ContainerNotDeletedError,
        ContainersError,
        InvalidRequestError,
        InvalidResponseError,
        LocalFileError,
        NotFoundError,
        PermissionDeniedError,
        QuotaExceededError,
        RateLimitError,
        RedirectError,
        ServerError,
        SourceChangedError,
    )
    from airflow_containers.api.inline_zips import SkillZip
    from airflow_containers.api.models import (
        CompleteUploadRequest,
        Container,
        ContainerFile,
        ContainerFilePage,
        ContainerPage,
        CopyFileRequest,
        CreateContainerRequest,
        CreateUploadRequest,
        DeletedContainer,
        DeletedContainerFile,
        DeletedFile,
        DeletedSkill,
        DeletedSkillVersion,
        DomainSecret,
        ExpiresAfter,
        File,
        FileExpiry,
        FilePage,
        InlineSkill,
        InlineSkillSource,
        NetworkPolicyAllowlist,
        NetworkPolicyDisabled,
        SetDefaultVersionRequest,
        SkillPage,
        SkillReference,
        SkillResource,
        SkillVersion,
        SkillVersionPage,
        Upload,
        UploadPart,
    )
    from airflow_containers.api.options import ClientOptions
    from airflow_containers.api.retry import RetryPolicy
    from airflow_containers.api.transfers import Downloaded
    from airflow_containers.api.validation import validate

_HOME = {
    "transfers": ("Downloaded",),
    "bodies": (
        "BytesSource",
        "PathSource",
    ),
    "client": ("AsyncContainersClient", "ContainersClient"),
    "errors": (
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "AmbiguousCreateError",
        "AmbiguousUploadError",
        "AuthenticationError",
        "BadRequestError",
        "ConfigurationError",
        "ConflictError",
        "ContainerFileNotFoundError",
        "ContainerGoneError",
        "ContainerNotDeletedError",
        "ContainersError",
        "InvalidRequestError",
        "InvalidResponseError",
        "LocalFileError",
        "NotFoundError",
        "PermissionDeniedError",
        "QuotaExceededError",
        "RateLimitError",
        "RedirectError",
        "ServerError",
        "SourceChangedError",
    ),
    "inline_zips": ("SkillZip",),
    "models": (
        "CompleteUploadRequest",
        "Container",
        "ContainerFile",
        "ContainerFilePage",
        "ContainerPage",
        "CopyFileRequest",
        "CreateContainerRequest",
        "CreateUploadRequest",
        "DeletedContainer",
        "DeletedContainerFile",
        "DeletedFile",
        "DeletedSkill",
        "DeletedSkillVersion",
        "DomainSecret",
        "ExpiresAfter",
        "File",
        "FileExpiry",
        "FilePage",
        "InlineSkill",
        "InlineSkillSource",
        "NetworkPolicyAllowlist",
        "NetworkPolicyDisabled",
        "SetDefaultVersionRequest",
        "SkillPage",
        "SkillReference",
        "SkillResource",
        "SkillVersion",
        "SkillVersionPage",
        "Upload",
        "UploadPart",
    ),
    "options": ("ClientOptions",),
    "retry": ("RetryPolicy",),
    "validation": ("validate",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AmbiguousCreateError",
    "AmbiguousUploadError",
    "AsyncContainersClient",
    "AuthenticationError",
    "BadRequestError",
    "BytesSource",
    "ClientOptions",
    "CompleteUploadRequest",
    "ConfigurationError",
    "ConflictError",
    "Container",
    "ContainerFile",
    "ContainerFileNotFoundError",
    "ContainerFilePage",
    "ContainerGoneError",
    "ContainerNotDeletedError",
    "ContainerPage",
    "ContainersClient",
    "ContainersError",
    "CopyFileRequest",
    "CreateContainerRequest",
    "CreateUploadRequest",
    "DeletedContainer",
    "DeletedContainerFile",
    "DeletedFile",
    "DeletedSkill",
    "DeletedSkillVersion",
    "DomainSecret",
    "Downloaded",
    "ExpiresAfter",
    "File",
    "FileExpiry",
    "FilePage",
    "InlineSkill",
    "InlineSkillSource",
    "InvalidRequestError",
    "InvalidResponseError",
    "LocalFileError",
    "NetworkPolicyAllowlist",
    "NetworkPolicyDisabled",
    "NotFoundError",
    "PathSource",
    "PermissionDeniedError",
    "QuotaExceededError",
    "RateLimitError",
    "RedirectError",
    "RetryPolicy",
    "ServerError",
    "SetDefaultVersionRequest",
    "SkillPage",
    "SkillReference",
    "SkillResource",
    "SkillVersion",
    "SkillVersionPage",
    "SkillZip",
    "SourceChangedError",
    "Upload",
    "UploadPart",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Import the module a public name lives in when the name is first used."""
    try:
        module = _MODULE_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
