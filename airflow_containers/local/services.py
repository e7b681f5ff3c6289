"""All services of one server, wired together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from airflow_containers.local.admin import urls as admin_urls
from airflow_containers.local.admin.models import AdminBackend
from airflow_containers.local.admin.responses import AdminResponses
from airflow_containers.local.blobs import Blobs
from airflow_containers.local.clock import Clock
from airflow_containers.local.commands import ContainerCommands
from airflow_containers.local.container_files import urls as container_file_urls
from airflow_containers.local.container_files.models import ContainerFileBackend
from airflow_containers.local.container_files.responses import ContainerFileResponses
from airflow_containers.local.containers import urls as container_urls
from airflow_containers.local.containers.models import ContainerBackend, Quirks
from airflow_containers.local.containers.responses import ContainerResponses
from airflow_containers.local.containers.staging import Stager
from airflow_containers.local.egress.gateway import EgressGateway
from airflow_containers.local.expiry import Housekeeper
from airflow_containers.local.faults import FaultBook
from airflow_containers.local.files import urls as file_urls
from airflow_containers.local.files.models import FileBackend
from airflow_containers.local.files.responses import FileResponses
from airflow_containers.local.http import Router
from airflow_containers.local.ids import Ids
from airflow_containers.local.journal import Journal
from airflow_containers.local.options import ServerOptions
from airflow_containers.local.responses import urls as response_urls
from airflow_containers.local.responses.engine import Engine
from airflow_containers.local.responses.environments import Environments
from airflow_containers.local.responses.model import Model
from airflow_containers.local.responses.models import ResponseBackend
from airflow_containers.local.responses.responses import ResponseResponses
from airflow_containers.local.responses.scripted import ScriptedModel
from airflow_containers.local.sandbox.runner import Sandbox
from airflow_containers.local.skills import urls as skill_urls
from airflow_containers.local.skills.models import SkillBackend
from airflow_containers.local.skills.responses import SkillResponses
from airflow_containers.local.store import Store
from airflow_containers.local.uploads import urls as upload_urls
from airflow_containers.local.uploads.models import UploadBackend
from airflow_containers.local.uploads.responses import UploadResponses


class Services:
    """The services of one server.

    :ivar api: the routes of ``/v1/``.
    :ivar admin: the routes of ``/_local/``.
    """

    def __init__(
        self, store: Store, faults: FaultBook, journal: Journal, options: ServerOptions | None = None
    ) -> None:
        options = options or ServerOptions()
        self.clock = clock = Clock()
        self.ids = ids = Ids(store)
        self.blobs = blobs = Blobs(store.path)
        quirks = Quirks()
        self.containers = containers = ContainerBackend(
            store, blobs, clock, ids, quirks, options.allow_domains
        )
        files = FileBackend(store, blobs, clock, ids)
        container_files = ContainerFileBackend(store, blobs, clock, ids, containers, files)
        uploads = UploadBackend(store, blobs, clock, ids, files)
        skills = SkillBackend(store, blobs, clock, ids)
        sandbox = Sandbox(limits=options.limits, cgroups=options.cgroups, enabled=options.sandbox)
        gateway = EgressGateway(store.path / "egress", options.egress, clock.now)
        self.commands = commands = ContainerCommands(sandbox, gateway, containers, container_files, blobs)
        containers.began = commands.begin
        stager = Stager(blobs, files, container_files, skills)
        environments = Environments(containers, container_files, commands, stager)
        responses = ResponseBackend(store, clock, ids)
        self.engine = engine = Engine(responses, environments, commands, _model(options))
        self.housekeeper = Housekeeper(
            [containers.sweep, files.sweep, uploads.sweep, skills.sweep, responses.sweep]
        )
        backend = AdminBackend(
            store,
            blobs,
            clock,
            ids,
            quirks,
            faults,
            journal,
            self.housekeeper,
            [engine.end_all, commands.end_all],
        )
        # A further service is a package like `containers`, and one more line here.
        self.api = Router(
            [
                *container_urls.endpoints(ContainerResponses(containers, clock, stager)),
                *container_file_urls.endpoints(ContainerFileResponses(container_files, blobs, quirks)),
                *file_urls.endpoints(FileResponses(files, blobs, quirks)),
                *upload_urls.endpoints(UploadResponses(uploads, blobs)),
                *response_urls.endpoints(ResponseResponses(responses, engine, environments)),
                *skill_urls.endpoints(SkillResponses(skills, blobs, quirks)),
            ]
        )
        self.admin = Router(
            admin_urls.endpoints(
                AdminResponses(backend, blobs, containers, container_files, files, skills, commands, gateway)
            )
        )
        self.housekeeper.sweep()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep house, say how commands are isolated, and end them with the context."""
        announcing = asyncio.create_task(self.commands.announce())
        try:
            async with self.housekeeper.running():
                yield
        finally:
            announcing.cancel()
            await asyncio.wait((announcing,))
            await self.engine.stop()
            await self.commands.stop()


def _model(options: ServerOptions) -> Model:
    """What decides what responses run."""
    if options.model_url is None:
        return ScriptedModel()
    # It loads a whole HTTP client.
    from airflow_containers.local.responses.remote_model import RemoteModel

    return RemoteModel(options.model_url, options.model_key, options.model_name)
