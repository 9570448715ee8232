"""All commands: how they are called, and the class of their configuration."""

import importlib

from tests.test_architecture import COMMANDS, PACKAGE, SCRIPTS
from yt8m_distill.config.settings import Settings

# As in README.md: "train.py" or "yt8m_distill.thin".
CONFIGS: dict[str, type[Settings]] = {
    f"{name}.py" if f"{name}.py" in SCRIPTS else f"{PACKAGE}.{name}": importlib.import_module(
        f"{PACKAGE}.{name}"
    ).main.config_class
    for name in COMMANDS.split()
}
