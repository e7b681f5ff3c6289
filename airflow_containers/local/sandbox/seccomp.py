"""The filter of system calls, as a program for the kernel."""

from __future__ import annotations

import errno
import resource
import socket
import tempfile

_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)

_REFUSED = (
    # keys of the kernel, which no namespace keeps apart
    *("add_key", "keyctl", "request_key"),
    # other processes' insides
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise"),
    # mounts and roots
    *("mount", "umount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("move_mount", "open_tree", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "quotactl"),
    *("quotactl_fd", "swapon", "swapoff"),
    # new namespaces
    *("unshare", "setns"),
    # large and often attacked parts of the kernel
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("lookup_dcookie", "vmsplice"),
    # the machine
    *("acct", "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("create_module", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime"),
    *("sethostname", "setdomainname", "syslog", "nfsservctl", "iopl", "ioperm", "modify_ldt", "uselib"),
    *("vhangup", "fanotify_init"),
    # memory of other processors' nodes
    *("move_pages", "migrate_pages", "mbind", "set_mempolicy"),
)


def build_filter(*, counts_memory: bool = True) -> tuple[bytes | None, str | None]:  # noqa: C901 - one rule after the other
    """Build the filter.

    :param counts_memory: whether a control group counts all memory, also what belongs to no process.
    :returns: the program, or ``None`` and why there is none.
    """
    try:
        import pyseccomp  # type: ignore[import-untyped]
    except ImportError:
        return None, "the package pyseccomp is missing; pip install 'airflow-containers[sandbox]'"
    except (OSError, RuntimeError):
        return None, "libseccomp is missing; install it (Debian: libseccomp2)"
    refuse = pyseccomp.ERRNO(errno.EPERM)
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    try:
        for name in _REFUSED if counts_memory else (*_REFUSED, "shmget"):
            try:
                number = pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)
            except (OSError, ValueError):
                continue
            # Negative: another architecture has it.
            if number >= 0:
                rules.add_rule(refuse, name)
        # Threads and processes need `clone`; libraries go back to it when `clone3`, whose flags no filter can
        # read, is not there.
        rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
        for bit in (1 << n for n in range(32)):
            if bit & _NAMESPACES:
                rules.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, bit, bit))
        # The limit on images of crashed programs stays, which a lower one would not do; see `spare`.
        done = pyseccomp.ERRNO(0)
        core = int(resource.RLIMIT_CORE)
        given = pyseccomp.Arg(2, pyseccomp.NE, 0)
        rules.add_rule(done, "setrlimit", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, 0xFFFFFFFF, core))
        rules.add_rule(done, "prlimit64", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, core), given)
        for request in (_TIOCSTI, _TIOCLINUX):
            rules.add_rule(refuse, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, request))
        refuse_family = pyseccomp.ERRNO(errno.EAFNOSUPPORT)
        low = 0
        for family in sorted(int(f) for f in _FAMILIES):
            for number in range(low, family):
                rules.add_rule(refuse_family, "socket", pyseccomp.Arg(0, pyseccomp.EQ, number))
            low = family + 1
        rules.add_rule(refuse_family, "socket", pyseccomp.Arg(0, pyseccomp.GE, low))
        # Of the kernel's own channels, only the one that lists interfaces and routes.
        netlink = pyseccomp.Arg(0, pyseccomp.EQ, int(socket.AF_NETLINK))
        rules.add_rule(refuse_family, "socket", netlink, pyseccomp.Arg(2, pyseccomp.NE, 0))
        with tempfile.TemporaryFile() as file:
            rules.export_bpf(file)
            file.seek(0)
            return file.read(), None
    except (OSError, ValueError) as error:
        return None, f"libseccomp could not build the filter: {error}"
