"""The commands, and the help that lists them without importing anything heavy."""

__all__ = ["COMMANDS", "RUN_COMMANDS", "TEXT_OPTIONS", "top_help"]

RUN_COMMANDS = {
    "fit": "train a model, validating as it goes",
    "validate": "measure a checkpoint on the validation split",
    "test": "measure a checkpoint on the test split",
    "predict": "predict new data (--input), go on with a text (--prompt), or predict the test split",
}

COMMANDS = {
    **RUN_COMMANDS,
    "kfold": "cross-validate on the folds of a table and predict with the ensemble",
    "search": "search hyperparameters, on many workers and machines",
    "design-space": "draw networks from design spaces, train them, and compare the spaces' errors",
    "results": "make the results table from the summary.json files of runs",
    "models": "list the models; `models NAME` shows the layers of one",
    "data": "list the datasets",
}

TEXT_OPTIONS: dict[str, tuple[type, str]] = {
    "prompt": (
        str,
        "A text for a language model to go on with, or a sentence to translate. With models of text, --input "
        "is a file of such texts, one a line, and --output has a text for each; they need no data, and "
        "of the trainer only accelerator and precision.",
    ),
    "max_new_tokens": (int, "Most tokens to add to a text, or of a translation (default: 50 and 100)."),
    "temperature": (
        float,
        "What a language model's logits are divided by: below 1 likely tokens prevail (default: 1).",
    ),
    "top_k": (int, "How many of the likeliest tokens a language model chooses from (default: all)."),
    "top_p": (float, "Share of the probability that a language model chooses from (default: 1)."),
    "seed": (int, "Seed of a language model's choices, the same for each text (default: 0)."),
    "beam_size": (
        int,
        "Number of translations that a translator keeps as it searches; 1 is greedy (default: the model's).",
    ),
    "length_penalty": (
        float,
        "Power of the length that the score of a translation is divided by (default: the model's).",
    ),
}
"""Options of ``predict`` for models of text: type and help."""


def top_help() -> str:
    """The text of ``cli.py --help``."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"""usage: python cli.py COMMAND [options]

The models and datasets of Dive into Deep Learning on Lightning.

commands:
{lines}

`python cli.py models` lists the models and `python cli.py data` the datasets, with a configuration for each.
`python cli.py COMMAND --help` explains a command; `fit --model.help LeNet` explains a model's arguments.

first steps:
  python cli.py fit --config configs/quickstart.yaml
  python cli.py test --config configs/quickstart.yaml --ckpt_path best
  python cli.py predict --config configs/quickstart.yaml --ckpt_path best --input image.png
  python cli.py fit --model LeNet --data FashionMNIST --trainer.max_epochs 10

A flag wins over a file, a later --config over an earlier one: add configs/trainer/*.yaml for hardware and
configs/logger/*.yaml for loggers. ZOO_DATA_DIR names the folder of datasets (default: data).
Errors are one line; ZOO_DEBUG=1 shows the traceback."""
