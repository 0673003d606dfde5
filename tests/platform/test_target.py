"""`FILE_OR_MODULE:Class` names a class; what is wrong with it is said with the user's own lines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lightning_adapter.errors import ConfigurationError, TargetError
from lightning_adapter.platform.target import check_may_train, imported_to, load_target

pytestmark = pytest.mark.usefixtures("project")

TRIAL = "class MyTrial:\n    pass\n"


@pytest.mark.parametrize("target", ["proj_model.py:MyTrial", "./proj_model.py:MyTrial", "proj_model:MyTrial"])
def test_target_is_loaded_from_a_file_or_a_module(project: Path, target: str) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    found = load_target(target)
    assert (found.__name__, found.__module__) == ("MyTrial", "proj_model")
    assert load_target(target) is found


def test_target_is_loaded_from_a_package(project: Path) -> None:
    (project / "proj_pkg").mkdir()
    (project / "proj_pkg" / "__init__.py").write_text("")
    (project / "proj_pkg" / "models.py").write_text("from .base import MyTrial\n")
    (project / "proj_pkg" / "base.py").write_text(TRIAL)
    assert load_target("proj_pkg.models:MyTrial").__module__ == "proj_pkg.base"


def test_file_finds_its_neighbours_before_those_of_the_current_directory(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "proj_file.py").write_text("from proj_neighbour import MyTrial\n")
    (project / "sub" / "proj_neighbour.py").write_text(TRIAL)
    (project / "proj_neighbour.py").write_text("raise RuntimeError('the wrong one')\n")
    load_target(f"{project}/sub/proj_file.py:MyTrial")
    assert sys.path[:2] == [str(project / "sub"), str(project)]


def test_current_directory_comes_first(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "proj_both.py").write_text("raise RuntimeError('the wrong one')\n")
    (project / "proj_both.py").write_text(TRIAL)
    sys.path.insert(0, str(other))
    assert load_target("proj_both:MyTrial").__name__ == "MyTrial"


def test_file_runs_under_its_own_name_and_not_as_main(project: Path) -> None:
    (project / "proj_main.py").write_text(TRIAL + "if __name__ == '__main__':\n    raise RuntimeError('ran')\n")
    load_target("proj_main.py:MyTrial")


@pytest.mark.parametrize("target", ["proj_model.py", "MyTrial", ":MyTrial", "proj_model:", ""])
def test_target_without_a_class_is_refused(target: str) -> None:
    with pytest.raises(TargetError, match=r"names no class: write FILE_OR_MODULE:Class"):
        load_target(target)


def test_missing_file_is_refused_with_a_guess(project: Path) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"proj_modle\.py is not there .* did you mean 'proj_model\.py'\?"):
        load_target("proj_modle.py:MyTrial")


def test_missing_module_is_refused_with_a_guess(project: Path) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"no module 'proj_modle' in the current .* did you mean 'proj_model'\?"):
        load_target("proj_modle:MyTrial")


def test_missing_submodule_is_refused_with_a_guess(project: Path) -> None:
    (project / "proj_pkg").mkdir()
    (project / "proj_pkg" / "__init__.py").write_text("")
    (project / "proj_pkg" / "models.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"in the package proj_pkg; did you mean 'proj_pkg\.models'\?"):
        load_target("proj_pkg.modles:MyTrial")


@pytest.mark.parametrize(
    ("target", "file", "there"),
    [
        ("proj_pkg.train:MyTrial", "src/proj_pkg/train.py", "src/proj_pkg"),
        ("proj_single:MyTrial", "src/proj_single.py", "src/proj_single.py"),
        ("proj_start.py:MyTrial", "src/proj_pkg/models.py", "src/proj_pkg"),  # imports it
    ],
)
def test_missing_module_that_lies_in_src_is_named_with_what_to_write(
    project: Path, target: str, file: str, there: str
) -> None:
    (project / file).parent.mkdir(parents=True, exist_ok=True)
    (project / file).write_text(TRIAL)
    (project / "proj_start.py").write_text("import proj_pkg.models\n")
    with pytest.raises(TargetError, match=rf"{there} is there: write PYTHONPATH=src before the command"):
        load_target(target)


def test_word_that_is_no_module_name_is_refused() -> None:
    with pytest.raises(TargetError, match=r"'my-model' is no module name; for a file, write its path with \.py"):
        load_target("my-model:MyTrial")


@pytest.mark.parametrize("target", ["proj_broken.py:MyTrial", "proj_broken:MyTrial"])
def test_import_that_fails_in_user_code_is_named_with_the_users_frames_only(project: Path, target: str) -> None:
    (project / "proj_broken.py").write_text("import os\nimport absent_package.sub\n")
    with pytest.raises(TargetError, match=r"it imports 'absent_package', which is not installed .* To fix") as caught:
        load_target(target)
    message = str(caught.value)
    assert f'File "{project}/proj_broken.py", line 2' in message
    assert "importlib" not in message and "target.py" not in message
    assert "proj_broken" not in sys.modules


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("x = 1 / 0\n", r"ZeroDivisionError: division by zero\n\n(?s:.*)line 1"),
        ("def f(:\n", r"SyntaxError: .*\n\n(?s:.*)line 1"),
        ("import sys\nsys.exit(3)\n", r"it calls sys\.exit\(\) while it is imported"),
        ("from os import absent_name\n", r"ImportError: cannot import name 'absent_name' from 'os'"),
    ],
)
def test_file_that_fails_while_imported_shows_its_own_error(project: Path, code: str, problem: str) -> None:
    (project / "proj_broken.py").write_text(code)
    with pytest.raises(TargetError, match=rf"proj_broken\.py cannot be imported: {problem}"):
        load_target("proj_broken.py:MyTrial")


@pytest.mark.parametrize("code", ["open('absent.csv')", "import pathlib\npathlib.Path('absent.csv').read_text()"])
def test_file_that_is_missing_while_imported_is_told_with_the_users_line(project: Path, code: str) -> None:
    (project / "proj_broken.py").write_text(f"\n{code}\n")
    line = code.count("\n") + 2
    told = rf"'absent\.csv', in {project}/proj_broken\.py, line {line}, with {project} as the current directory"
    with pytest.raises(TargetError, match=told):
        load_target("proj_broken.py:MyTrial")


def test_relative_import_in_a_file_of_a_package_says_how_to_name_it(project: Path) -> None:
    (project / "proj_pkg").mkdir()
    (project / "proj_pkg" / "__init__.py").write_text("")
    (project / "proj_pkg" / "proj_rel.py").write_text("from .base import MyTrial\n")
    with pytest.raises(TargetError, match=r"(?s)no known parent.*proj_pkg/ is a package: name the class as package\."):
        load_target("proj_pkg/proj_rel.py:MyTrial")


def test_file_named_like_a_loaded_module_is_refused(project: Path) -> None:
    (project / "logging.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"a module 'logging' is loaded already, from .*; rename the file"):
        load_target("logging.py:MyTrial")


def test_missing_class_is_refused_with_a_guess_and_a_list(project: Path) -> None:
    (project / "proj_model.py").write_text(TRIAL + "from pathlib import Path\n")
    with pytest.raises(TargetError, match=r"has no MyTrail; it defines MyTrial; did you mean 'MyTrial'\?"):
        load_target("proj_model.py:MyTrail")


def test_instance_instead_of_a_class_is_refused(project: Path) -> None:
    (project / "proj_model.py").write_text("MyTrial = 3\n")
    with pytest.raises(TargetError, match=r"proj_model\.py:MyTrial is 3 of type int, not a class"):
        load_target("proj_model.py:MyTrial")


@pytest.mark.parametrize(
    "line",
    [
        "from pytorch_lightning import EvalResult",
        "import pytorch_lightning as pl; x = pl.EvalResult",
        "from pytorch_lightning.core.step_result import EvalResult",
    ],
)
def test_import_of_a_result_object_says_what_to_write(project: Path, line: str) -> None:
    (project / "proj_imports.py").write_text(f"{line}\n")
    with pytest.raises(TargetError, match=r"instead of EvalResult, log each value in validation_step"):
        load_target("proj_imports.py:Old")


def test_script_that_trains_is_not_trained_where_it_is_only_imported(project: Path) -> None:
    (project / "proj_script.py").write_text(TRIAL + "from lightning_adapter import fit\nfit(MyTrial)\n")
    with (
        imported_to("test its trial"),
        pytest.raises(TargetError, match=r'(?s)imported to test its trial.*Write `if __name__ == "__main__":`'),
    ):
        load_target("proj_script.py:MyTrial")
    check_may_train()  # outside of the block


def test_training_is_refused_within_the_block_alone() -> None:
    with imported_to("use its trial"), pytest.raises(ConfigurationError, match="would train instead"):
        check_may_train()
    check_may_train()
