"""What does the master say: would it take this experiment, has it created it, is it away?"""

from __future__ import annotations

import contextlib
import io
import pathlib
from typing import TYPE_CHECKING

from determined.common.api import bindings, errors
from determined.experimental.client import Determined

from lightning_adapter.errors import LightningAdapterError, SubmissionError, guess
from lightning_adapter.platform import login
from lightning_adapter.versions import determined_client

if TYPE_CHECKING:
    from determined.common.api import Session


class Master:
    """A master that has answered, and knows who asks.

    Args:
        client: Determined's own client, logged in.
        url: for people.
    """

    def __init__(self, client: Determined, url: str) -> None:
        self._client = client
        self.url = url
        self.session: Session = determined_client.session(client)

    @property
    def user(self) -> str:
        """Under which name experiments are created."""
        return self._client.get_session_username()

    def page(self, experiment: int) -> str:
        """Where an experiment is seen in a browser."""
        return f"{self.url}/det/experiments/{experiment}"

    def check_project(self, workspace: str, project: str) -> None:
        """Refuse a workspace or a project that is not there.

        Raises:
            SubmissionError: with a guess at what was meant.
        """
        try:
            workspaces = {each.name: each.id for each in bindings.get_GetWorkspaces(self.session, limit=0).workspaces}
            if workspace not in workspaces:
                raise SubmissionError(f"--project: {_no_such('workspace', workspace, list(workspaces))}")
            answer = bindings.get_GetWorkspaceProjects(self.session, id=workspaces[workspace], limit=0)
        except login.FAILED as error:
            raise SubmissionError(f"--project: {self._words(error)}") from error
        projects = [each.name for each in answer.projects]
        if project not in projects:
            raise SubmissionError(f"--project: {_no_such(f'project in the workspace {workspace}', project, projects)}")

    def validate(self, config: str) -> None:
        """Let the master check a configuration, as it would for an experiment, and create nothing.

        Raises:
            SubmissionError: in the master's words.
        """
        asked = bindings.v1CreateExperimentRequest(config=config, validateOnly=True, activate=False)
        try:
            self.session.post("api/v1/experiments", json=asked.to_json(True))
        except login.FAILED as error:
            raise SubmissionError(f"the master refuses the configuration: {self._words(error)}") from error

    def create(self, config: pathlib.Path, directory: pathlib.Path) -> int:
        """Create an experiment, and start it; return its number.

        Args:
            config: a YAML file.
            directory: what its containers get.

        Raises:
            SubmissionError: nothing was created.
            LightningAdapterError: the connection broke, and nobody knows.
        """
        try:
            # it counts the files on one line of the terminal while it reads them, which takes no second here
            with contextlib.redirect_stdout(io.StringIO()):
                return self._client.create_experiment(config, directory).id
        except (errors.APIException, errors.ForbiddenException, errors.UnauthenticatedException) as error:
            raise SubmissionError(f"the master refuses the experiment: {self._words(error)}") from error
        except (*login.FAILED, KeyboardInterrupt) as error:
            why = "was interrupted" if isinstance(error, KeyboardInterrupt) else f"broke off ({self._words(error)})"
            raise LightningAdapterError(
                f"the submission {why}, and the master may have created the experiment all the same. Look before you submit "
                f"again: det experiment list, or {self.url}/det"
            ) from error

    def _words(self, error: Exception) -> str:
        return words(error, self.url)


def connect() -> Master:
    """Log in as Determined's own commands do.

    Raises:
        ConfigurationError: no master, no login, or a wrong one.
    """
    return Master(login.connect(), login.address())


def is_away(error: Exception) -> bool:
    """Tell whether a request failed since the master is away for a while; it may have come back the next time."""
    if isinstance(error, (errors.ForbiddenException, errors.UnauthenticatedException, errors.NotFoundException)):
        return False
    return not isinstance(error, errors.APIException) or error.status_code >= 500 or error.status_code == 429


def words(error: Exception, url: str) -> str:
    """Return what a failed request means, in a line or two."""
    if isinstance(error, errors.UnauthenticatedException):
        return f"the master at {url} does not know you any more. To fix, type det user login"
    if isinstance(error, errors.ForbiddenException):
        return f"the master at {url} does not allow this to you: {' '.join(str(error).split())}"
    if isinstance(error, errors.MasterNotFoundException):
        return f"the master at {url} cannot be reached ({login.reason(error)})"
    # the master repeats a line for each part of the configuration that it concerns
    lines = dict.fromkeys(" ".join(line.split()) for line in str(error).splitlines())
    return " ".join(filter(None, lines)) or type(error).__name__


def _no_such(what: str, name: str, there: list[str]) -> str:
    names = ", ".join(sorted(there)[:10]) or "none"
    return f"there is no {what} called {name!r}{guess(name, there)} (there are: {names})"
