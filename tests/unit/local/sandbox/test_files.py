from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.sandbox_driver import ROOT, SECRET, USER, Driver

HOST_PLACES = (
    "/root",
    "/var/log",
    "/var/lib",
    "/run/lock",
    "/srv",
    "/opt",
    "/boot",
    "/sys",
    "/media",
    "/work",
)


def test_host_folders_are_not_there(server: Driver) -> None:
    """Nothing of the machine but its programs is in the tree."""
    outcome = server.run(
        f"for place in {' '.join(HOST_PLACES)} {ROOT}; do ls $place && echo HAS "
        f"$place; done; ls -A /home /run /var"
    )
    assert b"HAS" not in outcome.stdout
    assert {b"/home:", b"oai", b"/run:", b"/var:", b"tmp"} == set(outcome.stdout.split())


def test_host_files_are_not_there(server: Driver) -> None:
    """Files that hold secrets are not there, and what is in their place says nothing of the machine."""
    outcome = server.run(
        "cat /etc/shadow /etc/gshadow /etc/ssh/* /etc/machine-id /etc/pip.conf "
        "/etc/npmrc /etc/fstab /etc/resolv.conf;"
        "ls /etc/ssl/private; hostname; cat /etc/passwd"
    )
    assert b"container" == outcome.stdout.split(b"\n")[0]
    assert {b"root", b"oai", b"nobody"} == {line.split(b":")[0] for line in outcome.stdout.splitlines()[1:]}


def test_state_of_the_server(server: Driver) -> None:
    """The state directory cannot be reached by its path or out of the container's own folder."""
    (server.state / "secret").write_text(SECRET)
    (server.state / "secret").chmod(0o644)
    outcome = server.run(
        f"cat {server.state}/secret; cat /mnt/data/../secret /mnt/data/../../secret /tmp/../secret;"
        f"ln -sf {server.state}/secret /mnt/data/link; cat /mnt/data/link; ls {server.state}"
    )
    assert b"" == outcome.stdout
    assert SECRET.encode() not in outcome.stderr


def test_another_container(server: Driver) -> None:
    """One container's files and processes are not another's."""
    server.run("echo private > /mnt/data/mine; echo private > /tmp/mine", container="first")
    running = server.begin("sleep 30.4711", container="first")
    outcome = server.run(
        f"cat /mnt/data/mine /tmp/mine {server.folder('first')}/mine; ls /mnt/data "
        f"/tmp; cat /proc/*/cmdline | tr '\\0' ' '",
        container="second",
    )
    server.answer(server.order(op="kill", container="first", marker="30.4711"))
    server.outcome(running)
    assert b"mine" not in outcome.stdout.replace(b"/mine", b"")
    assert b"sleep 30.4711" not in outcome.stdout
    assert b"private" not in outcome.stdout


@pytest.mark.parametrize("name", ["environ", "root/etc/shadow", "root/etc/gshadow", "cwd/../secret"])
def test_through_proc(server: Driver, name: str) -> None:
    """No process in /proc leads to the machine's files or the server's environment."""
    outcome = server.run(f"cat /proc/*/{name}; cat /proc/1/task/*/{name}; cat /proc/self/task/*/{name}")
    assert SECRET.encode() not in outcome.stdout
    assert b"SERVER_SECRET" not in outcome.stdout
    assert b"root:" not in outcome.stdout


def test_environment(server: Driver) -> None:
    """The environment is what every sandbox has and what the command was given, no more."""
    names = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "TMPDIR",
        "PIP_BREAK_SYSTEM_PACKAGES",
        "PWD",
        "SHLVL",
        "_",
        "GIVEN",
    ]
    outcome = server.run("env", environment={"GIVEN": "a = b\n"})
    assert b"GIVEN=a = b" in outcome.stdout
    assert set(names) == {line.split("=")[0] for line in outcome.stdout.decode().splitlines() if line}


def test_descriptors(server: Driver) -> None:
    """No descriptor but the three of every program is open, also not in the first process."""
    outcome = server.run("exec 3<&-; for fd in /proc/1/fd/* /proc/self/fd/*; do readlink $fd; done")
    kinds = {line.split(b":")[0] for line in outcome.stdout.splitlines()}
    assert kinds <= {b"/dev/null", b"pipe", b"anon_inode"}, outcome.stdout
    assert b"socket" not in outcome.stdout
    names = server.run("ls /proc/$$/fd; true").stdout.split()
    assert {b"0", b"1", b"2"} == set(names) - {b"255"}


def test_mounts(server: Driver) -> None:
    """Only mounts of the sandbox are listed, and no more than the container's folders can be written."""
    outcome = server.run("cat /proc/self/mounts")
    rows = [line.split() for line in outcome.stdout.decode().splitlines()]
    writable = {row[1] for row in rows if row[3].split(",")[0] == "rw" and not row[1].startswith("/dev/")}
    assert {"/mnt/data", "/tmp", "/proc"} == writable
    known = ("/usr", "/etc/", "/mnt/data", "/tmp", "/proc", "/dev", "/bin", "/sbin", "/lib")
    assert [] == [row[1] for row in rows if row[1] != "/" and not row[1].startswith(known)]
    assert {"nosuid"} <= {option for row in rows for option in row[3].split(",")}
    assert [] == [row[1] for row in rows if "nosuid" not in row[3].split(",")]


def test_write_outside(server: Driver) -> None:
    """Nothing can be written but below /mnt/data, /tmp and the bounded /dev/shm."""
    outcome = server.run(
        "for place in / /usr /usr/bin /etc /etc/ssl/certs /dev /run /var /home "
        "/home/oai /home/oai/skills /mnt /proc /proc/sys/kernel "
        "/usr/local /opt; do echo x 2>&- > $place/written && echo WROTE $place; done; "
        "echo x >> /etc/passwd; echo x > /usr/bin/env; rm -f /etc/hosts; mv /etc/hosts /etc/other;"
        "echo core > /proc/sys/kernel/core_pattern; echo b > /proc/sysrq-trigger;"
        " echo 1 > /proc/sys/vm/drop_caches; cat /etc/hosts"
    )
    assert b"WROTE" not in outcome.stdout
    assert outcome.stdout.startswith(b"127.0.0.1 localhost")


def test_programs_stay(server: Driver) -> None:
    """What was tried on the machine's programs left them as they were."""
    before = Path("/usr/bin/env").stat()
    server.python(
        "import os\nfor p in ('/usr/bin/env', '/usr/lib', '/etc/hosts'):\n  try: "
        "os.chmod(p, 0o777)\n  except OSError: pass"
    )
    after = Path("/usr/bin/env").stat()
    assert (before.st_mode, before.st_mtime, before.st_uid) == (after.st_mode, after.st_mtime, after.st_uid)


def test_links_lead_nowhere_outside(server: Driver) -> None:
    """A link in a container is read inside: it shows the sandbox's file, whatever the machine has there."""
    outcome = server.run(
        "ln -sf /etc/passwd /mnt/data/passwd; cat /mnt/data/passwd; ln -sf /root "
        "/mnt/data/home; ls /mnt/data/home/"
    )
    assert b"oai:x:1000" in outcome.stdout
    assert b"postgres" not in outcome.stdout


def test_devices(server: Driver) -> None:
    """No device of the machine is there, and none can be made."""
    outcome = server.run(
        "ls /dev; mknod /tmp/disk b 254 0 && echo MADE; mknod /tmp/mem c 1 1 && "
        "echo MADE; cat /dev/vda /dev/sda /dev/mem /dev/kmsg"
    )
    assert b"MADE" not in outcome.stdout
    known = [
        "core",
        "fd",
        "full",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
        "console",
    ]
    assert set(outcome.stdout.decode().split()) <= set(known)


def test_control_groups_are_not_there(server: Driver) -> None:
    """The limits of a container cannot be reached from inside."""
    outcome = server.run(
        "ls /sys/fs/cgroup; mkdir -p /tmp/cg; mount -t cgroup -o memory cgroup /tmp/cg && echo MOUNTED;"
        "mount -t cgroup2 cgroup2 /tmp/cg && echo MOUNTED; ls /tmp/cg"
    )
    assert b"" == outcome.stdout


def test_owner(server: Driver) -> None:
    """Files that a command writes belong to the user that the server said, and never to root."""
    server.run("echo x > /mnt/data/owned; mkdir /mnt/data/folder")
    status = (server.folder("one") / "owned").stat()
    expected = 65532 if server.mode.is_root else USER if os.geteuid() == 0 else os.geteuid()
    assert (expected, expected) == (status.st_uid, status.st_gid)


def test_skills_are_read_only(server: Driver) -> None:
    """Skills are there to read; a further file is where it was asked for."""
    extra = server.state / "extra.pem"
    extra.write_text("certificate")
    extra.chmod(0o644)
    outcome = server.run(
        "cat /home/oai/skills/SKILL.md /etc/extra/bundle.pem; echo x > /home/oai/skills/SKILL.md;"
        " echo x > /home/oai/skills/new;"
        "echo x > /etc/extra/bundle.pem; rm /home/oai/skills/SKILL.md; cat /home/oai/skills/SKILL.md",
        skills=True,
        read_only={"/etc/extra/bundle.pem": str(extra)},
    )
    assert b"a skillcertificatea skill" == outcome.stdout
    assert "certificate" == extra.read_text()
