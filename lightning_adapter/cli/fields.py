"""How are the hyperparameters listed of a trial that names a dataclass of them?"""

from __future__ import annotations

from dataclasses import MISSING

from lightning_adapter.errors import shown


def listed(cls: type) -> str:
    """Return a table of name, type, default and comment; nothing for any other class.

    Raises:
        ConfigurationError: what a trial names is no dataclass.
    """
    from lightning_adapter.cli import tables
    from lightning_adapter.configs.typed import fields_of, structure_of
    from lightning_adapter.platform.trial import LightningTrial

    structure = structure_of(cls) if issubclass(cls, LightningTrial) else None
    if structure is None:
        return ""
    fields = fields_of(cls)
    columns = [
        tables.Column("name", [field.name for field in fields], least=20),
        tables.Column("type", [field.type for field in fields]),
        tables.Column(
            "default", ["required" if field.default is MISSING else shown(field.default) for field in fields]
        ),
        tables.Column("comment", [field.comment for field in fields], can_go=True),
    ]
    table = tables.fitted(columns, tables.terminal_width()).text
    return f"hyperparameters of {cls.__name__} ({structure.__name__}), each typed as --hparam NAME=VALUE:\n\n{table}"
