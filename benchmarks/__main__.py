"""How is the benchmark run from the command line, and what does its exit status say?"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from benchmarks import report
from benchmarks.length import FEWEST
from benchmarks.measurements import PARTS, Findings, Options, say
from benchmarks.processes import ROOT
from benchmarks.promises import broken
from benchmarks.tasks import CLOCKS, MODELS

DESCRIPTION = (
    "Measure a training step of the adapter beside a bare PyTorch loop, a hand-written PyTorchTrial and Lightning's Trainer, "
    "and write docs/performance.md and its picture. The exit status is 1 where a measurement failed or a promise is not met; "
    "the page is written all the same, and says which. What this machine does not have (Horovod, a GPU) is left out of it, "
    "and is no failure."
)


def parts(text: str) -> list[str]:
    """Names of parts, with commas between them."""
    names = text.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def positive(text: str) -> int:
    """A number of repetitions or steps."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def long_enough(text: str) -> int:
    """The number of steps of a long run."""
    steps = positive(text)
    if steps < FEWEST:
        raise argparse.ArgumentTypeError(f"{text} steps are too few to compare; there have to be {FEWEST:,} or more")
    return steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the page.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=DESCRIPTION)
    parser.add_argument(
        "--only",
        type=parts,
        metavar="PART,PART",
        help=f"of {', '.join(PARTS)}; nothing is written then, unless --output says where",
    )
    parser.add_argument("--repetitions", type=positive, metavar="N", help="of everything; default by measurement")
    parser.add_argument(
        "--length-steps",
        type=long_enough,
        default=Options.length_steps,
        metavar="N",
        help=f"of the long run, default {Options.length_steps:,}",
    )
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--output", type=pathlib.Path, help="directory of performance.md and .png; default docs")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: for a machine that others use too")
    chosen = parser.parse_args(arguments)
    options = Options(chosen.repetitions, chosen.length_steps, chosen.models, chosen.clock)
    findings = Findings(chosen.only or list(PARTS))
    for part in findings.parts:
        PARTS[part](findings, options)
    output = chosen.output or (None if chosen.only else ROOT / "docs")
    page = report.text(findings, options)
    if output is None:
        print(page)
    else:
        report.write(page, findings.results, output)
        print(report.promised(findings))
    say("done")
    unmet = broken(findings.results)
    for what in unmet:
        print(f"not met: {what}")
    for what, reason in findings.failed.items():
        print(f"failed: {what}: {reason}")
    return 1 if unmet or findings.failed else 0


if __name__ == "__main__":
    sys.exit(main())
