"""Commands in containers of the local server, over real connections: what they see, and how they end."""

from __future__ import annotations

import contextlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from airflow_containers.testing import LocalServer, LocalServerError
from tests.support.sandboxes import client_of, create, files_of, processes_with, until


@pytest.fixture
def server(containers_server: LocalServer) -> LocalServer:
    """A server, emptied."""
    return containers_server


@pytest.fixture
def client(server: LocalServer) -> Iterator[httpx.Client]:
    """A client for it."""
    with client_of(server) as client:
        yield client


@pytest.fixture
def sleeper() -> str:
    """The name of a command that sleeps, by which its processes are found."""
    return f"sleep {3600 + uuid4().int % 100_000}.{uuid4().int % 10**9}"


def in_background(
    server: LocalServer, container: str, command: str, reasons: list[str | None] | None = None
) -> threading.Thread:
    """Run a command, and do not care what becomes of the request, but for why it was ended."""

    def run() -> None:
        with contextlib.suppress(LocalServerError):
            result = server.run(container, command, timeout=600)
            if reasons is not None:
                reasons.append(result.reason)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class TestFiles:
    """What commands and the files API see of each other."""

    def test_written_file_is_listed_and_downloaded(self, server: LocalServer, client: httpx.Client) -> None:
        """A file below /mnt/data is in the list with source assistant, and its bytes are those written."""
        container = create(client)
        result = server.run(container, "mkdir -p out && printf 'a,b\\n\\xff' > out/report.csv && pwd")

        assert ("/mnt/data\n", 0) == (result.stdout, result.exit_code)
        file = files_of(client, container)["/mnt/data/out/report.csv"]
        assert ("assistant", 5) == (file["source"], file["bytes"])
        content = client.get(f"/containers/{container}/files/{file['id']}/content")
        assert b"a,b\n\xff" == content.content

    def test_uploaded_file_is_seen(self, server: LocalServer, client: httpx.Client) -> None:
        """An upload is at its path, may be changed there, and keeps its id."""
        container = create(client)
        file = client.post(f"/containers/{container}/files", files={"file": ("in.csv", b"1\n")}).json()
        result = server.run(container, f"cat {file['path']}; echo 22 >> {file['path']}")

        assert "1\n" == result.stdout
        after = files_of(client, container)[file["path"]]
        assert (file["id"], "user", 5) == (after["id"], after["source"], after["bytes"])

    def test_deleted_file_is_gone_from_both(self, server: LocalServer, client: httpx.Client) -> None:
        """What a command removes leaves the list; what the API removes leaves the folder."""
        container = create(client)
        server.run(container, "touch mine yours")
        files = files_of(client, container)
        client.delete(f"/containers/{container}/files/{files['/mnt/data/mine']['id']}")
        result = server.run(container, "ls; rm yours")

        assert "yours\n" == result.stdout
        assert {} == files_of(client, container)

    def test_links_lead_nowhere(self, server: LocalServer, client: httpx.Client, tmp_path: Path) -> None:
        """Links to files and folders of the host are not followed, whoever asks for what is behind them."""
        secret = tmp_path / "secret.txt"
        secret.write_text("host")
        container = create(client)
        server.run(
            container, f"ln -s {secret} link; ln -s {tmp_path} folder; ln -s /etc/passwd passwd; touch a"
        )

        assert {"/mnt/data/a"} == set(files_of(client, container))
        server.add_container_file(container, "/mnt/data/folder/new.txt", b"x")
        assert [secret] == list(tmp_path.iterdir())

    def test_skills_are_there_and_read_only(self, server: LocalServer, client: httpx.Client) -> None:
        """A skill is unpacked under /home/oai/skills, and cannot be changed."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("report/SKILL.md", "---\nname: report\ndescription: d\n---\n")
            archive.writestr("report/run.sh", "echo from the skill\n")
        server.add_skill("skill_1", content.getvalue())
        container = create(client, skills=[{"type": "skill_reference", "skill_id": "skill_1"}])
        result = server.run(
            container, "sh /home/oai/skills/report-1/run.sh; echo x > /home/oai/skills/report-1/x"
        )

        assert "from the skill\n" == result.stdout
        assert 0 != result.exit_code

    def test_tmp_is_kept_and_private(self, server: LocalServer, client: httpx.Client) -> None:
        """/tmp is the same folder for the next command, is in no list, and another container has its own."""
        one, two = create(client), create(client)
        server.run(one, "echo mine > /tmp/note")

        assert "mine\n" == server.run(one, "cat /tmp/note").stdout
        assert "" == server.run(two, "ls -A /tmp /mnt/data | grep -v ':' | grep . || true").stdout
        assert {} == files_of(client, one)

    def test_a_long_command(self, server: LocalServer, client: httpx.Client) -> None:
        """A command that is longer than a command line may be runs all the same."""
        text = "x" * 300_000
        result = server.run(create(client), f"cat <<'EOF' | wc -c\n{text}\nEOF")

        assert "300001" == result.stdout.strip()


class TestEnds:
    """However a container ends, what runs in it ends first."""

    @pytest.mark.parametrize("end", ["delete", "expiry", "reset"])
    def test_nothing_runs_on(self, end: str, server: LocalServer, client: httpx.Client, sleeper: str) -> None:
        """After the end there is no process, no byte, and the request that waited has its answer."""
        container = create(client)
        reasons: list[str | None] = []
        command = f"(setsid {sleeper} &) ; touch started; {sleeper}"
        waiting = in_background(server, container, command, reasons)
        assert until(lambda: len(processes_with(sleeper)) >= 2)

        if end == "delete":
            client.delete(f"/containers/{container}")
        elif end == "expiry":
            server.advance_clock(1201)
        else:
            server.reset()

        assert until(lambda: not processes_with(sleeper), 5)
        waiting.join(10)
        assert not waiting.is_alive()
        assert ["expired" if end == "expiry" else "deleted"] == reasons
        assert not (server.state_dir / "containers" / container).exists()

    def test_nothing_begins_after_the_end(
        self, server: LocalServer, client: httpx.Client, sleeper: str
    ) -> None:
        """A command that was still being prepared when its container was deleted does not run."""
        padding = "#" * 3_000_000
        for delay in range(12):
            container = create(client)
            waiting = in_background(server, container, f"{sleeper} {padding}")
            time.sleep(0.004 * delay)
            client.delete(f"/containers/{container}")
            waiting.join(2)
            # What expires is looked for every few seconds, which would end it too, but later.
            assert not waiting.is_alive()
            assert not (server.state_dir / "containers" / container).exists()

    def test_a_timeout_ends_children_too(
        self, server: LocalServer, client: httpx.Client, sleeper: str
    ) -> None:
        """What a command left in the background does not outlive it."""
        result = server.run(create(client), f"(setsid {sleeper} &); echo begun; {sleeper}", timeout=1)

        assert ("timeout", None, "begun\n") == (result.ended, result.exit_code, result.stdout)
        assert until(lambda: not processes_with(sleeper), 2)

    def test_background_children_end_with_the_command(
        self, server: LocalServer, client: httpx.Client, sleeper: str
    ) -> None:
        """A command is over when it says so; what it started and left is ended."""
        result = server.run(create(client), f"{sleeper} & echo done", timeout=30)

        assert ("done\n", 0) == (result.stdout, result.exit_code)
        assert result.seconds < 10
        assert until(lambda: not processes_with(sleeper), 2)

    def test_death_of_the_server(self, tmp_path: Path, sleeper: str) -> None:
        """A server that is killed leaves no process; the next one has the files, and runs commands there."""
        with LocalServer(tmp_path / "state") as server, client_of(server) as client:
            container = create(client)
            server.run(container, "echo kept > kept.txt")
            in_background(server, container, f"(setsid {sleeper} &); {sleeper}")
            assert until(lambda: len(processes_with(sleeper)) >= 2)
            server.kill()
            assert until(lambda: not processes_with(sleeper), 5)
            server.restart()

            assert "kept\n" == server.run(container, "cat kept.txt").stdout
            assert {"/mnt/data/kept.txt"} == set(files_of(client, container))

    def test_no_process_of_an_idle_container(self, server: LocalServer, client: httpx.Client) -> None:
        """A container that nothing runs in is a folder, or not even that."""
        container = create(client)
        server.run(container, "true")

        assert until(lambda: not processes_with(container), 5)


class TestActivity:
    """Commands and the idle clock."""

    def test_a_command_is_activity(self, server: LocalServer, client: httpx.Client) -> None:
        """It refreshes the idle clock, as any operation on a container does."""
        container = create(client)
        server.advance_clock(1000)
        server.run(container, "true")
        server.advance_clock(1000)

        assert "running" == server.containers()[0]["status"]

    def test_expired_and_unknown(self, server: LocalServer, client: httpx.Client) -> None:
        """Neither runs anything, and the errors are the service's."""
        container = create(client)
        server.advance_clock(1201)
        with pytest.raises(LocalServerError, match="Container is expired"):
            server.run(container, "true")
        with pytest.raises(LocalServerError, match="not found"):
            server.run("cntr_" + "0" * 48, "true")


def test_many_at_once(server: LocalServer, client: httpx.Client) -> None:
    """Commands of many containers run side by side, each in its own folder."""
    containers = [create(client) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        results = list(
            pool.map(lambda one: server.run(one, f"echo {one} > me; sleep 0.5; cat me"), containers)
        )

    assert [f"{container}\n" for container in containers] == [result.stdout for result in results]


class TestWithoutIsolation:
    """Where commands cannot be isolated, or shall not run."""

    @pytest.mark.parametrize(
        ("options", "words"),
        [(["--no-sandbox"], "--no-sandbox")],
    )
    def test_state_is_served_and_nothing_runs(
        self, options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Containers and files are there; a command is refused with the reason."""
        with LocalServer(options=options) as server, client_of(server) as client:
            container = create(client)
            assert (
                200 == client.post(f"/containers/{container}/files", files={"file": ("a", b"x")}).status_code
            )
            with pytest.raises(LocalServerError, match=words):
                server.run(container, "touch ran")
            problem = server.isolation()["problem"]
            assert isinstance(problem, str)
            assert words in problem
            assert 1 == len(files_of(client, container))


def test_without_the_packages_of_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands with a network are refused with what to install, though their containers are there."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['trustme'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with LocalServer() as server, client_of(server) as client:
        policy = {"type": "allowlist", "allowed_domains": ["api.example.com"]}
        container = create(client, network_policy=policy)
        with pytest.raises(LocalServerError, match=r"trustme: pip install 'airflow-containers\[sandbox\]'"):
            server.run(container, "touch ran")
        assert {} == files_of(client, container)
        assert "hi\n" == server.run(create(client), "echo hi").stdout


def test_the_server_says_how_it_isolates(server: LocalServer) -> None:
    """One line of standard error says it, and the admin endpoint says the same in fields."""
    report: dict[str, Any] = server.isolation()

    assert until(lambda: "commands: isolated by bubblewrap" in server.stderr, 10)
    assert report["problem"] is None
    assert report["memory"] in server.stderr
