"""search(): what does an experiment's searcher find, tried on this machine?"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import optuna
from determined import pytorch
from ruamel.yaml import YAML

from lightning_adapter import notices
from lightning_adapter.errors import ConfigurationError, SearchError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.construct import check_trial_class
from lightning_adapter.platform.environment import device_kind, managed_trial, variables_set
from lightning_adapter.platform.experiment import Hyperparameters
from lightning_adapter.platform.target import check_may_train, load_target
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs import provenance
from lightning_adapter.runs.recorder import now
from lightning_adapter.runs.store import stored_checkpoints
from lightning_adapter.submission.checks import with_typed
from lightning_adapter.tuning import picture, preview
from lightning_adapter.tuning.best import best_yaml
from lightning_adapter.tuning.brackets import brackets
from lightning_adapter.tuning.directory import SearchDirectory, record_of
from lightning_adapter.tuning.draws import draws
from lightning_adapter.tuning.here import Here
from lightning_adapter.tuning.job import Crew, Ended, Job, Validated
from lightning_adapter.tuning.pruner import HalvingPruner
from lightning_adapter.tuning.request import SearchRequest
from lightning_adapter.tuning.searcher import Assignment, Searcher
from lightning_adapter.tuning.settings import SearcherSettings, searcher_settings
from lightning_adapter.tuning.space import Space
from lightning_adapter.tuning.time_left import TimeLeft
from lightning_adapter.tuning.training import options_of
from lightning_adapter.tuning.view import Row, View, Watcher
from lightning_adapter.tuning.workers import Workers
