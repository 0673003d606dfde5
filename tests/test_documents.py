"""Can what README and docs show be typed: commands, YAML, Python, links, names of tests?"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from determined import pytorch
from ruamel.yaml import YAML
from torch.distributed.run import get_args_parser

from lightning_adapter import cli
from lightning_adapter.cli import fit as fit_command
from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.target import CONFIGURED, load_object, load_target

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "mnist"
CONFIGS = ROOT / "examples" / "configs"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), EXAMPLE / "README.md"]


class Block(NamedTuple):
    """A piece of code in a document."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


class Command(NamedTuple):
    """A line that can be typed, and where."""

    place: str
    text: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.place} {self.text}"


def blocks() -> Iterator[Block]:
    """Fenced blocks with their language, indented ones with none."""
    for path in DOCUMENTS:
        name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        fences = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
        for found in fences.finditer(text):
            yield Block(name, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        rest = fences.sub(lambda found: "\n" * found[0].count("\n"), text)
        for found in re.finditer(r"(?<=\n\n)(?:    [^\n]+\n)+", rest):
            if not re.search(r"^[-*\d].*\n\n$", rest[: found.start()].rpartition("\n\n")[0][-200:]):
                block = "".join(line[4:] for line in found[0].splitlines(keepends=True))
                yield Block(name, rest.count("\n", 0, found.start()) + 1, "", block)


BLOCKS = list(blocks())


def is_python(block: Block) -> bool:
    return block.language == "python" or (block.language == "" and block.text.startswith("super()"))


def is_commands(block: Block) -> bool:
    return (
        block.language in ("", "sh", "bash") and not is_python(block) and not block.document.endswith("architecture.md")
    )


def folder_at(document: str, line: int) -> Path:
    """Where a reader is who has typed every `cd` of a page up to a line; before the first one in an example."""
    text = "\n".join((ROOT / document).read_text(encoding="utf-8").splitlines()[:line])
    typed = re.findall(r"^(?: {4})?cd (\S+)$", text, re.MULTILINE)
    return ROOT / typed[-1] if typed else CONFIGS / "cli" if document == "docs/configs.md" else EXAMPLE


def commands() -> Iterator[Command]:
    """Lines of blocks, what stands in the text between backquotes and begins with a program, and entrypoints."""
    for block in filter(is_commands, BLOCKS):
        text = block.text.replace("\\\n", " ")
        lines = [text] if text.count("'") and "-c '\n" in text else text.splitlines()
        folder = folder_at(block.document, block.line + 1)
        yield from (Command(str(block), line, folder) for line in lines if line.strip())
    for path in DOCUMENTS:
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for span in re.findall(r"`([^`]+)`", line):
                typed = span.removeprefix("entrypoint: ")
                # pip is written about as what others do, or what went wrong
                if " " in typed and typed.split()[0] in PROGRAMS and typed.split()[0] not in ("pip", "apt-get"):
                    yield Command(f"{name}:{number}", typed, folder_at(name, number))
    for block in BLOCKS:
        if block.language == "yaml":
            entrypoint = YAML(typ="safe").load(block.text).get("entrypoint")
            if entrypoint:
                yield Command(str(block), entrypoint, folder_at(block.document, block.line))


# --- what each program wants ------------------------------------------------------------------------------------------


#: Commands that take what was trained.
AFTER_TRAINING = ("validate", "test", "predict", "export", "draw")


def project_of(words: list[str]) -> Path:
    """The project of the configurations' page in which a command can be typed: this one, or that which has its files."""
    names = [word.partition(":")[0] for word in words[1:] if re.match(r"[\w/]+(\.py:|\.yaml$|$)", word)]
    files = {name if name.endswith(".py") else f"{name.removesuffix('.yaml')}.yaml" for name in names} | set(names)
    folders = [Path.cwd(), *(path for path in sorted(CONFIGS.iterdir()) if path.is_dir())]
    return next((each for each in folders if any((each / file).exists() for file in files)), Path.cwd())


def run_configured(words: list[str]) -> None:
    """Compose and check what is typed, without training."""
    folder = project_of(words)
    words = words[: words.index(">")] if ">" in words else words
    with contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        options = cli._parsed(words)
        if words[0] == "init" and not options.requirements:
            assert cli.main(words) == 0
        elif words[0] == "fit":
            target = options.target or CONFIGURED
            trial_class: Any = load_target(target)
            hparams = {name: experiment.parse_value(name, text) for name, text in options.hparam}
            given = options.cli or options.hydra
            tree = fit_command.configured(target, trial_class, hparams, options) if given else experiment.nest(hparams)
            trial_class.check_hyperparameters(tree)


def run_search(words: list[str]) -> None:
    """Read what is typed, and the experiment that it names, without training."""
    folder = project_of(words)
    with contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        options = cli._parsed(words)
        if options.resume_from is None:
            assert cli.main([*words, *([] if options.preview else ["--preview"])]) == 0


def run_adapter(words: list[str]) -> None:
    # it is written about, or how it is typed in general
    if words in (["fit"], ["init"], ["check", "FILE_OR_MODULE:Class"], ["init", "SCRIPT.py:parser"]):
        return
    if words[0] == "init" or (words[0] == "fit" and Path.cwd().parent == CONFIGS):
        run_configured(words)
        return
    if words[0] == "search":
        if words != ["search"]:
            run_search(words)
        return
    options = cli._parsed(words)
    # what `init` has written, or a search
    if words[0] == "submit" and str(options.config) not in ("experiment.yaml", "DIR/best.yaml"):
        experiment.read(options.config)
    if words[0] in ("submit", "follow", "fetch", "runs", "register"):
        return
    if words[0] == "evaluate":
        assert options.metrics == "FILE_OR_MODULE:NAME" or load_object(options.metrics) is not None
        return
    # what was trained knows its trial
    target = options.what if words[0] == "draw" and ":" in options.what else options.target
    if target is None and words[0] in AFTER_TRAINING:
        return
    assert isinstance(load_target(target), type)
    if getattr(options, "config", None) is not None and not options.config.startswith(
        "DIR/"
    ):  # of a run that was fetched, or of a search
        given = {name: experiment.parse_value(name, text) for name, text in options.hparam}
        config = experiment.read(options.config)
        known = config["hyperparameters"]
        assert set(given) <= set(known), f"{options.config} has the hyperparameters {sorted(known)}"


def run_python(words: list[str]) -> None:
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
    elif words[0] != "-m":
        script = next((folder / words[0] for folder in (Path(), ROOT, EXAMPLE) if (folder / words[0]).is_file()), None)
        assert script is not None, f"there is no {words[0]}"
        if Path.cwd().parent == CONFIGS:  # its words are LightningCLI's, or Hydra's
            return
        source = script.read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in words[1:] if word.startswith("--"))
    elif words[1] == "lightning_adapter":
        run_adapter(words[2:])
    elif words[1] == "pip":
        run_pip(words[2:])
    else:
        assert importlib.util.find_spec(words[1]) is not None
        if "--" in words:  # a launcher
            check(words[words.index("--") + 1 :])


def run_pip(words: list[str]) -> None:
    assert words[0] in ("install", "wheel")
    (what,) = [word for word in words[1:] if word.startswith(".") and word != "."]
    place, _, extra = what.partition("[")
    folder = ROOT if words[0] == "install" else EXAMPLE
    assert (folder / place / "setup.py").is_file()
    for name in filter(None, extra.removesuffix("]").split(",")):
        assert f'"{name}": [' in (ROOT / "setup.py").read_text(encoding="utf-8")


def run_make(words: list[str]) -> None:
    made = subprocess.run(
        ["make", "--no-print-directory", "--always-make", "-n", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0 and f"'{words[0]}'" not in made.stdout, made.stderr or made.stdout


def run_torchrun(words: list[str]) -> None:
    options = get_args_parser().parse_args(words)
    run_python([*(["-m"] if options.module else []), options.training_script, *options.training_script_args])


def run_horovodrun(words: list[str]) -> None:
    own = [index for index, word in enumerate(words) if word in PROGRAMS or word.endswith("python")]
    options = words[: own[0]] if own else words
    assert {word for word in options if word.startswith("-")} <= {"--gloo", "-np", "-H", "--check-build"}
    if own:
        check(words[own[0] :])


def run_sh(words: list[str]) -> None:
    assert (EXAMPLE / words[0]).is_file()


def run_cd(words: list[str]) -> None:
    assert (ROOT / words[0]).is_dir()


def run_det(words: list[str]) -> None:
    if words == ["user", "login"] or words[:2] == ["tensorboard", "start"]:
        return
    assert words[:2] == ["experiment", "create"]
    assert all(Path(word).exists() for word in words[2:])


def run_nothing(words: list[str]) -> None:
    """A program that is not of this project."""


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "apt-get": run_nothing,
    "cd": run_cd,
    "det": run_det,
    "export": run_nothing,
    "horovodrun": run_horovodrun,
    "lightning-adapter": run_adapter,
    "make": run_make,
    "optuna-dashboard": run_nothing,
    "pip": run_pip,
    "python": run_python,
    "python3": run_python,
    "sh": run_sh,
    "tensorboard": run_nothing,
    "torchrun": run_torchrun,
}


def check(words: list[str]) -> None:
    """Fail where the command would, as far as that can be seen without running it."""
    if words[-1] == "...":  # the same as in the lines before
        words = words[:-1]
        if words[-1] == "fit":
            words += ["model_def:MNISTTrial", "--config", "const.yaml"]
        if not words or words[-1] == "--" or set(words[1:]) <= {"-np", "8", "-H", "host1:4,host2:4"}:
            return
    name = words[0].removeprefix(".venv/bin/")
    assert name in PROGRAMS, f"{name} is no program that this test knows"
    PROGRAMS[name](words[1:])


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_example(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder in which the commands are typed; what is imported from it is forgotten."""
    monkeypatch.chdir(EXAMPLE)
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
    yield
    for name in {path.stem for path in ROOT.glob("examples/**/*.py")}:
        sys.modules.pop(name, None)


def test_documents_show_commands_yaml_and_python() -> None:
    assert sum(map(is_python, BLOCKS)) > 4
    assert sum(block.language == "yaml" for block in BLOCKS) > 3
    assert len(list(commands())) > 25


@pytest.mark.parametrize("command", list(commands()), ids=str)
def test_command_can_be_typed(command: Command, in_example: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(command.folder)
    try:
        check(shlex.split(command.text, comments=True))
    except LightningAdapterError as error:
        pytest.fail(f"{command}: {error}")
    except SystemExit as error:
        assert not error.code, command  # --version ends with 0


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_yaml_is_an_experiment_configuration(block: Block) -> None:
    experiment.read(YAML(typ="safe").load(io.StringIO(block.text)))


def test_readme_shows_hyperparameters() -> None:
    (shown,) = [YAML(typ="safe").load(b.text) for b in BLOCKS if b.document == "README.md" and b.language == "yaml"]
    assert shown["hyperparameters"] == experiment.read(EXAMPLE / "const.yaml")["hyperparameters"]


@pytest.mark.parametrize("block", list(filter(is_python, BLOCKS)), ids=str)
def test_python_compiles_and_its_imports_exist(block: Block, in_example: None) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module: Any = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)


def in_examples(name: str) -> list[str]:
    """The lines of a file of the configurations' example."""
    return [] if name == "/dev/null" else (CONFIGS / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "diff" and "configs" in b.document], ids=str)
def test_diff_is_that_of_the_files(block: Block) -> None:
    found = re.match(r"--- (\S+)\n\+\+\+ (\S+)\n", block.text)
    if found is None:  # of a file that is not there
        changed = [line[1:] for line in block.text.splitlines() if not line.startswith("+")]
        assert "\n".join(changed) in "\n".join(in_examples("cli/main.py"))
        return
    before, after = found.groups()
    between = difflib.unified_diff(in_examples(before), in_examples(after), before, after, n=1, lineterm="")
    assert block.text.splitlines() == list(between)


def test_experiment_that_is_shown_is_the_one_that_init_writes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_example: None
) -> None:
    monkeypatch.chdir(CONFIGS / "cli")
    assert cli.main(["init", "trial.py:SpiralTrial", "--cli", "config.yaml"]) == 0
    written = capsys.readouterr().out
    assert written in [block.text for block in BLOCKS if block.language == "yaml"]


def test_dataclass_that_is_shown_is_the_one_of_the_example() -> None:
    (shown,) = [block.text for block in BLOCKS if "@dataclass" in block.text]
    _, marker, classes = shown.partition("@dataclass")
    assert marker + classes in (CONFIGS / "typed" / "spiral.py").read_text(encoding="utf-8")


def test_quick_start_runs_as_it_stands(tmp_path: Path, in_example: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "mnist", ignore=shutil.ignore_patterns("runs", "__pycache__"))
    monkeypatch.chdir(tmp_path / "mnist")
    monkeypatch.setenv("MNIST_DIR", "digits")
    readme = [block for block in BLOCKS if block.document == "README.md"]
    (typed,) = [block.text for block in readme if "lightning-adapter fit" in block.text and block.language == ""]
    assert typed.startswith("cd examples/mnist\n")
    short = iter(["--max-steps=2", "--max-steps=2", "--max-steps=4"])
    for line in typed.splitlines()[1:]:
        words = shlex.split(line)[1:]
        assert cli.main([*words, next(short)] if words[0] == "fit" else words) == 0, line
    found: dict[str, Any] = {}
    for program in [block.text for block in readme if block.language == "python"]:
        exec(
            program.replace("max_epochs=1", "max_steps=2, validation_period=Batch(2)"), {"Batch": pytorch.Batch}, found
        )
    assert type(found["module"]).__name__ == type(found["loaded"].lightning_module).__name__ == "LitMNIST"


def anchors(path: Path) -> set[str]:
    """What GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*DOCUMENTS, CONFIGS / "README.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_document_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCUMENTS[1:-1] if f"](docs/{path.name})" not in readme] == []


def test_tests_that_documents_name_are_there() -> None:
    for path in DOCUMENTS:
        for file, name in re.findall(r"`((?:tests/)?[\w/]+\.py)(?:::(\w+))?`", path.read_text(encoding="utf-8")):
            if not Path(file).name.startswith("test_"):
                continue
            place = ROOT / file if file.startswith("tests/") else ROOT / "tests" / "resume" / file
            assert place.is_file(), f"{path.name}: {file}"
            assert not name or f"def {name}(" in place.read_text(encoding="utf-8"), f"{path.name}: {name}"
