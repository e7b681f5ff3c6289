from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.sandbox_driver import Driver


@pytest.fixture(scope="module")
def host_port() -> Iterator[int]:
    """A TCP and UDP service of the machine, on every address."""
    with socket.create_server(("0.0.0.0", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        port = listener.getsockname()[1]
        datagrams.bind(("0.0.0.0", port))
        datagrams.settimeout(0.5)
        listener.settimeout(0.5)
        reached: list[object] = []
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                for wait in (listener.accept, lambda: datagrams.recv(10)):
                    with contextlib.suppress(TimeoutError):
                        reached.append(wait())

        thread = threading.Thread(target=accept)
        thread.start()
        yield port
        done.set()
        thread.join()
        assert [] == reached


def addresses() -> list[str]:
    """Addresses that this machine can be reached at from itself."""
    found = {"127.0.0.1", "127.0.1.1", "0.0.0.0", "10.0.0.1", "172.17.0.1", "169.254.169.254"}
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            found.add(probe.getsockname()[0])
        except OSError:
            pass
    return sorted(found)


@pytest.mark.parametrize("listen", [False, True], ids=["no listener", "listener"])
@pytest.mark.parametrize("address", addresses())
def test_tcp(server: Driver, host_port: int, address: str, listen: bool) -> None:
    """A TCP service of the machine cannot be reached at any of its addresses."""
    code = f"import socket\nsocket.create_connection(({address!r}, {host_port}), 2)\nprint('REACHED')"
    outcome = server.python(code, listen=listen)
    assert b"" == outcome.stdout
    assert b"Network is unreachable" in outcome.stderr or b"refused" in outcome.stderr


@pytest.mark.parametrize("listen", [False, True], ids=["no listener", "listener"])
def test_udp(server: Driver, host_port: int, listen: bool) -> None:
    """No datagram reaches the machine, a name server or a multicast group."""
    targets = [*((address, host_port) for address in addresses()), ("192.0.2.1", 53), ("224.0.0.251", 5353)]
    code = f"""
import socket
for target in {targets}:
    try:
        socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", target)
        print("sent", target[0])
    except OSError as error:
        print(error.strerror)
"""
    outcome = server.python(code, listen=listen)
    sent = {line.split()[1] for line in outcome.stdout.decode().splitlines() if line.startswith("sent")}
    # To itself.
    assert sent <= {"127.0.0.1", "127.0.1.1", "0.0.0.0"}


@pytest.mark.parametrize(
    "make",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x0300)",
        "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "socket.socket(44, socket.SOCK_RAW)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)",
        "socket.socket(socket.AF_BLUETOOTH, socket.SOCK_RAW, 1)",
    ],
)
@pytest.mark.parametrize("listen", [False, True], ids=["no listener", "listener"])
def test_other_sockets(server: Driver, make: str, listen: bool) -> None:
    """No raw, packet, VM, crypto, XDP, audit, netfilter or Bluetooth socket can be had."""
    outcome = server.python(f"import socket\n{make}\nprint('MADE')", listen=listen)
    assert b"" == outcome.stdout
    assert b"Error" in outcome.stderr


@pytest.mark.parametrize("listen", [False, True], ids=["no listener", "listener"])
def test_interfaces(server: Driver, listen: bool) -> None:
    """There is only the loopback interface, no route, and no other can be made."""
    outcome = server.run(
        "tail -n +3 /proc/net/dev | cut -d: -f1; tail -n +2 /proc/net/route; ip "
        "link add dummy0 type dummy; ip link set lo down;"
        "ip route add default dev lo; ip addr add 192.0.2.1/24 dev lo; ip link | grep -c mtu",
        listen=listen,
    )
    assert [b"lo", b"1"] == outcome.stdout.split()


def test_listener(server: Driver) -> None:
    """With a listener there is one way out: 127.0.0.1:3128, which the server's process answers."""
    code = """
import socket
print(socket.create_connection(("127.0.0.1", 3128), 5).makefile().read())
try: socket.create_connection(("127.0.0.1", 3129), 5)
except OSError as error: print(error.strerror)
"""
    assert b"hello from outside\nConnection refused\n" == server.python(code, listen=True).stdout


def test_no_listener(server: Driver) -> None:
    """Without one, nothing answers there, also while another command of the container has one."""
    running = server.begin("sleep 2.25", listen=True)
    outcome = server.python("import socket\nsocket.create_connection(('127.0.0.1', 3128), 5)")
    assert b"refused" in outcome.stderr or b"unreachable" in outcome.stderr
    assert 0 == server.outcome(running).exit_code


def test_listeners_of_two_containers(server: Driver) -> None:
    """Two containers have a listener at the same address, each its own."""
    code = "import socket\nprint(socket.create_connection(('127.0.0.1', 3128), 5).makefile().read())"
    argv = ["python3", "-c", code]
    numbers = [server.order(op="run", argv=argv, container=name, listen=True) for name in ("a", "b", "c")]
    assert {b"hello from outside\n"} == {server.outcome(number).stdout for number in numbers}
