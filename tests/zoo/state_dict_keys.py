"""The frozen names of all saved tensors. After a wanted change: ``python -m tests.zoo.state_dict_keys``."""

from pathlib import Path

import zoo

FILE = Path(__file__).with_name("state_dict_keys.txt")


def current() -> str:
    """One line ``Model key`` for each saved tensor of each model's tiny form."""
    lines = []
    for name in zoo.list_models():
        entry = zoo.MODELS[name]
        lines += [f"{name} {key}" for key in entry.cls(**entry.tiny).state_dict()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(current())
