"""What commands do have."""

from __future__ import annotations

import base64
import shutil

import pytest

from tests.support.sandbox_driver import Driver

PROGRAMS = {
    "bash": "--version",
    "sh": "-c true",
    "python3": "-c 'import ssl, sqlite3, venv, json, ctypes'",
    "curl": "--version",
    "node": "-e 'console.log(1)'",
    "java": "-version",
    "pip": "--version",
    "git": "--version",
    "perl": "-e 1",
    "awk": "BEGIN{}",
    "tar": "--version",
    "unzip": "-v",
    "gcc": "--version",
}
HERE = [name for name in PROGRAMS if shutil.which(name, path="/usr/local/bin:/usr/bin")]


@pytest.mark.parametrize("program", HERE)
def test_programs(server: Driver, program: str) -> None:
    """The system's programs run."""
    outcome = server.run(f"{program} {PROGRAMS[program]}", memory=2 << 30)
    assert 0 == outcome.exit_code, outcome.stderr


def test_user(server: Driver) -> None:
    """Commands are a user with a name, a home that can be written, and the data folder as their own."""
    outcome = server.run("whoami; echo ~; pwd; id -u; id -g; touch ~/x && echo $LANG")
    assert b"oai\n/tmp\n/mnt/data\n1000\n1000\nC.UTF-8\n" == outcome.stdout


def test_exit_code_and_streams(server: Driver) -> None:
    """Exit code, stdout and stderr are the command's."""
    outcome = server.run("echo out; echo err >&2; exit 3")
    assert (3, "exit", None, b"out\n", b"err\n") == (
        outcome.exit_code,
        outcome.ended,
        outcome.reason,
        outcome.stdout,
        outcome.stderr,
    )
    assert 143 == server.run("kill -TERM $$").exit_code


def test_program_that_is_not_there(server: Driver) -> None:
    """A program that is not there is the command's failure, not the sandbox's."""
    outcome = server.outcome(server.order(op="run", argv=["no-such-program"]))
    assert (127, "exit") == (outcome.exit_code, outcome.ended)
    assert b"no-such-program" in outcome.stderr


def test_standard_input(server: Driver) -> None:
    """Standard input has what was given, also a lot of it, or nothing."""
    text = bytes(range(256)) * 4096
    assert b"1048576\n" == server.run("wc -c", stdin=base64.b64encode(text).decode()).stdout
    assert b"0\n" == server.run("wc -c").stdout


def test_files_stay(server: Driver) -> None:
    """What one command leaves in /mnt/data and /tmp the next one finds; /dev/shm starts empty."""
    server.run("echo data > /mnt/data/kept; echo tmp > /tmp/kept; echo shm > /dev/shm/kept", container="stay")
    outcome = server.run("cat /mnt/data/kept /tmp/kept /var/tmp/kept; ls /dev/shm", container="stay")
    assert b"data\ntmp\ntmp\n" == outcome.stdout
    assert "data\n" == (server.folder("stay") / "kept").read_text()


def test_devices(server: Driver) -> None:
    """The usual devices work."""
    outcome = server.run(
        "echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom "
        "| wc -c; echo y > /dev/stdout"
    )
    assert b"4\n4\ny\n" == outcome.stdout
    assert b"ok\n" == server.python("import multiprocessing as m\nm.Lock(); print('ok')").stdout


def test_names(server: Driver) -> None:
    """Localhost has an address, and other names fail at once."""
    code = (
        "import socket\nprint(socket.gethostbyname('localhost'))\ntry: socket.gethostbyname('example.com')\n"
        "except OSError: print('unknown')"
    )
    outcome = server.python(code, timeout=10)
    assert b"127.0.0.1\nunknown\n" == outcome.stdout


def test_certificates(server: Driver) -> None:
    """Python's ssl finds the system's certificates, if it has any."""
    outcome = server.run(
        "ls /etc/ssl/certs /etc/pki/tls/certs | wc -l; python3 -c 'import ssl; "
        "print(len(ssl.create_default_context().get_ca_certs()) >= 0)'"
    )
    assert outcome.stdout.endswith(b"True\n")


def test_many_at_once(server: Driver) -> None:
    """A hundred commands at once in ten containers all succeed."""
    numbers = [server.begin(f"echo {n}", container=f"many-{n % 10}") for n in range(100)]
    outcomes = [server.outcome(number) for number in numbers]
    assert [f"{n}\n".encode() for n in range(100)] == [outcome.stdout for outcome in outcomes]
    assert {0} == {outcome.exit_code for outcome in outcomes}


def test_odd_arguments(server: Driver) -> None:
    """Arguments and values of variables go in as they are."""
    odd = ["", " ", "\n", "ä€😀", "-c", "--", "'\"", "x" * 100_000]
    code = "import sys, os; print(sys.argv[1:] == eval(os.environ['ODD']))"
    outcome = server.outcome(
        server.order(op="run", argv=["python3", "-c", code, *odd], environment={"ODD": repr(odd)})
    )
    assert b"True\n" == outcome.stdout, outcome.stderr
