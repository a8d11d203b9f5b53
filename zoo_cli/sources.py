"""Where each setting of a command line comes from, so that an error can name flag, or file and line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from zoo_cli.errors import CommandError

__all__ = ["Setting", "Sources", "find_config", "shipped_configs"]


def shipped_configs() -> Path:
    """The folder of configuration files that come with the zoo."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "configs"


def find_config(name: str, flag: str = "--config") -> Path:
    """The file that ``--config`` or ``--space`` names: an own file first, else one of the shipped ones.

    Args:
        name: Path of a file; or of a shipped one below ``configs/``, whose folder and ending may be left out.
        flag: The option that names it.

    Raises:
        CommandError: If there is no such file.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {
        path.relative_to(shipped_configs()): path for path in sorted(shipped_configs().rglob("*.yaml"))
    }
    wanted = Path(name.removeprefix("configs/"))
    for relative, path in shipped.items():
        if wanted in (relative, relative.with_suffix(""), Path(relative.stem)):
            return path
    from datamodules.interface.registry import near_names

    near = near_names(wanted.stem, [relative.stem for relative in shipped])
    raise CommandError(f"{flag} {name}: there is no such file, here or among the shipped ones{near}")


@dataclass(frozen=True)
class Setting:
    """One setting as the user gave it.

    Attributes:
        key: Dotted key, such as ``model.init_args.num_classes``.
        value: Its text; None for a mapping or a list.
        where: ``--flag`` or ``file:line``.
    """

    key: str
    value: str | None
    where: str

    @property
    def file(self) -> str:
        """The file it stands in, or the flag."""
        return self.where.rpartition(":")[0] or self.where


class Sources:
    """All settings of a command, in the order in which later ones win.

    Args:
        args: Arguments after the subcommand; ``--config`` names are replaced by the paths found.

    Attributes:
        args: The arguments with paths in place of names.
        configs: The configuration files in order.
        settings: All settings in order.

    Raises:
        CommandError: If a configuration file is missing or not valid YAML.
    """

    def __init__(self, args: list[str]) -> None:
        self.args: list[str] = []
        self.configs: list[Path] = []
        self.settings: list[Setting] = []
        remaining = iter(args)
        for arg in remaining:
            flag, equals, value = arg.partition("=")
            if not flag.startswith("--") and flag != "-c":
                self.args.append(arg)
                continue
            given: str | None = value if equals else None
            if not equals and flag not in ("--help", "--print_config"):
                given = next(remaining, None)
            if flag in ("--config", "-c"):
                if given is None:
                    raise CommandError("--config needs the name of a file")
                path = find_config(given)
                self.configs.append(path)
                self.args += ["--config", str(path)]
                self.settings += read_settings(path)
                continue
            self.args += [arg] if equals or given is None else [arg, given]
            self.settings.append(Setting(flag.removeprefix("--").rstrip("+"), given, flag))

    def last(self, key: str) -> Setting | None:
        """The setting that wins for a key, if it is given at all."""
        return next((s for s in reversed(self.settings) if s.key == key), None)

    def value(self, key: str) -> str | None:
        """The text of a setting; None if it is not given, or given as null."""
        setting = self.last(key)
        return None if setting is None or setting.value in (None, "null", "~", "") else setting.value

    def chosen_class(self, key: str) -> Setting | None:
        """The setting that chooses a class: the last of ``key`` and ``key.class_path``."""
        chosen = None
        for setting in self.settings:
            if setting.key in (key, f"{key}.class_path") and setting.value not in (None, "null"):
                chosen = setting
        return chosen

    def given_arguments(self, key: str) -> set[str]:
        """Names of the arguments given for the class of ``model`` or ``data``."""
        chosen = self.chosen_class(key)
        replaced = {  # files whose arguments are for a class that a later setting replaced
            s.file
            for s in self.settings
            if chosen and s.key == f"{key}.class_path" and s.value != chosen.value
        }
        names = {
            s.key.removeprefix(f"{key}.").removeprefix("init_args.").partition(".")[0]
            for s in self.settings
            if s.key.startswith(f"{key}.") and s.file not in replaced
        }
        return names - {"class_path", "init_args", "dict_kwargs", "help"}

    def where(self, key: str) -> str:
        """Flag, or file and line, of a key; of the nearest key above it that is given; or the key itself."""
        while key:
            for setting in reversed(self.settings):
                if _canonical(setting.key) == _canonical(key):
                    return setting.where
            key = key.rpartition(".")[0]
        return "the command line"


def _canonical(key: str) -> str:
    """``model.num_classes`` and ``model.init_args.num_classes`` are the same setting."""
    return key.replace(".init_args.", ".")


def read_settings(path: Path) -> list[Setting]:
    """All keys of a YAML file with their lines.

    Raises:
        CommandError: If the file cannot be read, or is not YAML with a mapping at its top.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CommandError(f"{path}:{line}: is not valid YAML ({error.problem})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: cannot be read as a configuration file ({error})") from error
    if node is None:
        raise CommandError(f"{path}: the file is empty, but must hold settings")
    if not isinstance(node, yaml.MappingNode):
        raise CommandError(f"{path}:1: must hold `key: value` settings")
    return list(_walk(node, "", path))


def _walk(node: yaml.MappingNode, prefix: str, path: Path) -> Iterator[Setting]:
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
        if key in seen:
            raise CommandError(f"{path}:{line}: {key} is given twice, first on line {seen[key]}; remove one")
        seen[key] = line
        value = value_node.value if isinstance(value_node, yaml.ScalarNode) else None
        yield Setting(key, value, f"{path}:{line}")
        if isinstance(value_node, yaml.MappingNode):
            yield from _walk(value_node, f"{key}.", path)
