"""``airflow-containers sweep``: what the sweep operator does, by hand, in an environment with Airflow.

The connection, the deployment's id and the states of runs come from that Airflow. What Airflow has to say
while it starts goes to standard error, the report alone to standard output.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import redirect_stdout
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from airflow_containers.hooks.container import ContainerHook
    from airflow_containers.identity import Run
    from airflow_containers.sweeping import AskRun, RunState, RunStates, Sweep

DONE: Final = 0
FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130


def run(
    *,
    conn_id: str | None = None,
    prefix: str | None = None,
    older_than: timedelta | None = None,
    delete: bool = False,
    deployment_id: str | None = None,
) -> int:
    """Sweep, and report on standard output.

    :param conn_id: id of the connection; ``None`` for the default one.
    :param prefix: only containers whose names start so.
    :param older_than: age above which a container is deleted whose run is not proven.
    :param delete: ``False`` is a dry run.
    :param deployment_id: this deployment's id, where its Variable cannot be read here.
    :returns: 0; 1 when some deletes or the list failed for a reason that may pass; 2 when the configuration
        or the key is wrong; 130 after an interrupt.
    """
    # Without it Airflow 3 reads no connections and Variables from the database outside of its own processes.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        from airflow_containers.api.errors import ConfigurationError, ContainersError
        from airflow_containers.hooks.container import ContainerHook

        try:
            with ContainerHook(conn_id or ContainerHook.default_conn_name) as hook:
                return _sweep(hook, out, prefix, older_than, delete=delete, given_id=deployment_id)
        except ConfigurationError as error:
            return _fail(str(error), WRONG)
        except ContainersError as error:
            return _fail(f"the sweep was not finished: {error}", FAILED if error.retryable else WRONG)
        except KeyboardInterrupt:
            return _fail("interrupted", INTERRUPTED)


def _sweep(
    hook: ContainerHook,
    out: TextIO,
    prefix: str | None,
    older_than: timedelta | None,
    *,
    delete: bool,
    given_id: str | None,
) -> int:
    from airflow_containers import sweeping
    from airflow_containers.hooks.deployment import id_in_database
    from airflow_containers.hooks.runs import ask_database, live_runs

    options = hook.get_options()
    known_id = _known_id()
    ask: AskRun = ask_database
    if given_id and known_id and given_id != known_id:
        return _fail(
            f"--deployment-id: got {given_id!r}, but this Airflow's id is {known_id!r}: the runs of another "
            "deployment are not in this database; leave the option out, or run the command there",
            WRONG,
        )
    own_id = given_id or known_id
    if own_id != id_in_database():
        ask = _without_conclusions(ask_database)
    rules = sweeping.Rules(own_id, prefix=prefix, older_than=older_than, live_runs=live_runs(own_id))
    _say(out, f"{'Deleting' if delete else 'Dry run'} at {options.base_url}, connection {hook.conn_id!r}")
    _say(out, f"prefix {prefix!r}, age limit for unknown owners: {older_than or 'none'}")
    if not rules.deployment_id:
        _say(
            out,
            "This Airflow has no deployment id, so no container's run can be proven: no task has made a "
            "container yet, or its id is elsewhere (give it with --deployment-id).",
        )
    runs = sweeping.RunStates(ask)
    sweep = sweeping.Sweep(
        list_page=lambda after: hook.list_containers(after=after, limit=sweeping.PAGE_SIZE, order="desc"),
        delete=hook.delete_container,
        runs=runs,
        rules=rules,
        dry_run=not delete,
        report=lambda row: _say(out, str(row)),
        pause=sweeping.Pacer(options.requests_per_minute).wait,
    )
    _say(out, f"\n{sweeping.TABLE_HEAD}")
    try:
        sweep.run()
    finally:
        _conclude(out, sweep, runs)
    if sweep.summary.due and not delete:
        _say(out, f"To delete them: {_command(hook.conn_id, prefix, older_than, given_id)}")
    return FAILED if sweep.summary.failed else DONE


def _conclude(out: TextIO, sweep: Sweep, runs: RunStates) -> None:
    _say(out, "")
    for line in sweep.summary.lines():
        _say(out, line)
    if runs.unanswered:
        _say(out, f"The database gave no answer about {runs.unanswered} runs, so nothing of them is deleted.")
    if runs.problem is not None:
        _say(out, f"{runs.problem}. Check `airflow db check`.")
    for error in sweep.failures:
        _say(out, f"A delete failed: {error}")


def _known_id() -> str:
    """Return the deployment's id, or an empty text. It is not made here: a new one would prove nothing."""
    from airflow_containers.hooks.deployment import id_in_database, known_deployment_id

    try:
        return known_deployment_id() or id_in_database()
    except Exception as error:  # noqa: BLE001 - the secrets backends of any deployment
        print(f"The deployment's id cannot be read ({type(error).__name__}).", file=sys.stderr)
        return ""


def _without_conclusions(ask: AskRun) -> AskRun:
    """Do not take a run that is missing for a run that was deleted.

    The id comes from an option, the environment or a secrets backend, and nothing shows that this is the
    database of that deployment.
    """
    from airflow_containers.sweeping import RunState

    def asked(run: Run) -> RunState:
        state = ask(run)
        return RunState("unknown", "is not in this database") if state == RunState.absent() else state

    return asked


def _command(
    conn_id: str, prefix: str | None, older_than: timedelta | None, deployment_id: str | None
) -> str:
    words = ["airflow-containers", "sweep", "--delete", "--conn-id", conn_id]
    if prefix is not None:
        words += ["--prefix", prefix]
    if older_than is not None:
        words += ["--older-than", f"{older_than.total_seconds():.0f}s"]
    if deployment_id is not None:
        words += ["--deployment-id", deployment_id]
    return shlex.join(words)


def _say(out: TextIO, line: str) -> None:
    # At once: a paced sweep takes long, and somebody watches.
    print(line, file=out, flush=True)


def _fail(message: str, status: int) -> int:
    print(f"airflow-containers sweep: error: {message}", file=sys.stderr)
    return status
