#!/bin/sh
# From the first epoch to a file that runs without the project, each step a command. All that they write is below runs/.
set -eu
cd "$(dirname "$0")"
export MNIST_DIR="${MNIST_DIR:-digits}" # the digits beside this file: no network is needed

# Two trainings of one epoch, which differ in one hyperparameter; `latest` is the second one.
lightning-adapter fit model_def.py:MNISTTrial --config const.yaml --max-epochs 1 --name after-training --hparam learning_rate=0.02
lightning-adapter fit model_def.py:MNISTTrial --config const.yaml --max-epochs 1 --name after-training
run=runs/after-training/latest

# Which is better, and why?
lightning-adapter runs
lightning-adapter runs compare runs/after-training/*

# The best checkpoint of the run: its values, its predictions, and metrics over these.
lightning-adapter test "$run"
lightning-adapter predict "$run" --split test --overwrite
lightning-adapter evaluate "$run/predictions-test" --metrics metrics.py:metrics

# A batch, with what the model predicts.
lightning-adapter draw "$run" --split test

# The model as a file. ONNX needs three packages: pip install onnx onnxscript onnxruntime
if python3 -c "import onnx, onnxscript, onnxruntime" 2> /dev/null; then
    lightning-adapter export "$run" --to onnx
else
    lightning-adapter export "$run" --to exported_program
fi
