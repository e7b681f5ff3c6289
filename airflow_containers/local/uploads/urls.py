"""The routes of ``/v1/uploads``."""

from __future__ import annotations

from airflow_containers.local.http import Endpoint
from airflow_containers.local.uploads.responses import UploadResponses

_UPLOAD = "/v1/uploads/{upload_id}"


def endpoints(responses: UploadResponses) -> list[Endpoint]:
    """The route table."""
    return [
        Endpoint("POST", "/v1/uploads", responses.create),
        Endpoint("POST", f"{_UPLOAD}/parts", responses.add_part, streams=True),
        Endpoint("POST", f"{_UPLOAD}/complete", responses.complete),
        Endpoint("POST", f"{_UPLOAD}/cancel", responses.cancel),
    ]
