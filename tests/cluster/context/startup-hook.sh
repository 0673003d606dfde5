# Installs the wheel of the checkout that is tested, and Lightning where the image has none.
pip() { "${DET_PYTHON_EXECUTABLE:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action ignore "$@"; }
pip --no-deps ./lightning_adapter-*.whl
for module in pytorch_lightning torchmetrics; do
    "${DET_PYTHON_EXECUTABLE:-python3}" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$module') is None)" || pip "$module"
done
