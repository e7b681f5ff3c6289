"""The command ``airflow-containers``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from airflow_containers import __version__
from airflow_containers.local import API_KEY_VARIABLE, MODEL_KEY_VARIABLE

DEFAULT_PORT = 8645


def default_state_dir() -> Path:
    """``$XDG_STATE_HOME/airflow-containers``, by default ``~/.local/state/airflow-containers``."""
    base = os.environ.get("XDG_STATE_HOME")
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.local/state").expanduser()
    return root / "airflow-containers"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: arguments without the program's name; ``None`` takes those of the process.
    :returns: the exit status: 0 for success; 1 when the demo failed, a sweep could not delete everything,
        a folder is no skill, or ``doctor`` found that no command can run here; 2 when ``serve`` cannot
        start, the configuration of ``sweep`` is wrong, or there is no folder to check.
    :raises SystemExit: with status 2 for wrong options, with 0 after ``--help`` and ``--version``.
    """
    arguments = _parser().parse_args(argv)
    if arguments.command == "serve":
        return _serve(arguments)
    if arguments.command == "sweep":
        from airflow_containers import _sweep

        return int(
            _sweep.run(
                conn_id=arguments.conn_id,
                prefix=arguments.prefix,
                older_than=arguments.older_than,
                delete=arguments.delete,
                deployment_id=arguments.deployment_id,
            )
        )
    if arguments.command == "skill":
        from airflow_containers import _skill_check

        return int(_skill_check.run(arguments.folders, as_json=arguments.json))
    if arguments.command == "doctor":
        from airflow_containers import _doctor

        return int(_doctor.run(as_json=arguments.json, cgroups=arguments.cgroups))
    from airflow_containers import _demo

    return int(_demo.run(keep=arguments.keep))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="airflow-containers", description="Hosted sandbox containers for Airflow.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        allow_abbrev=False,
        help="run the local server",
        description="Run a local server that speaks the Containers API, until it is interrupted.",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="TCP port, 0 for a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where the state is kept (default: $XDG_STATE_HOME/airflow-containers, "
        "or ~/.local/state/airflow-containers)",
    )
    serve.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"the only key to accept (default: ${API_KEY_VARIABLE}; without either, any key will do)",
    )
    serve.add_argument(
        "--until-eof",
        choices=("keep", "discard"),
        help="stop when standard input ends, as it does when the process that started the server is gone, "
        "and keep or discard the state then",
    )
    _add_sandbox(serve)
    _add_model(serve)
    demo = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="run an example DAG against the local server",
        description="Run an example DAG in a throw-away Airflow against the local server.",
    )
    demo.add_argument("--keep", action="store_true", help="keep the demo's files for a look at them")
    _add_sweep(commands)
    _add_skill(commands)
    _add_doctor(commands)
    return parser


def _add_sandbox(serve: argparse.ArgumentParser) -> None:
    group = serve.add_argument_group(
        "running commands", "Containers run commands where bubblewrap can isolate them; see `doctor`."
    )
    group.add_argument(
        "--sandbox",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run commands, or refuse them all",
    )
    group.add_argument(
        "--no-cgroups",
        dest="cgroups",
        action="store_false",
        help="bound memory and processes by resource limits, without control groups",
    )
    group.add_argument(
        "--max-disk", metavar="SIZE", help="what a container may write, such as 500m or 10g (default: 4g)"
    )
    group.add_argument(
        "--allow-domains",
        metavar="HOST,...",
        help="the only domains that a container may ask for, or none (default: any)",
    )
    group.add_argument(
        "--allow-private-addresses",
        action="store_true",
        help="let allowed domains be at private, loopback and link-local addresses",
    )
    group.add_argument(
        "--connect-to",
        action="append",
        default=[],
        metavar="HOST:PORT:ADDRESS:PORT",
        help="where to connect for an allowed domain, as curl's option; may be repeated",
    )
    group.add_argument(
        "--egress-ca",
        type=Path,
        metavar="FILE",
        help="PEM file of authorities to trust beside the system's, by the proxy and in containers",
    )


def _add_model(serve: argparse.ArgumentParser) -> None:
    group = serve.add_argument_group(
        "who decides what runs", "By default a script: the fenced blocks of a request's input, in order."
    )
    group.add_argument(
        "--model-url",
        metavar="URL",
        help="base URL of a server that speaks the Chat Completions or Responses API with function tools; "
        f"its key is taken from ${MODEL_KEY_VARIABLE}",
    )
    group.add_argument(
        "--model", type=_text, metavar="NAME", help="model to ask for there (default: that of each request)"
    )


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        allow_abbrev=False,
        help="say how this machine can isolate commands",
        description="Say how this machine can isolate the commands of the local server's containers, and "
        "what to install. Exits with 0 if they can run, with 1 if not.",
    )
    doctor.add_argument("--json", action="store_true", help="print the result as JSON")
    doctor.add_argument(
        "--no-cgroups",
        dest="cgroups",
        action="store_false",
        help="look at it as `serve --no-cgroups` would",
    )


def _add_skill(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    skill = commands.add_parser(
        "skill",
        allow_abbrev=False,
        help="work with skills in folders",
        description="Work with skills in folders.",
    )
    actions = skill.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        allow_abbrev=False,
        help="check that folders are skills",
        description="Check that folders are skills that the service takes, and show what would be sent. "
        "Exits with 0 if all are, with 1 if one is not, and with 2 if a path is no folder.",
    )
    check.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder that SKILL.md is in")
    check.add_argument("--json", action="store_true", help="print the results as a JSON list")


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sweep = commands.add_parser(
        "sweep",
        allow_abbrev=False,
        help="show and delete the containers of runs that are over",
        description="Show the containers of runs that are over, and with --delete delete them. Run it where "
        "Airflow's own commands work: connection, deployment id and the states of runs come from there. "
        "A live run's containers are never touched.",
    )
    sweep.add_argument(
        "--conn-id", type=_text, metavar="ID", help="connection (default: openai_containers_default)"
    )
    sweep.add_argument("--prefix", type=_text, metavar="TEXT", help="only containers whose names start so")
    sweep.add_argument(
        "--older-than",
        type=_age,
        metavar="AGE",
        help="delete containers of unknown runs as well when they are older: 90m, 2h, 1d (default: leave "
        "them); it has to be longer than the longest run of any deployment that shares the account",
    )
    sweep.add_argument("--delete", action="store_true", help="delete, instead of a dry run")
    sweep.add_argument(
        "--deployment-id",
        type=_text,
        metavar="ID",
        help="this deployment's id, where its Variable openai_containers_deployment_id cannot be read",
    )


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the option out")
    return text


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a whole number above zero with s, m, h or d, such as 2h"
        )
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found[2]]
    return timedelta(**{unit: int(found[1])})


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("expected a number from 0 to 65535")
    return port


def _serve(arguments: argparse.Namespace) -> int:
    api_key = arguments.api_key if arguments.api_key is not None else os.environ.get(API_KEY_VARIABLE)
    if api_key is not None and not api_key.strip():
        return _fail(f"--api-key: it is empty; give a key, or leave it (and ${API_KEY_VARIABLE}) out")
    model_key = os.environ.get(MODEL_KEY_VARIABLE)
    try:
        from airflow_containers.local.options import OptionError, read_options
        from airflow_containers.local.server import ServeError, serve
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed; run: pip install 'airflow-containers[local]'")
    try:
        options = read_options(
            sandbox=arguments.sandbox,
            cgroups=arguments.cgroups,
            max_disk=arguments.max_disk,
            allow_domains=arguments.allow_domains,
            allow_private=arguments.allow_private_addresses,
            connect_to=arguments.connect_to,
            egress_ca=arguments.egress_ca,
            model_url=arguments.model_url,
            model_name=arguments.model,
            model_key=model_key,
        )
        serve(
            arguments.host,
            arguments.port,
            arguments.state_dir or default_state_dir(),
            api_key,
            until_eof=arguments.until_eof,
            options=options,
        )
    except (OptionError, ServeError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"airflow-containers serve: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
