"""The operations of the API, each written once.

A function takes typed arguments, checks them, and returns a :class:`Call`; the clients only send it.
Paths and parameters are those of the published OpenAPI document.
"""

from __future__ import annotations

from airflow_containers.api.endpoints._call import (
    MAX_ID_LENGTH,
    MAX_PAGE_SIZE,
    Call,
    Order,
    ResponseT,
)
from airflow_containers.api.endpoints._containers import (
    create_container,
    delete_container,
    list_containers,
    retrieve_container,
)
from airflow_containers.api.endpoints._files import (
    CONTENT_HEADERS,
    MAX_FILES_PAGE_SIZE,
    add_upload_part,
    cancel_upload,
    complete_upload,
    container_file_content,
    copy_file_into_container,
    create_container_file,
    create_file,
    create_upload,
    delete_container_file,
    delete_file,
    file_content,
    list_container_files,
    list_files,
    retrieve_container_file,
    retrieve_file,
)
from airflow_containers.api.endpoints._skills import (
    create_skill,
    create_skill_version,
    delete_skill,
    delete_skill_version,
    list_skill_versions,
    list_skills,
    retrieve_skill,
    retrieve_skill_version,
    set_default_skill_version,
    skill_content,
    skill_version_content,
)

__all__ = [
    "CONTENT_HEADERS",
    "MAX_FILES_PAGE_SIZE",
    "MAX_ID_LENGTH",
    "MAX_PAGE_SIZE",
    "Call",
    "Order",
    "ResponseT",
    "add_upload_part",
    "cancel_upload",
    "complete_upload",
    "container_file_content",
    "copy_file_into_container",
    "create_container",
    "create_container_file",
    "create_file",
    "create_skill",
    "create_skill_version",
    "create_upload",
    "delete_container",
    "delete_container_file",
    "delete_file",
    "delete_skill",
    "delete_skill_version",
    "file_content",
    "list_container_files",
    "list_containers",
    "list_files",
    "list_skill_versions",
    "list_skills",
    "retrieve_container",
    "retrieve_container_file",
    "retrieve_file",
    "retrieve_skill",
    "retrieve_skill_version",
    "set_default_skill_version",
    "skill_content",
    "skill_version_content",
]
