"""The master gets the user's own YAML, and what was added to it."""

from __future__ import annotations

from ruamel.yaml import YAML

from lightning_adapter.submission.configuration import sent_text
from lightning_adapter.submission.policies import with_policy

TEXT = """\
# why this experiment is there
name: mnist # its name
entrypoint: >-
  python3 -m determined.launch.torch_distributed --
  python3 -m lightning_adapter fit model_def:MNISTTrial --max-epochs 5
hyperparameters:
  lr: 1e-3 # small
  text: "yes"
  other: 'no'
  width: {type: categorical, vals: [4, 8]}
"""


def load(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


def test_text_is_the_users_with_comments_and_quotes() -> None:
    written = sent_text(TEXT, None, None)
    assert written.startswith(TEXT.partition("hyperparameters")[0].partition("entrypoint")[0])
    for part in ("lr: 1e-3 # small", 'text: "yes"', "other: 'no'", "width: {type: categorical, vals: [4, 8]}"):
        assert part in written


def test_values_are_those_of_the_text_and_what_was_typed() -> None:
    content = load(TEXT)
    assert isinstance(content, dict)
    assert load(sent_text(TEXT, None, None)) == {**content, "log_policies": with_policy(None)}
    typed = {**content, "name": "other", "workspace": "vision", "project": "faces", "log_policies": with_policy(None)}
    assert load(sent_text(TEXT, "other", ("vision", "faces"))) == typed


def test_own_log_policies_stay() -> None:
    own = "log_policies:\n  - name: mine # of ours\n    pattern: x\n    action: exclude_node\n"
    content = load(sent_text(TEXT + own, None, None))
    assert isinstance(content, dict)
    own_policy, _ = content["log_policies"]
    assert own_policy["name"] == "mine"


def test_text_that_was_sent_is_sent_again_as_it_is() -> None:
    once = sent_text(TEXT, "other", ("vision", "faces"))
    assert sent_text(once, None, None) == once


def test_numbers_are_sent_bit_for_bit() -> None:
    """ruamel's own way there and back gives the last digit of the first another value, and spells the second anew."""
    text = f"{TEXT}  rate: 4.71419478000555e-05\n  other_rate: 1.0007225413910534e-05\n"
    written = sent_text(text, None, None)
    assert written.startswith(text)


def test_policies_of_the_user_keep_their_comments() -> None:
    own = "log_policies:\n- name: mine # of ours\n  pattern: x # any\n  action: exclude_node\n# and\nlabels: [a]\n"
    written = sent_text(TEXT + own, None, None)
    before, _, after = written[len(TEXT) :].partition("- {name: ")
    assert before + after.partition("\n")[2] == own
