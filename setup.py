"""How is `lightning_adapter` packaged? Tool settings are in pyproject.toml, tested versions in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# The adapter reads internals of Lightning and Determined (all of them named in versions/), hence the upper bounds.
# Lightning itself is an extra: it exists as two packages that do not mix, and a project that is adapted already has
# one of them, in a version of its own. With neither, the import says which extra to install.
LIGHTNING = ">=1.9,<2.7"

setup(
    name="lightning-adapter",
    version="0.1.0",
    description="Train PyTorch Lightning code as a Determined AI trial by changing base classes.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["lightning_adapter", "lightning_adapter.*"]),
    package_data={"lightning_adapter": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=[
        "determined>=0.38.1,<0.39",
        "torch>=2.1",
        "torchmetrics>=0.7",
        "numpy",
        "filelock",
        "fsspec",
        "appdirs",
        "packaging",
        "requests",
        "urllib3>=1.26",
        "tensorboard",
        "protobuf",
        "psutil",
        "pillow",
        "PyYAML",
        "ruamel.yaml",
        "tqdm",
        "tabulate",
        "matplotlib",
        "pydantic>=2.7,<3",
        "pydantic-core",
        "simple-parsing>=0.1.6",
        "tomli>=2; python_version < '3.11'",
    ],
    extras_require={
        "pytorch-lightning": [f"pytorch-lightning{LIGHTNING}"],
        "lightning": [f"lightning{LIGHTNING}"],
        # configurations that people already have: LightningCLI's, and Hydra's
        "cli": ["jsonargparse[signatures]>=4.48,<5"],
        "hydra": ["hydra-core>=1.3,<1.4", "omegaconf>=2.2,<2.4"],
        # a YAML's searcher on this machine
        "search": ["optuna>=4.2", "rich>=13"],
        "parquet": ["pyarrow"],
        "export": ["onnx", "onnxscript", "onnxruntime"],
        "dev": [
            *("pytest", "pytest-xdist", "hypothesis", "nbclient", "nbformat", "ipykernel", "ruff", "mypy"),
            # its pruning callback, in scripts of Optuna's around fit()
            "optuna-integration",
        ],
    },
    entry_points={"console_scripts": ["lightning-adapter = lightning_adapter.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
